package simulation

import (
	"fmt"
	"slices"
	"time"
)

// most bounds what a healed world may need until every request is answered.
const mostToHeal = 60_000

// run lives through the given number of events, heals, and looks at what is left.
func (w *world) run(events int) {
	w.found()
	w.quiet(2000, func() bool { return w.pending == 0 })
	w.faultless = false
	for w.events < events && !w.failed() {
		w.turn()
	}
	if !w.failed() {
		w.heal()
	}
	w.told = slices.Clone(w.trace)
	w.stop()
}

// turn is one event.
func (w *world) turn() {
	w.reap()
	w.thaw()
	if w.idleTurn {
		// Where nobody can do anything, nothing happens to them either.
		w.idleTurn = false
		w.next()
		return
	}
	switch n := w.rng.IntN(1000); {
	case n < 10 && (!w.calm || w.chance(8)):
		w.mishap()
	case n < 24:
		w.edit()
	case n < 44:
		w.passSome()
	case n < 150 && w.appended < w.events/4+20:
		w.ask()
	default:
		w.next()
	}
}

// passSome lets time pass: mostly little.
func (w *world) passSome() {
	d := []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond, 1100 * time.Millisecond, 4 * time.Second}
	w.pass(d[min(w.rng.IntN(len(d)), w.rng.IntN(len(d)))])
}

// next is the next step of somebody; time passes where there is none.
func (w *world) next() {
	open := w.open()
	offsets := w.unsent()
	free := w.unowned()
	n := len(open) + len(offsets) + len(free)
	if n == 0 {
		w.idleTurn = true
		w.pass([]time.Duration{time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond}[w.rng.IntN(3)])
		return
	}
	switch i := w.rng.IntN(n); {
	case i < len(open):
		w.let(open[i])
	case i < len(open)+len(offsets):
		w.commitOffset(offsets[i-len(open)])
	default:
		// A group takes its time to give a partition away.
		if !w.faultless && !w.chance(4) || !w.assign(free[i-len(open)-len(offsets)]) {
			w.idleTurn = true
			w.pass(time.Duration(1+w.rng.IntN(100)) * time.Millisecond)
		}
	}
}

// unsent are the generations that have an offset to commit.
func (w *world) unsent() (all []*generation) {
	for _, g := range w.live {
		if g.reached > g.sent && !g.node.dead && (!g.node.frozen || w.faultless) {
			all = append(all, g)
		}
	}
	return all
}

func (w *world) unowned() (all []int) {
	for p, g := range w.owners {
		if g == nil {
			all = append(all, p)
		}
	}
	return all
}

// reap takes note of work that has returned.
func (w *world) reap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.live[:0]
	for _, g := range w.live {
		if !g.done || g.reached > g.sent && !g.node.dead {
			left = append(left, g)
		}
		if g.done && w.owners[g.partition] == g && (g.reached <= g.sent || g.node.dead) {
			w.owners[g.partition] = nil
		}
	}
	w.live = left
}

// quiet goes on until done says so.
func (w *world) quiet(most int, done func() bool) bool {
	for range most {
		if w.failed() || done() {
			return true
		}
		w.reap()
		w.next()
	}
	return false
}

// heal ends all faults and waits until everything is answered.
func (w *world) heal() {
	w.note("all faults end")
	w.faultless = true
	for _, n := range w.nodes {
		n.frozen = false
	}
	for s := range w.db.sessions {
		// A frozen backend of a partition does not thaw: a successor must end it. Others
		// bear no mark, and are left to the server's own timeouts.
		s.frozen = s.frozen && len(s.marks) > 0
	}
	for _, g := range w.live {
		if w.owners[g.partition] != g {
			g.cancel()
		}
	}
	w.settle()
	answered := func() bool {
		for p := range w.owners {
			if max(w.groupOffset[p], 0) < w.log.part(requests, p).end {
				return false
			}
		}
		return w.pending == 0
	}
	if !w.quiet(mostToHeal, answered) {
		w.fail("liveness: healed, but not everything is answered: offsets %v; problems %v", w.groupOffset, w.problems())
		return
	}
	w.check.end()
}

func (w *world) problems() (all []string) {
	for _, n := range w.nodes {
		for _, p := range n.parts.Health.Problems() {
			all = append(all, fmt.Sprintf("%s: %s", n.name, p))
		}
	}
	for _, g := range w.gates {
		all = append(all, g.name)
	}
	return all
}

// stop ends everybody, so that nothing is left behind.
func (w *world) stop() {
	w.faultless = true
	for _, n := range w.nodes {
		n.frozen = false
		w.end(n)
	}
	for range 100_000 {
		w.db.mu.Lock()
		for s := range w.db.sessions {
			s.frozen = false
			s.end()
		}
		w.db.mu.Unlock()
		open := w.open()
		if len(open) > 0 {
			w.let(open[0])
			continue
		}
		w.mu.Lock()
		busy := w.pending > 0
		for _, g := range w.live {
			busy = busy || !g.done
		}
		busy = busy || len(w.gates) > 0
		w.mu.Unlock()
		if !busy {
			// What sleeps wakes up and finds that it is dead.
			time.Sleep(time.Minute)
			w.settle()
			if len(w.gates) == 0 {
				return
			}
			continue
		}
		w.pass(100 * time.Millisecond)
	}
}
