package pgtest

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Save puts aside what the tables of a database hold, and where its sequences are.
// What it returns brings that back, and reports false where more than rows was
// changed, which it does not mend.
func Save(ctx context.Context, conn *pgx.Conn) (restore func(ctx context.Context) (bool, error), err error) {
	shape, err := text(ctx, conn, save("saved"))
	return func(ctx context.Context) (bool, error) {
		found, err := text(ctx, conn, restored("saved"))
		return found == shape, err
	}, err
}

// text runs statements and returns what the last one says.
func text(ctx context.Context, conn *pgx.Conn, sql string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[len(results)-1].Rows[0][0]), nil
}

func save(schema string) string { return strings.ReplaceAll(saveSQL, "SCHEMA_NAME", schema) + shapeSQL }
func restored(schema string) string {
	return strings.ReplaceAll(restoreSQL, "SCHEMA_NAME", schema) + shapeSQL
}

const (
	saveSQL = `
DROP SCHEMA IF EXISTS SCHEMA_NAME CASCADE;
CREATE SCHEMA SCHEMA_NAME;
DO $$ DECLARE r record; filled boolean; BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', r.relname) INTO filled;
        IF filled THEN
            EXECUTE format('CREATE TABLE SCHEMA_NAME.%I AS TABLE public.%I', r.relname, r.relname);
        END IF;
    END LOOP;
END $$;`

	restoreSQL = `
SET session_replication_role = replica;
SET synchronous_commit = off;
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('DELETE FROM public.%I', r.relname);
    END LOOP;
    FOR r IN SELECT k.relname, c.relkind,
                    (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
               FROM pg_class k LEFT JOIN pg_class c ON c.relname = k.relname AND c.relnamespace = 'public'::regnamespace
              WHERE k.relnamespace = 'SCHEMA_NAME'::regnamespace LOOP
        IF r.relkind = 'r' THEN
            EXECUTE format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM SCHEMA_NAME.%I', r.relname, r.columns, r.columns, r.relname);
        ELSIF r.relkind = 'S' THEN
            EXECUTE format('SELECT setval(%L, last_value, is_called) FROM SCHEMA_NAME.%I', 'public.' || r.relname, r.relname);
        END IF;
    END LOOP;
END $$;
RESET session_replication_role;`

	// The shape changes with tables, constraints, indexes, triggers and functions.
	shapeSQL = `
SELECT md5(string_agg(x, ',' ORDER BY x)) FROM (
    SELECT c.oid::text AS x FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s', a.attrelid, a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT oid::text FROM pg_constraint
    UNION ALL SELECT format('%s %s', oid, tgenabled) FROM pg_trigger
    UNION ALL SELECT format('%s %s', oid, xmin) FROM pg_proc WHERE pronamespace = 'public'::regnamespace) s`
)
