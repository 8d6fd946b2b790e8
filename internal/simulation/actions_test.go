package simulation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

// mishap does something to the world that the protocol must bear.
func (w *world) mishap() {
	switch w.rng.IntN(9) {
	case 0, 1:
		w.rebalance(w.rng.IntN(w.partitions))
	case 2:
		w.kill()
	case 3, 4:
		w.freeze()
	case 5:
		w.freezeBackend()
	case 6:
		w.replay()
	case 7:
		w.tellZombie()
	default:
		w.giveBack()
	}
}

// rebalance takes a partition from its owner, who hears of it now, later, or never.
func (w *world) rebalance(p int) {
	g := w.owners[p]
	w.owners[p] = nil
	if g == nil {
		return
	}
	w.count("partition taken away")
	w.note(fmt.Sprintf("p%d#%d is taken from %s", p, g.no, g.node.name))
	if w.chance(3) {
		w.count("partition taken away unheard")
		return
	}
	g.cancel()
	w.settle()
}

// tellZombie tells one who was left in the belief of owning a partition.
func (w *world) tellZombie() {
	for _, g := range w.live {
		if w.owners[g.partition] != g && !g.done {
			w.note(fmt.Sprintf("%s hears that p%d#%d is not its own", g.node.name, g.partition, g.no))
			g.cancel()
			w.settle()
			return
		}
	}
}

// kill ends a process; another begins.
func (w *world) kill() {
	i := w.rng.IntN(len(w.nodes))
	n := w.nodes[i]
	w.count("process killed")
	w.note(n.name + " is killed")
	w.end(n)
	w.nodes = slices.Delete(w.nodes, i, i+1)
	w.addNode()
}

func (w *world) end(n *node) {
	n.dead = true
	w.db.mu.Lock()
	for s := range w.db.sessions {
		// Its connections break: what is in the middle of a conversation ends.
		if s.node == n && s.interactive {
			s.end()
		}
	}
	w.db.mu.Unlock()
	close(n.killed)
	w.settle()
	for _, g := range w.live {
		if g.node == n {
			g.cancel()
			if w.owners[g.partition] == g {
				w.owners[g.partition] = nil
			}
		}
	}
	w.settle()
}

// freeze stops a process for a while, in which the group gives its partitions away.
func (w *world) freeze() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if n.frozen {
		return
	}
	w.count("process frozen")
	w.note(n.name + " freezes")
	n.frozen, n.thaws = true, w.soon()
	for p, g := range w.owners {
		if g != nil && g.node == n && w.chance(2) {
			w.owners[p] = nil
		}
	}
}

// freezeBackend stops a backend in the middle of what it does, or thaws one.
func (w *world) freezeBackend() {
	var all []*session
	for s := range w.db.sessions {
		if !s.staff {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Or(cmp.Compare(a.name, b.name), a.no-b.no) })
	s := all[w.rng.IntN(len(all))]
	if !s.frozen {
		s.frozen, s.thaws = true, w.soon()
		w.count("backend frozen")
		w.note("the backend of " + s.name + " freezes")
	}
}

// soon is when something frozen thaws.
func (w *world) soon() time.Time {
	d := []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond, 8 * time.Second, 20 * time.Second}[w.rng.IntN(5)]
	return time.Now().Add(time.Duration(w.rng.Int64N(int64(d))))
}

// thaw ends what has been frozen for long enough, and transactions whose clients
// have been silent for too long.
func (w *world) thaw() {
	now := time.Now()
	for _, n := range w.nodes {
		if n.frozen && now.After(n.thaws) {
			n.frozen = false
			w.note(n.name + " thaws")
		}
	}
	for s := range w.db.sessions {
		s.frozen = s.frozen && now.Before(s.thaws)
		if s.interactive && s.node != nil && s.node.frozen && time.Since(s.since) > 5*time.Second {
			s.end()
		}
	}
}

// replay sends the group back, as an operator does with the consumers stopped.
func (w *world) replay() {
	p := w.rng.IntN(w.partitions)
	if w.groupOffset[p] <= 0 {
		return
	}
	w.rebalance(p)
	w.groupOffset[p] = w.rng.Int64N(w.groupOffset[p])
	if w.chance(3) {
		w.groupOffset[p] = consumer.NoOffset
	}
	w.count("group sent back")
	w.note(fmt.Sprintf("p%d is sent back to %d", p, w.groupOffset[p]))
}

