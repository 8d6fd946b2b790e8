package exporting_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/exporting"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// world is a database with a pool whose codes are exported.
type world struct {
	testing.TB
	url   string
	store *postgres.Store
	conn  *pgx.Conn
	pool  domain.Pool
}

func newWorld(t testing.TB, p domain.Pool) *world {
	t.Helper()
	w := &world{TB: t, url: pgtest.Database(t, postgres.Migrate)}
	var err error
	if w.store, err = postgres.Open(t.Context(), w.url, "test", 4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Close)
	if w.conn, err = pgx.Connect(t.Context(), w.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close(context.Background()) })
	if _, err := w.store.CreateCampaign(t.Context(), "test", domain.Campaign{ID: "spring", Name: "Spring"}, false); err != nil {
		t.Fatal(err)
	}
	p.ID, p.CampaignID, p.Name, p.Description, p.ParameterName, p.Processing = "mugs", "spring", "Mugs", "for tests", "promo_code", domain.Internal
	if w.pool, err = w.store.CreatePool(t.Context(), "test", p, false); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.conn.Exec(w.Context(), sql, args...); err != nil {
		w.Fatal(err)
	}
}

// lot lays down n codes, with the window's times in order.
func (w *world) lot(prefix string, n int, window ...any) {
	w.Helper()
	window = append(window, nil, nil, nil, nil)[:4]
	var lot int32
	if err := w.conn.QueryRow(w.Context(), `SELECT nextval('lot_numbers')::int`).Scan(&lot); err != nil {
		w.Fatal(err)
	}
	w.exec(`INSERT INTO codes (pool, lot, seq, code) SELECT $1, $2, s, $3 || s FROM generate_series(0, $4::bigint - 1) s`, w.pool.Key, lot, prefix, n)
	w.exec(`SELECT add_lot($1, $2, $3, NULL, $4, $5, $6, $7)`, append([]any{w.pool.Key, lot, n}, window...)...)
}

// issue takes n codes from the pool's first run with as many left.
func (w *world) issue(n int, customer string) {
	w.Helper()
	w.exec(`WITH r AS (
		UPDATE runs SET next = next + $2 WHERE (pool, lot, lo) = (SELECT pool, lot, lo FROM runs WHERE pool = $1 AND hi - next >= $2 ORDER BY lot, lo LIMIT 1)
		RETURNING pool, lot, next - $2 AS first)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT r.pool, r.lot, r.first + i, '2026-05-01', '2026-05-02', '+' || r.lot || '-' || r.first + i, $3 FROM r, generate_series(0, $2::bigint - 1) i`, w.pool.Key, n, customer)
}

