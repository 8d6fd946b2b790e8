package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
)

// Faults of a write.
const (
	fails  = "fails"         // it is not made, and the writer is told of an error
	unsaid = "answer lost"   // it is made, and the writer is told of an error
	before = "killed before" // the process dies, and it is not made
	after  = "killed after"  // it is made, and the process dies
	hangs  = "hangs"         // it is made or not, and no answer comes
)

var faults = []string{fails, unsaid, before, after, hangs}

// plan is what happens to a child at a point.
type plan struct {
	Point, Fault string
	Hit          int    // from 1
	Seed         uint64 // which error, and whether a write that hangs is made
	Provoke      string // a point whose answers are lost until it has happened

	mu   sync.Mutex
	hits int  // guarded by mu
	done bool // guarded by mu
}

// crashEnv tells a child its plan.
const crashEnv = "PROMOPOOL_E2E_CRASH"

func armFromEnvironment() {
	text := os.Getenv(crashEnv)
	if text == "" {
		return
	}
	var all plans
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		panic(err)
	}
	crashpoint.Arm(all.inject)
}

// plans are carried out one after the other.
type plans []*plan

func (all plans) inject(ctx context.Context, at *crashpoint.Point, write func() error) error {
	for _, p := range all {
		if !p.over() {
			return p.inject(ctx, at, write)
		}
	}
	return write()
}

// word is what a child tells its parent of a point, as a line on standard error.
type word struct{ Message, Word, Point, HTTP string }

// Words.
const (
	hit     = "hit"
	failed  = "failed" // or its answer was lost
	hanging = "hangs"
	goneOn  = "gone on" // a write that hung was given up
	killMe  = "kill me"
)

func (p *plan) say(what string) {
	line, _ := json.Marshal(map[string]string{"message": "crashpoint", "word": what, "point": p.Point})
	fmt.Fprintf(os.Stderr, "%s\n", line)
}

// due reports whether the fault is this hit's.
func (p *plan) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return false
	}
	p.hits++
	p.say(hit)
	p.done = p.hits >= p.Hit
	return p.done
}

// again has the fault happen at the next hit: this write did not come to be.
func (p *plan) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = false
}

func (p *plan) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *plan) inject(ctx context.Context, at *crashpoint.Point, write func() error) error {
	if at.Name == p.Provoke && !p.over() {
		return errors.Join(write(), p.failure(at))
	}
	if at.Name != p.Point || !p.due() {
		return write()
	}
	if p.Fault == unsaid || p.Fault == after || p.Fault == hangs && p.Seed%2 == 1 {
		if err := write(); err != nil {
			p.again()
			return err
		}
	}
	switch p.Fault {
	case fails, unsaid:
		p.say(failed)
		return p.failure(at)
	case hangs:
		return p.hang(ctx, at)
	}
	// The parent kills, when nobody joins a group: kfake would never get over that.
	p.say(killMe)
	select {}
}

// hang waits as long as whoever asked does.
func (p *plan) hang(ctx context.Context, at *crashpoint.Point) error {
	p.say(hanging)
	defer p.say(goneOn)
	if at.Patience > 0 {
		timer := time.NewTimer(at.Patience)
		defer timer.Stop()
		select {
		case <-timer.C:
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	<-ctx.Done()
	return ctx.Err()
}

// failure is what a lost connection looks like, or a server that goes down.
func (p *plan) failure(at *crashpoint.Point) error {
	switch {
	case p.Seed/2%2 == 0:
		return fmt.Errorf("injected: %w", io.ErrUnexpectedEOF)
	case at.To == crashpoint.Kafka:
		return kafka.NotLeaderForPartition
	}
	return &pgconn.PgError{Severity: "FATAL", Code: "57P01", Message: "injected: terminating connection due to administrator command"}
}
