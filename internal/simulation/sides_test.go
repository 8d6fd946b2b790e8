package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// side is one of the two stores that must agree.
type side interface {
	issuing.Store
	create(ctx context.Context, p domain.Pool) error
	launch(ctx context.Context, id string) error
	archive(ctx context.Context, id string) error
	setWindow(ctx context.Context, id string, start, end time.Time) error
	setValidity(ctx context.Context, id string, days int) error
	// fill adds n codes, in a lot of their own or, with into, behind its size codes.
	fill(ctx context.Context, id string, n int, w domain.Window, into int32, size int64) (lot int32, err error)
	block(ctx context.Context, id string, lot int32, seq int64) error
	issueCode(ctx context.Context, id string, lot int32, seq int64, r domain.Request) error
	// dump is all that is stored, a line a row, with partitions by their numbers.
	dump() []string
	// blocked reports whether anybody waits for a lock.
	blocked() bool
	// insert stores an issuance in a transaction that ends when told: with a COMMIT or not.
	insert(pool string, lot int32, seq int64, request string, end <-chan bool) error
}

const conformers = 3 // partitions

// modelSide is the model without a scheduler: who waits for a lock, waits.
type modelSide struct {
	*store
}

func newModelSide() *modelSide {
	d := newDB(200, conformers)
	d.now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	d.pace = func(s *session, _ string, ready func() bool) verdict {
		for ready != nil {
			d.mu.Lock()
			ok := ready()
			d.mu.Unlock()
			if ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return proceed
	}
	m := &modelSide{store: &store{db: d}}
	m.call = func(_ context.Context, _, _ string, _ bool, work func(*session) error) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		s := d.session("")
		defer s.close()
		return work(s)
	}
	return m
}

func (m *modelSide) fill(ctx context.Context, id string, n int, w domain.Window, into int32, size int64) (int32, error) {
	return m.importCodes(ctx, id, w, func(lot int32, first int64) []string {
		texts := make([]string, n)
		for i := range texts {
			texts[i] = codeText(id, lot, first+int64(i))
		}
		return texts
	}, into, size)
}

// forget empties the tables.
func (m *modelSide) forget() {
	m.db.data, m.db.poolNo, m.db.lotNo = newTables(), 0, 0
}

func (m *modelSide) blocked() bool {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	for s := range m.db.sessions {
		if s.waiting != nil {
			return true
		}
	}
	return false
}

func (m *modelSide) insert(pool string, lot int32, seq int64, request string, end <-chan bool) error {
	return m.call(context.Background(), "", "", false, func(s *session) error {
		p := s.poolRows([]string{pool})[0]
		if err := s.add(issueRow{place: place{p.Key, lot, seq}, request: request, customer: "c", at: m.db.now(), from: m.db.now()}); err != nil {
			return err
		}
		m.db.mu.Unlock()
		yes := <-end
		m.db.mu.Lock()
		if !yes {
			return nil
		}
		return s.commit()
	})
}

func (m *modelSide) dump() (lines []string) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	d := m.db.data
	for _, p := range d.pools {
		lines = append(lines, fmt.Sprintf("pool %d %s %s %s grant %d revision %d", p.Key, p.ID, p.State, p.Mode, p.grantNo, p.Revision))
	}
	for _, l := range d.lots {
		lines = append(lines, fmt.Sprintf("lot %d/%d size %d done %d withdrawn %d", l.pool, l.no, l.size, l.done, l.withdrawn))
	}
	for _, r := range d.runs {
		lines = append(lines, fmt.Sprintf("run %d/%d/%d next %d hi %d holder %d grant %d", r.pool, r.lot, r.lo, r.next, r.hi, r.holder, r.grantNo))
	}
	for _, i := range d.issued {
		lines = append(lines, fmt.Sprintf("issued %d/%d/%d %s %s", i.pool, i.lot, i.seq, i.request, i.customer))
	}
	for _, p := range d.partitions {
		lines = append(lines, fmt.Sprintf("partition %d epoch %d batch %d next %d", p.number+1, p.epoch, p.batchNo, p.nextOffset))
	}
	for _, b := range d.batches {
		lines = append(lines, fmt.Sprintf("batch %d %d–%d %x evidence %d", b.partition, b.first, b.end, b.verdicts, len(b.evidence)))
	}
	slices.Sort(lines)
	return lines
}

// postgresSide is the store.
type postgresSide struct {
	*postgres.Store
	t   *testing.T
	sql *pgxpool.Pool
}

func newPostgresSide(t *testing.T) *postgresSide {
	url := pgtest.Database(t, postgres.Migrate)
	s, err := postgres.Open(t.Context(), url, "conformance", 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	sql, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sql.Close)
	if _, err := s.CreateCampaign(t.Context(), "test", domain.Campaign{ID: "summer", Name: "Summer"}, false); err != nil {
		t.Fatal(err)
	}
	return &postgresSide{s, t, sql}
}

func (p *postgresSide) create(ctx context.Context, pool domain.Pool) error {
	_, err := p.CreatePool(ctx, "test", pool, false)
	return err
}

