package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
)

// TestOutcomesByKey: where the outcome topic has another number of partitions
// than the requests, outcomes go where Java clients put their key.
func TestOutcomesByKey(t *testing.T) {
	const fewer = 5
	w := newWorldOn(t, kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate), func(w *world) {
		resp, err := w.client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: w.names.Outcomes, NumPartitions: fewer, ReplicationFactor: 1}}})
		if err == nil {
			err = resp.Errors[w.names.Outcomes]
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	w.Pool("p", 1000)
	w.Serve()
	var asks []ask
	for i := range 300 {
		asks = append(asks, ask{pool: "p", request: fmt.Sprint(i), customer: fmt.Sprint("c-", i)})
	}
	w.Send(asks...)
	for _, a := range w.reader(w.names.Outcomes).Answers(len(asks), 20*time.Second) {
		if want := producer.Partition([]byte(a.Key), fewer); a.Partition != want {
			t.Errorf("outcome of key %s in partition %d, want %d", a.Key, a.Partition, want)
		}
	}
	w.Verify()
}

// TestMultiUse: a multi-use pool issues without consuming, and is never
// exhausted.
func TestMultiUse(t *testing.T) {
	w := newWorld(t)
	w.Draft("m")
	w.exec(`UPDATE pools SET multi_use = true WHERE id = 'm'`)
	w.AddCodes("m", "m", 3)
	if _, err := w.store().LaunchPool(t.Context(), "test", "m", 0); err != nil {
		t.Fatal(err)
	}
	w.Serve()
	w.Serve()
	var asks []ask
	for i := range 5000 {
		asks = append(asks, ask{pool: "m", request: fmt.Sprint(i), customer: fmt.Sprint("c-", i)})
	}
	w.Send(append(asks, asks[:500]...)...)
	codes, first := map[string]int{}, map[string]answer{}
	for _, a := range w.reader(w.names.Outcomes).Answers(5500, 30*time.Second) {
		if a.Type != "code.issued" {
			t.Fatalf("got %s %s", a.Type, a.Reason)
		}
		codes[a.Code]++
		if b, ok := first[a.RequestID]; ok && string(b.Value) != string(a.Value) {
			t.Errorf("request %s answered differently", a.RequestID)
		}
		first[a.RequestID] = a
	}
	if len(codes) == 0 || len(codes) > 3 || len(first) != 5000 {
		t.Errorf("%d requests got codes %v", len(first), codes)
	}
	w.Verify()
}

// TestWindows: codes are issued first expiring first, inside their windows
// only, and the verdict tells "none now" from "none left".
func TestWindows(t *testing.T) {
	w := newWorld(t)
	w.Draft("p")
	lot := func(prefix string, n int, start, end string) {
		w.AddCodes("p", prefix, n)
		w.exec(`WITH l AS (
				UPDATE lots SET issue_start = clock_timestamp() + $1::interval, issue_end = clock_timestamp() + $2::interval
				 WHERE lot = (SELECT max(lot) FROM lots) RETURNING *)
			UPDATE runs r SET issue_start = l.issue_start, issue_end = l.issue_end FROM l WHERE r.pool = l.pool AND r.lot = l.lot`, start, end)
	}
	lot("late", 2, "-1 day", "2 days")
	lot("soon", 2, "-1 day", "1 day")
	lot("over", 2, "-2 days", "-1 day")
	lot("next", 2, "4 seconds", "1 day")
	if _, err := w.store().LaunchPool(t.Context(), "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	opens := time.Now().Add(4 * time.Second)
	w.Serve()
	r := w.reader(w.names.Outcomes)
	n := 0
	one := func() string {
		n++
		w.Send(ask{pool: "p", request: fmt.Sprint(n), customer: "c"})
		a := r.Answers(1, 20*time.Second)[0]
		return a.Code + a.Reason
	}
	for _, want := range []string{"c0de-soon-0", "c0de-soon-1", "c0de-late-0", "c0de-late-1", "no_code_in_window"} {
		if got := one(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	time.Sleep(time.Until(opens))
	for _, want := range []string{"c0de-next-0", "c0de-next-1", "pool_exhausted"} {
		if got := one(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	w.Verify()
}

// TestPoolWindow: a request is decided by the pool's own window as it was last
// answered to be, and the auditor finds the window of the time in the history.
func TestPoolWindow(t *testing.T) {
	w := newWorld(t)
	w.Draft("p")
	w.AddCodes("p", "code", 6000)
	if _, err := w.store().LaunchPool(t.Context(), "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	w.Serve()
	r := w.reader(w.names.Outcomes)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for n, step := range []struct {
		start, end time.Time
		want       string
	}{
		{time.Time{}, now.Add(time.Hour), ""},
		{time.Time{}, now.Add(-time.Hour), "no_code_in_window"},
		{now.Add(-time.Hour), time.Time{}, ""},
		{now.Add(time.Hour), now.Add(2 * time.Hour), "no_code_in_window"},
		{time.Time{}, time.Time{}, ""},
	} {
		if _, err := w.store().UpdatePool(t.Context(), "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
			p.IssueStart, p.IssueEnd = step.start, step.end
			return p, nil
		}); err != nil {
			t.Fatal(err)
		}
		w.Send(ask{pool: "p", request: fmt.Sprint(n), customer: "c"})
		if a := r.Answers(1, 20*time.Second)[0]; a.Reason != step.want || (a.Code == "") == (step.want == "") {
			t.Errorf("window %d: got %s %s, want %q", n, a.Type, a.Reason, step.want)
		}
	}
	w.Verify()
}
