package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"promopool/internal/consumer"
)

var auditRequests = flag.Int("audit-requests", 0, "requests that TestVerifyCost audits; 1000000 for the figure that is published, 0 skips it")

// TestVerifyCost: the auditor reads a million requests, most of them issued, some
// refused or repeated, and a tenth as many redemptions, in a minute and 200 MB.
func TestVerifyCost(t *testing.T) {
	if *auditRequests == 0 {
		t.Skip("make bench-verify")
	}
	w := newWorld(t)
	n := w.Serve()
	w.fill(n, *auditRequests)
	for run := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "verify", "--kafka", w.kafka, "--database-url", w.database, "--topic-prefix", w.prefix)
		cmd.Env = append(os.Environ(), "PROMOPOOL_E2E_CHILD=1")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		peak, err := peaking(cmd)
		took := time.Since(began)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		t.Logf("audit %d of %d requests: %.1f s, peak memory %d MiB, CPU %.1f s\n%s", run+1, *auditRequests, took.Seconds(), peak,
			(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), out.String())
		if took > time.Minute || peak > 200 {
			t.Errorf("got %.1f s and %d MiB, want at most 60 s and 200 MiB", took.Seconds(), peak)
		}
	}
}

// peaking runs a command and returns the most memory that it had, in MiB. What the
// kernel says of a child that has ended counts its parent's in.
func peaking(cmd *exec.Cmd) (mib int, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return mib, err
		case <-tick.C:
			mib = max(mib, peak(cmd.Process.Pid))
		}
	}
}

// fill has a service answer requests of every kind, and redemptions.
func (w *world) fill(n *node, requests int) {
	w.t.Helper()
	part := func(percent int) int { return requests * percent / 100 }
	w.Pool("big", part(75)+1000)
	w.Pool("small", part(2))
	w.Draft("many")
	w.exec("UPDATE pools SET multi_use = true WHERE id = 'many'")
	w.AddCodes("many", "many", 5)
	w.Draft("made")
	anna := staff{t: w.t, base: n.http, name: "anna"}
	anna.Want(202, "POST", "/v1/pools/made/generate", fmt.Sprintf(`{"count": %d, "pattern": "S-########"}`, part(20)))
	for _, id := range []string{"many", "made"} {
		if _, err := w.store().LaunchPool(w.t.Context(), "test", id, 0); err != nil {
			w.t.Fatal(err)
		}
	}
	w.exec("VACUUM ANALYZE codes, lots, runs, pools")
	began := time.Now()
	kinds := []string{}
	for pool, percent := range map[string]int{"big": 72, "made": 15, "many": 5, "small": 3, "": 5} {
		for range percent {
			kinds = append(kinds, pool)
		}
	}
	var asks []ask
	for i := range requests {
		// 61 and 100 have no common divisor: neighbours are of different kinds.
		a := ask{pool: kinds[i*61%100], request: fmt.Sprintf("%08d", i), customer: fmt.Sprint("c-", i%(requests/4))}
		if a.pool == "" {
			a = asks[(i/2)%len(asks)]
		}
		if asks = append(asks, a); len(asks) == 50_000 || i == requests-1 {
			w.Send(asks...)
			if i < requests-1 {
				asks = asks[:1]
			}
		}
	}
	told := 0
	if !w.reader(w.names.Outcomes).more(10*time.Minute, func(int, *consumer.Record) bool { told++; return told >= requests }) {
		w.t.Fatalf("%d of %d requests are answered", told, requests)
	}
	var sales []sale
	for i := range requests / 10 {
		s := sale{ID: fmt.Sprintf("%08d", i), Pool: "big", Code: fmt.Sprint("c0de-big-", i), Customer: fmt.Sprint("c-", i)}
		if i%20 == 0 { // redeemed before, by its first tenth
			s.Code = "c0de-big-1"
		}
		if sales = append(sales, s); len(sales) == 50_000 || i == requests/10-1 {
			w.sell(sales...)
			sales = sales[:0]
		}
	}
	told = 0
	if !w.reader(w.names.RedemptionOutcomes).more(10*time.Minute, func(int, *consumer.Record) bool { told++; return told >= requests/10 }) {
		w.t.Fatalf("%d of %d redemptions are answered", told, requests/10)
	}
	left, _ := json.Marshal(map[string]int64{"issuances": w.number("SELECT count(*) FROM issuances"), "redemptions": w.number("SELECT count(*) FROM redemptions WHERE reason = 0")})
	w.t.Logf("%d requests and %d redemptions answered in %.0f s: %s", requests, requests/10, time.Since(began).Seconds(), left)
}