func (p *postgresSide) launch(ctx context.Context, id string) error {
	_, err := p.LaunchPool(ctx, "test", id, 0)
	return err
}

func (p *postgresSide) archive(ctx context.Context, id string) error {
	_, err := p.ArchivePool(ctx, "test", id, 0)
	return err
}

func (p *postgresSide) setWindow(ctx context.Context, id string, start, end time.Time) error {
	_, err := p.UpdatePool(ctx, "test", id, 0, func(q domain.Pool) (domain.Pool, error) {
		q.IssueStart, q.IssueEnd = start, end
		return q, nil
	})
	return err
}

func (p *postgresSide) setValidity(ctx context.Context, id string, days int) error {
	_, err := p.UpdatePool(ctx, "test", id, 0, func(q domain.Pool) (domain.Pool, error) {
		q.Validity = domain.Period{Days: days}
		return q, nil
	})
	return err
}

func (p *postgresSide) fill(ctx context.Context, id string, n int, w domain.Window, into int32, size int64) (lot int32, err error) {
	optional := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	err = pgx.BeginFunc(ctx, p.sql, func(tx pgx.Tx) error {
		lot = into
		if lot == 0 {
			if err := tx.QueryRow(ctx, "SELECT nextval('lot_numbers')::int").Scan(&lot); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT p.pool, $2, s, $1 || '-' || $2::int || '-' || s FROM pools p, generate_series($3::bigint, $3 + $4::bigint - 1) s WHERE p.id = $1`, id, lot, size, n); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT add_codes(pool, NULL, clock_timestamp(), ARRAY[$2::int], ARRAY[$3::bigint], ARRAY[$4::bigint],
			ARRAY[$5::timestamptz], ARRAY[$6::timestamptz], ARRAY[$7::timestamptz], ARRAY[$8::timestamptz]) FROM pools WHERE id = $1`,
			id, lot, size, n, optional(w.IssueStart), optional(w.IssueEnd), optional(w.AvailableFrom), optional(w.AvailableTill))
		return err
	})
	return lot, err
}

func (p *postgresSide) block(ctx context.Context, id string, lot int32, seq int64) error {
	_, err := p.BlockCode(ctx, "test", id, codeText(id, lot, seq), "")
	return err
}

func (p *postgresSide) issueCode(ctx context.Context, id string, lot int32, seq int64, r domain.Request) error {
	r.PoolID = id
	_, err := p.IssueCode(ctx, "test", codeText(id, lot, seq), r, "")
	return err
}

func (p *postgresSide) dump() []string {
	rows, err := p.sql.Query(context.Background(), `
		SELECT format('pool %s %s %s %s grant %s revision %s', pool, id, state, mode, grant_no, revision) FROM pools
		UNION ALL SELECT format('lot %s/%s size %s done %s withdrawn %s', pool, lot, size, done, withdrawn) FROM lots
		UNION ALL SELECT format('run %s/%s/%s next %s hi %s holder %s grant %s', r.pool, r.lot, r.lo, r.next, r.hi, coalesce(p.number + 1, 0), r.grant_no)
		  FROM runs r LEFT JOIN partitions p USING (partition)
		UNION ALL SELECT format('issued %s/%s/%s %s %s', pool, lot, seq, request_id, customer_id) FROM issuances
		UNION ALL SELECT format('partition %s epoch %s batch %s next %s', number + 1, epoch, batch_no, next_offset) FROM partitions
		UNION ALL SELECT format('batch %s %s–%s %s evidence %s', p.number + 1, first_offset, end_offset, encode(coalesce(verdicts, ''), 'hex'), coalesce(jsonb_array_length(evidence), 0))
		  FROM batches b JOIN partitions p USING (partition)`)
	if err != nil {
		p.t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func (p *postgresSide) forget() {
	if _, err := p.sql.Exec(context.Background(), "TRUNCATE pools, lots, lot_changes, runs, codes, issuances, partitions, batches, withdrawn, blocks, unlisted, subscriptions, imports RESTART IDENTITY CASCADE; ALTER SEQUENCE lot_numbers RESTART"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *postgresSide) blocked() (is bool) {
	if err := p.sql.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").Scan(&is); err != nil {
		p.t.Fatal(err)
	}
	return is
}

func (p *postgresSide) insert(pool string, lot int32, seq int64, request string, end <-chan bool) error {
	ctx := context.Background()
	tx, err := p.sql.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after a COMMIT it does nothing
	if _, err := tx.Exec(ctx, `INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT pool, $2, $3, now(), now(), $4, 'c' FROM pools WHERE id = $1`, pool, lot, seq, request); err != nil {
		return err
	}
	if <-end {
		return tx.Commit(ctx)
	}
	return nil
}

// class is what an error means to who asked.
func class(err error) string {
	var denied *domain.Denied
	switch name := outcomeOf(err); {
	case err == nil:
		return "done"
	case errors.As(err, &denied), errors.Is(err, domain.ErrState), errors.Is(err, domain.ErrDraft), name == ": refused":
		return "refused"
	case strings.Contains(err.Error(), "PP004"), strings.Contains(err.Error(), "PP008"):
		return "refused"
	default:
		return strings.TrimPrefix(name, ": ")
	}
}
