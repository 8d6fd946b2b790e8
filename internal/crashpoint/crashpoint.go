// Package crashpoint is the register of the service's writes. Each write to
// PostgreSQL or Kafka goes through one Point, which says what is true after a crash
// before it and after it, and who repairs. Tests fail, lose, kill and freeze every
// one of them; docs/reliability.md tells how.
package crashpoint

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// System is what a point writes to.
type System string

// The systems.
const (
	PostgreSQL System = "PostgreSQL"
	Kafka      System = "Kafka"
)

// Point is a place in the program where a write happens. The texts are what the
// documentation shows.
type Point struct {
	// Name is group.what; the group is a section of the documentation.
	Name  string
	To    System
	Write string // what is written
	// Before and After say what is true when a process dies there, or the write
	// fails there. Where the answer is lost nobody knows which of them it is.
	Before, After string
	Repair        string // who makes up for it, and how
	// Patience is how long the client waits for an answer by itself. 0: as long as
	// its caller does.
	Patience time.Duration
}

// Group is the part of the name before the dot.
func (p *Point) Group() string {
	for i := range p.Name {
		if p.Name[i] == '.' {
			return p.Name[:i]
		}
	}
	return p.Name
}

// register holds the points in the order of points.go. Only its variables add to it.
var register []*Point

func add(p Point) *Point {
	register = append(register, &p)
	return &p
}

// All returns every point.
func All() []*Point { return slices.Clone(register) }

// Injector stands between a point and its write. It decides whether and when write
// runs, and what the caller is told.
type Injector func(ctx context.Context, p *Point, write func() error) error

// armed is nil in the program as it is shipped: only tests set it, and a test holds
// them to that.
var armed atomic.Pointer[Injector]

// Arm puts an injector before every point of the process; nil takes it away.
func Arm(i Injector) {
	if i == nil {
		armed.Store(nil)
		return
	}
	armed.Store(&i)
}

// Do writes through a point; nil is for what is no part of the service.
func Do(ctx context.Context, p *Point, write func() error) error {
	if i := armed.Load(); i != nil && p != nil {
		return (*i)(ctx, p, write)
	}
	return write()
}
