package e2e

import (
	"context"
	"testing"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/devstack"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// broker is a Kafka that a test may kill and start again.
type broker struct {
	addr        string
	kill, start func() error
}

func ownBroker(t *testing.T) broker {
	t.Helper()
	ctx := t.Context()
	if kafkatest.Real() {
		b := kafkatest.StartForTest(t, kafkatest.Options{})
		return broker{b.Addr, b.Kill, func() error { return b.Restart(ctx) }}
	}
	k, err := devstack.StartKafka(ctx, devstack.KafkaConfig{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return broker{k.Addr, func() error { k.Stop(); return nil }, func() error { return k.Start(ctx) }}
}

// TestOutages: under load PostgreSQL is restarted at once, then the broker.
// Answers go on soon after they are back, and all are right.
func TestOutages(t *testing.T) {
	kafka := ownBroker(t)
	pg := pgtest.Server(t)
	if err := postgres.Migrate(t.Context(), pg.URL); err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, kafka.addr, pg.URL)
	w.Pool("p", 300_000)
	nodes := []*node{w.Serve(), w.Serve()}
	load := w.Load("p", "r", 24, 10*time.Millisecond, 1<<30)
	l, r := newLedger(), w.reader(w.names.Outcomes)
	l.learn(t, r, 2000, 30*time.Second)

	goOn := func(since time.Time, within time.Duration, what string) {
		t.Helper()
		var first time.Time
		r.more(within, func(p int, rec *consumer.Record) bool {
			a := parse(t, p, rec)
			if err := l.add(a); err != nil {
				t.Error(err)
			}
			if at, err := time.Parse(time.RFC3339, a.Time); err == nil && at.After(since) && rec.Time.After(since) {
				first = time.Now()
				return true
			}
			return false
		})
		if first.IsZero() {
			t.Fatalf("%s: no answer within %v of its being back", what, within)
		}
		t.Logf("%s: answers go on %v after its being back", what, first.Sub(since))
	}
	down := func(what string, stop, start func() error) time.Time {
		t.Helper()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			for deadline := time.Now().Add(15 * time.Second); n.Ready(); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("%s is away, and readyz does not say so", what)
					break
				}
			}
		}
		if err := start(); err != nil {
			t.Fatal(err)
		}
		return time.Now()
	}
	since := down("PostgreSQL",
		func() error { return pg.Stop(devstack.Immediate) },
		func() error { return pg.Start(context.WithoutCancel(t.Context())) })
	goOn(since, 5*time.Second, "PostgreSQL")
	since = down("Kafka", kafka.kill, kafka.start)
	goOn(since, 15*time.Second, "Kafka")

	want := load.Stop()
	r.more(60*time.Second, func(p int, rec *consumer.Record) bool {
		if err := l.add(parse(t, p, rec)); err != nil {
			t.Error(err)
		}
		return len(l.issued) >= want
	})
	if len(l.issued) < want || len(l.rejected) > 0 {
		t.Errorf("%d requests have a code, want %d; rejected %v", len(l.issued), want, l.rejected)
	}
	for _, n := range nodes { // the group of redemptions may join again later
		n.AwaitReady()
	}
	w.Verify()
}
