package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestWatchCost: to watch very many pools that nobody uses, and one that lies in
// very many runs, costs next to nothing.
func TestWatchCost(t *testing.T) {
	pools, runs, long := sized(200, 1000), sized(20_000, 200_000), time.Duration(sized(2, 60))*time.Second
	w := newWorld(t)
	n := w.Serve()
	measure := func(what string) (cpu float64) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !n.Ready() && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		before, began := w.processor(), time.Now()
		time.Sleep(long) // what is measured
		after, took := w.processor(), time.Since(began)
		t.Logf("%s: %s", what, after.since(before, took))
		return (after.service + after.database - before.service - before.database).Seconds() / took.Seconds()
	}
	empty := measure("no pools")

	w.Draft("model")
	w.exec(`INSERT INTO pools (id, campaign, name, description, parameter_name, notify_below, notify, multi_use, check_issued, processing, created_at)
		SELECT 'idle-' || i, campaign, 'Idle', 'idle', 'code', 10, true, false, false, 'internal', now() FROM campaigns, generate_series(1, $1::int) i`, pools)
	w.exec(`INSERT INTO lots (pool, lot, size, revision, created_at) SELECT pool, nextval('lot_numbers'), 3000, 1, now() FROM pools WHERE id LIKE 'idle-%'`)
	w.exec(`INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT pool, lot, i * 1000, i * 1000, (i + 1) * 1000, 1 FROM lots, generate_series(0, 2) i`)
	w.exec(`UPDATE pools SET state = 'active', launched_at = now() WHERE id LIKE 'idle-%'`)
	time.Sleep(long / 2) // until all were judged once
	idle := measure(fmt.Sprintf("%d pools", pools))

	// Each in a window of its own, so that nobody gathers them.
	w.exec(`INSERT INTO lots (pool, lot, size, issue_end, revision, created_at)
		SELECT pool, nextval('lot_numbers'), 2, now() + i * interval '1 minute' + interval '1 year', 1, now() FROM pools, generate_series(1, $1::int) i WHERE id = 'model'`, runs)
	w.exec(`INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, i, 'c0de-' || lot || '-' || i FROM lots, generate_series(0, 1) i WHERE size = 2`)
	w.exec(`INSERT INTO runs (pool, lot, lo, next, hi, grant_no, issue_end) SELECT pool, lot, 0, 0, 2, 1, issue_end FROM lots WHERE size = 2`)
	w.exec(`UPDATE pools SET state = 'active', launched_at = now() WHERE id = 'model'`)
	w.exec(`VACUUM ANALYZE`)
	time.Sleep(long / 2) // until it backs off
	large := measure(fmt.Sprintf("and one of %d runs", runs))

	used := w.Load("model", "r", 1, 200*time.Millisecond, 1<<30)
	measure("and that in use")
	used.Stop()
	if most := empty + 0.1; idle > most || large > most {
		t.Errorf("%.3f of a processor is used with no pools, %.3f and %.3f with them", empty, idle, large)
	}
}