// giveBack has an owner over its budget hand a pool's codes back.
func (w *world) giveBack() {
	g := w.owners[w.rng.IntN(w.partitions)]
	if g == nil || g.node.dead || g.node.frozen {
		return
	}
	pool := w.keyOf(w.anyPool())
	w.do(func() error {
		return g.node.store.GiveBack(context.Background(), w.db.partitionKey(stream, g.partition), pool)
	})
}

// edit is something that staff do.
func (w *world) edit() {
	if w.pending > 1 {
		return
	}
	id := w.anyPool()
	ctx := context.Background()
	window := w.window()
	lots := w.lots[id]
	var lot lotKey
	var size int64
	if len(lots) > 0 {
		lot = lots[w.rng.IntN(len(lots))]
		size = w.db.data.lots[lot].size
	}
	n := []int{1, 5, 30, 150, 300}[w.rng.IntN(5)]
	kind := w.rng.IntN(20)
	if w.plenty && !w.chance(8) {
		kind = []int{3, 4, 5, 6, 6, 7, 9, 10, 14, 17}[w.rng.IntN(10)]
	}
	if w.starved {
		n = 1 + w.rng.IntN(3)
		if !w.chance(8) {
			kind = []int{7, 7, 7, 7, 9, 10, 17}[w.rng.IntN(7)]
		}
	}
	switch kind {
	case 0:
		if len(w.pools) < 8 {
			w.newPool()
		}
	case 1:
		if w.chance(6) {
			w.do(func() error { return w.staff.archive(ctx, id) })
		}
	case 2:
		days := 1 + w.rng.IntN(9)
		w.do(func() error { return w.staff.setValidity(ctx, id, days) })
	case 3:
		// Soon over, so that the end passes while codes are at hand; or yet to begin.
		end := time.Now().UTC().Add(time.Duration(w.rng.Int64N(int64(3 * time.Second)))).Truncate(time.Microsecond)
		start := time.Time{}
		if w.chance(3) {
			start, end = end, time.Time{}
		}
		w.do(func() error { return w.staff.setWindow(ctx, id, start, end) })
	case 4, 5:
		days := w.rng.IntN(3)
		w.do(func() error { return w.staff.setValidity(ctx, id, days) })
	case 6:
		w.do(func() error { return w.staff.setWindow(ctx, id, time.Time{}, time.Time{}) })
	case 7, 8, 9:
		w.do(func() error { return w.fill(id, n, window, lotKey{}) })
	case 10:
		if lot.no != 0 {
			w.do(func() error { return w.fill(id, n, domain.Window{}, lot) })
		}
	case 11, 12, 13:
		for _, d := range slices.Sorted(maps.Keys(w.drafts)) {
			if len(w.drafts) == 1 || d == id {
				delete(w.drafts, d)
				w.do(func() error { return w.staff.launch(ctx, d) })
				break
			}
		}
	case 14, 15, 16:
		if size > 0 {
			seq := w.rng.Int64N(size)
			w.do(func() error { return w.staff.block(ctx, id, lot.no, seq) })
		}
	default:
		if size > 0 && len(w.asked) > 0 {
			seq := w.rng.Int64N(size)
			r := w.asked[w.rng.IntN(len(w.asked))]
			if w.chance(2) {
				r = domain.Request{RequestID: fmt.Sprintf("by-hand-%d", w.events), CustomerID: "by hand"}
			}
			w.do(func() error { return w.staff.issueCode(ctx, id, lot.no, seq, r) })
		}
	}
}

// assign gives partitions that nobody owns to processes.
func (w *world) assign(p int) bool {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if n.frozen {
		return false
	}
	w.count("partition assigned")
	w.note(fmt.Sprintf("p%d is assigned to %s from %d", p, n.name, w.groupOffset[p]))
	w.owners[p] = w.own(n, p)
	return true
}

// commitOffset is the group's: of an old generation it takes none.
func (w *world) commitOffset(g *generation) {
	if !w.faultless && w.chance(20) {
		w.count("offset commit lost") // it is sent again
		return
	}
	g.sent = g.reached
	if w.owners[g.partition] != g {
		w.count("offset of an old generation refused")
		return
	}
	w.count("offset committed")
	w.note(fmt.Sprintf("p%d#%d: offset %d", g.partition, g.no, g.reached))
	w.groupOffset[g.partition] = g.reached
	w.check.offset(g.partition, g.reached)
}
