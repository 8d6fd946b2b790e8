package kafkatest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promopool/internal/devstack"
)

// Real reports whether tests run against Apache Kafka (make test-kafka).
func Real() bool { return os.Getenv("PROMOPOOL_TEST_KAFKA") == "real" }

// ForTest returns the address of the broker for a test: devstack's in-process one, or
// with PROMOPOOL_TEST_KAFKA=real the one real broker that all tests of the
// binary share. Either way the test names its topics and groups with Prefix.
func ForTest(t testing.TB) string {
	t.Helper()
	if Real() {
		b, err := shared()
		if err != nil {
			t.Fatal(err)
		}
		return b.Addr
	}
	k, err := devstack.StartKafka(t.Context(), devstack.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k.Addr
}

// StartForTest returns a real broker of the test's own, one that it may kill,
// and skips the test unless PROMOPOOL_TEST_KAFKA=real.
func StartForTest(t testing.TB, o Options) *Broker {
	t.Helper()
	if !Real() {
		t.Skip("needs a real Kafka: make test-kafka")
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	b, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Prefix returns a prefix for topics and groups that no other test of this
// binary has. It ends in a dot, as the service's own does.
func Prefix(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.60s-%d.", name, prefixes.Add(1))
}

// Main runs the tests of a binary that uses ForTest and closes the shared
// broker after them: func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }.
// Without it the broker still dies with the binary, and the next Start sweeps
// its files.
func Main(m *testing.M) int {
	code := m.Run()
	if started.Load() {
		if b, err := shared(); err == nil {
			_ = b.Close()
		}
	}
	return code
}

const startTimeout = 3 * time.Minute // the first time Maven fetches the jars

// One broker for all tests of the binary: a JVM takes seconds to start.
var (
	prefixes atomic.Int64
	started  atomic.Bool
	shared   = sync.OnceValues(func() (*Broker, error) {
		started.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		return Start(ctx, Options{})
	})
)