// export returns the lines behind the heading.
func (w *world) export(state domain.CodeState) [][]string {
	w.Helper()
	var b bytes.Buffer
	if err := exporting.New(w.store).WriteCodes(w.Context(), &w.pool, state, &b); err != nil {
		w.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(exporting.Header, lines[0]); diff != "" {
		w.Error(diff)
	}
	return lines[1:]
}

func TestExport(t *testing.T) {
	w := newWorld(t, domain.Pool{})
	future := time.Date(2099, 1, 2, 3, 4, 5, 6000, time.UTC)
	w.lot("now", 12_000, nil, future, nil, future) // several pages
	w.lot("=1+", 3)
	w.lot("later", 2, future)
	w.lot("over", 4, nil, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	for i := range 500 { // many lots on a page
		w.lot(fmt.Sprintf("l%d-", i), 1)
	}
	w.issue(5_500, "@customer\n")

	all := w.export("")
	if len(all) != 12_509 {
		t.Fatalf("got %d codes, want 12509", len(all))
	}
	const end = "2099-01-02T03:04:05.000006Z"
	for at, want := range map[int]string{
		0:      "now0|issued||" + end + "||" + end + "|1|'@customer\n|'+1-0|2026-05-01T00:00:00Z|2026-05-02T00:00:00Z|",
		5_499:  "now5499|issued||" + end + "||" + end + "|1|'@customer\n|'+1-5499|2026-05-01T00:00:00Z|2026-05-02T00:00:00Z|",
		5_500:  "now5500|available||" + end + "||" + end + "|0|||||",
		12_000: "'=1+0|available|||||0|||||",
		12_003: "later0|scheduled|" + end + "||||0|||||",
		12_005: "over0|expired||2001-01-01T00:00:00Z|||0|||||",
		12_508: "l499-0|available|||||0|||||",
	} {
		if got := strings.Join(all[at], "|"); got != want {
			t.Errorf("line %d:\n got %s\nwant %s", at, got, want)
		}
	}
	got := map[string]int{}
	for _, state := range domain.CodeStates {
		some := w.export(state)
		got[string(state)] = len(some)
		want := slices.DeleteFunc(slices.Clone(all), func(l []string) bool { return l[1] != string(state) })
		if diff := cmp.Diff(want, some); diff != "" {
			t.Errorf("%s: %s", state, diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"available": 7_003, "scheduled": 2, "issued": 5_500, "expired": 4, "blocked": 0, "redeemed": 0, "withdrawn": 0}, got); diff != "" {
		t.Error(diff)
	}
}

// A code that many may use: how often it was issued is counted from the runs,
// and is what a count of the issuances says.
func TestExportMultiUse(t *testing.T) {
	w := newWorld(t, domain.Pool{MultiUse: true})
	w.lot("a", 7)
	w.lot("b", 3)
	w.lot("c", 2)
	if _, err := w.store.LaunchPool(t.Context(), "test", "mugs", 0); err != nil {
		t.Fatal(err)
	}
	// Partitions that take turns, finish their runs, and are folded away.
	for round := range 40 {
		partition := round%3 + 1
		w.exec(`SELECT count(*) FROM refill($1, $2, $3)`, partition, w.pool.Key, 5+round)
		w.exec(`WITH r AS (
			UPDATE runs SET next = least(hi, next + $3) WHERE (pool, lot, lo) = (
				SELECT pool, lot, lo FROM runs WHERE pool = $1 AND partition = $2 AND next < hi ORDER BY lot, lo LIMIT 1)
			RETURNING pool, lot, next, lo)
			INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT r.pool, r.lot, i, now(), now(), r.lot || '-' || i, 'customer' FROM r, generate_series(r.lo, r.next - 1) i
			ON CONFLICT DO NOTHING`, w.pool.Key, partition, 1+round%9)
		if round%10 == 9 {
			w.exec(`SELECT hand_back($1, NULL)`, w.pool.Key)
		}
	}
	type count struct {
		Code string
		N    int
	}
	rows, _ := w.conn.Query(t.Context(), `SELECT c.code, count(i.seq) FROM codes c JOIN lots l USING (pool, lot)
		LEFT JOIN issuances i ON i.pool = c.pool AND i.lot = c.lot AND i.seq % l.size = c.seq GROUP BY c.code`)
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[count])
	if err != nil {
		t.Fatal(err)
	}
	want, issued := map[string]string{}, 0
	for _, c := range counts {
		want[c.Code] = fmt.Sprintf("available %d", c.N)
		issued += c.N
	}
	got := map[string]string{}
	for _, l := range w.export("") {
		got[l[0]] = l[1] + " " + l[6]
	}
	if diff := cmp.Diff(want, got); diff != "" || issued < 50 {
		t.Error(issued, diff)
	}
	if some := w.export(domain.CodeIssued); len(some) != 0 {
		t.Errorf("got %d codes, want none in that state", len(some))
	}
}

// A pool that is deleted half way does not look like its end.
func TestExportPoolDeleted(t *testing.T) {
	w := newWorld(t, domain.Pool{})
	w.lot("d", 20_000)
	written := 0
	err := exporting.New(w.store).WriteCodes(t.Context(), &w.pool, "", writerFunc(func(b []byte) (int, error) {
		if written == 0 {
			if err := w.store.DeletePool(context.Background(), "test", "mugs", 0); err != nil {
				t.Error(err)
			}
		}
		written += len(b)
		return len(b), nil
	}))
	if err == nil || written == 0 {
		t.Errorf("got %v after %d bytes, want an error", err, written)
	}
}

// Who reads nothing any more ends it, and holds nothing meanwhile.
func TestExportStops(t *testing.T) {
	w := newWorld(t, domain.Pool{})
	w.lot("s", 20_000)
	ctx, cancel := context.WithCancel(t.Context())
	err := exporting.New(w.store).WriteCodes(ctx, &w.pool, "", writerFunc(func(b []byte) (int, error) {
		cancel()
		var open int
		if err := w.conn.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`).Scan(&open); err != nil || open > 0 {
			t.Errorf("%d transactions are open while the reader waits, %v", open, err)
		}
		return len(b), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
