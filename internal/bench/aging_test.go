package bench

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// What the loader makes is as if it had been issued: every issuance has a code,
// the stock knows of it, ids are in the order of time and before new ones, and
// the tables have their keys again.
func TestAge(t *testing.T) {
	w := &world{database: pgtest.Database(t, postgres.Migrate), left: map[string]int{}, requests: newMaker(poolID)}
	w.Progress = io.Discard
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	w.db = db
	if err := w.createCampaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{orderedPast, shuffledPast} {
		if err := w.createPool(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	pasts := []*past{{pool: orderedPast, ids: orderedIDs}, {pool: shuffledPast, ids: shuffledIDs}}
	for _, n := range []int{300, 700} { // it grows
		if err := w.age(t.Context(), pasts, n, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"issued, as the stock has it", "SELECT sum(codes_issued(pool)) FROM pools", 1400},
		{"issuances with a code", "SELECT count(*) FROM issuances JOIN codes USING (pool, lot, seq)", 1400},
		{"ids out of order", `SELECT count(*) FROM (SELECT request_id, lag(request_id) OVER (ORDER BY lot, seq) AS before
			FROM issuances JOIN pools USING (pool) WHERE id = 'bench-ordered') i WHERE before >= request_id`, 0},
		{"ids after a new one", "SELECT count(*) FROM issuances JOIN pools USING (pool) WHERE id = 'bench-ordered' AND request_id >= '" + w.requests.requestID() + "'", 0},
		{"ids of another form", "SELECT count(*) FROM issuances WHERE request_id !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'", 0},
		{"keys", "SELECT count(*) FROM pg_constraint WHERE conrelid IN ('issuances'::regclass, 'codes'::regclass) AND contype IN ('p', 'u')", 4},
	} {
		var got int
		if err := db.QueryRow(t.Context(), c.sql).Scan(&got); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	if err := w.verify(t.Context()); err != nil {
		t.Error(err)
	}
}
