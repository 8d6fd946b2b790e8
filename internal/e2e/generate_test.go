package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"promopool/internal/consumer"
)

// TestGenerated: a pool of generated codes, kept full by itself, answers on two
// processes of which one is killed; not a code is stored, none comes twice.
func TestGenerated(t *testing.T) {
	w := newWorld(t)
	w.Draft("gen")
	one := w.Serve()
	w.Serve()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, one.http+"/v1/pools/gen",
		strings.NewReader(`{"replenish": {"below": 30000, "count": 10000, "pattern": "GEN-####-####-##"}}`))
	req.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	if _, err := w.store().LaunchPool(t.Context(), "test", "gen", 0); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); w.number("SELECT coalesce(sum(size), 0)::bigint FROM lots") < 30_000; {
		if time.Now().After(deadline) {
			t.Fatal("the pool was not filled")
		}
	}
	if n := w.number("SELECT sum(size)::bigint FROM lots"); n != 30_000 {
		t.Errorf("filled with %d codes, want 30,000", n)
	}
	var asks []ask
	for i := range 20_000 {
		asks = append(asks, ask{pool: "gen", request: fmt.Sprint(i), customer: fmt.Sprint("c-", i)})
	}
	w.Send(asks[:10_000]...)
	one.Kill()
	w.Send(asks[10_000:]...)
	form, codes := regexp.MustCompile(`^GEN-[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{2}$`), map[string]string{}
	answered := map[string]bool{}
	w.reader(w.names.Outcomes).more(60*time.Second, func(p int, rec *consumer.Record) bool {
		a := parse(t, p, rec)
		if owner, ok := codes[a.Code]; ok && owner != a.RequestID {
			t.Errorf("a code went to %s and %s", owner, a.RequestID)
		}
		if !form.MatchString(a.Code) {
			t.Errorf("request %s got %q", a.RequestID, a.Code)
		}
		codes[a.Code], answered[a.RequestID] = a.RequestID, true
		return len(answered) == len(asks)
	})
	if len(codes) != len(asks) {
		t.Errorf("%d codes for %d requests", len(codes), len(asks))
	}
	if n := w.number("SELECT count(*) FROM codes"); n != 0 {
		t.Errorf("%d codes are stored", n)
	}
	if n := w.number("SELECT (sum(hi - next))::bigint FROM runs"); n < 10_000 || n > 40_000 {
		t.Errorf("%d codes are left, want about 30,000", n)
	}
	w.Verify()
}
