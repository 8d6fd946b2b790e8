package simulation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// TestConformanceWaiting: while one transaction holds its locks another comes. Who
// waits for what, and what it is told afterwards, is the same on both sides.
func TestConformanceWaiting(t *testing.T) {
	p := newPair(t)
	ctx := context.Background()
	later := map[string]func(i int, s side, id string) error{
		"commit of another partition": func(i int, s side, id string) error { return p.commitQuietly(i, s, 1, id) },
		"commit of the same":          func(i int, s side, id string) error { return p.commitQuietly(i, s, 0, id) },
		"locked commit": func(i int, s side, id string) error {
			claim := p.claims[i][2]
			l := issuing.Locking{Claims: []*issuing.Claim{&claim}, Whole: []string{id}, Requests: map[string][]string{id: {"w"}}}
			return s.CommitLocked(ctx, l, func(issuing.Locked) issuing.Decision { return issuing.Decision{} })
		},
		"refill": func(i int, s side, id string) error {
			pools, err := s.PoolsByID(ctx, []string{id})
			if err != nil {
				return err
			}
			_, err = s.Refill(ctx, p.claims[i][1].Partition, pools[id], 50)
			return err
		},
		"give back": func(i int, s side, id string) error {
			pools, err := s.PoolsByID(ctx, []string{id})
			if err != nil {
				return err
			}
			return s.GiveBack(ctx, p.claims[i][1].Partition, pools[id].Key)
		},
		"claim of the same": func(i int, s side, _ string) error {
			c, err := s.Claim(ctx, p.stream, 0, "successor", conformers)
			p.claims[i][0] = c
			return err
		},
		"claim of another": func(i int, s side, _ string) error {
			c, err := s.Claim(ctx, p.stream, 1, "successor", conformers)
			p.claims[i][1] = c
			return err
		},
		"archive": func(_ int, s side, id string) error { return s.archive(ctx, id) },
		"window":  func(_ int, s side, id string) error { return s.setWindow(ctx, id, time.Unix(5, 0).UTC(), time.Time{}) },
		"fill":    func(_ int, s side, id string) error { _, err := s.fill(ctx, id, 5, domain.Window{}, 0, 0); return err },
		"held":    func(i int, s side, _ string) error { _, err := s.Held(ctx, p.claims[i][0].Partition); return err },
		"resolve": func(i int, s side, _ string) error { return p.resolveQuietly(i, s, 0) },
		"block":   func(_ int, s side, id string) error { return s.block(ctx, id, p.lots[id][0], 5) },
		"issue code": func(_ int, s side, id string) error {
			return s.issueCode(ctx, id, p.lots[id][0], 6, domain.Request{RequestID: "by hand", CustomerID: "c"})
		},
	}
	for n := range conformers {
		p.claim(n)
	}
	for _, codes := range []int{3000, 60} { // ample and scarce
		for name, second := range later {
			for _, whole := range []bool{true, false} {
				for _, commits := range []bool{true, false} {
					if codes == 60 && (!whole || !commits) {
						continue // as of an ample pool
					}
					id := p.pool(nil, true, codes)
					for n := range conformers {
						p.refill(n, id, 100)
					}
					for n := range conformers {
						p.held(n)
					}
					what := fmt.Sprintf("%s during a locked commit (%d codes, whole %v, commits %v)", name, codes, whole, commits)
					p.both(what, func(i int, s side) (string, error) {
						return p.during(i, s, id, whole, commits, func() error { return second(i, s, id) })
					})
					p.again()
				}
			}
		}
	}
}

// again has the partitions as their owners know them, whatever was done.
func (p *pair) again() {
	p.Helper()
	for n := range conformers {
		p.claim(n)
		p.ends[n] += 10
	}
}

// during runs second while the locks of a first transaction are held, which then
// commits or gives up. It tells whether second had to wait, and what both came to.
func (p *pair) during(i int, s side, id string, whole, commits bool, second func() error) (string, error) {
	claim := p.claims[i][0]
	first := p.ends[0]
	request := domain.Request{PoolID: id, RequestID: "first", CustomerID: "c", Offset: first}
	l := issuing.Locking{Claims: []*issuing.Claim{&claim}, Requests: map[string][]string{id: {"first"}}}
	if whole {
		l.Whole = []string{id}
	} else {
		l.Sure = []string{id}
		request.ExpiresAt = time.Unix(1, 0)
	}
	var text string
	done := make(chan error, 1)
	err := s.CommitLocked(context.Background(), l, func(seen issuing.Locked) issuing.Decision {
		if text != "" { // it has handed back in the meantime
			return decideAs(&claim, []string{id}, seen, first, []domain.Request{request}, &text)
		}
		text = "seen "
		if m, ok := s.(*modelSide); ok {
			m.db.mu.Unlock()
			defer m.db.mu.Lock()
		}
		go func() { done <- second() }()
		text += waits(s, done)
		if !commits {
			return issuing.Decision{}
		}
		return decideAs(&claim, []string{id}, seen, first, []domain.Request{request}, &text)
	})
	text += " first: " + class(err)
	return text, <-done
}

// waits tells whether somebody came to wait for a lock, or was done at once.
func waits(s side, done chan error) string {
	for range 2000 {
		select {
		case err := <-done:
			done <- err
			return "at once"
		default:
		}
		if s.blocked() {
			return "waits"
		}
		time.Sleep(time.Millisecond)
	}
	return "neither waits nor ends"
}

func (p *pair) commitQuietly(i int, s side, n int, id string) error {
	_, now, err := s.LookUp(context.Background(), nil, nil)
	if err != nil {
		return err
	}
	first := p.ends[n] + 5
	plan := p.plan(i, n, []domain.Request{{PoolID: id, RequestID: fmt.Sprint("second", n), CustomerID: "c", Offset: first}}, now)
	if !plan.Whole() {
		return nil
	}
	claim := p.claims[i][n]
	return s.Commit(context.Background(), []issuing.Entry{{Claim: &claim, First: first, End: first + 1}}, &plan)
}

func (p *pair) resolveQuietly(i int, s side, n int) error {
	c := p.claims[i][n]
	_, err := s.Resolve(context.Background(), c, p.worker)
	return err
}

// TestConformanceUnique: a request that somebody is about to store is waited for.
func TestConformanceUnique(t *testing.T) {
	p := newPair(t)
	p.claim(0)
	for _, commits := range []bool{true, false} {
		for _, same := range []string{"request", "place", "nothing"} {
			id := p.pool(nil, true, 3000)
			p.refill(0, id, 100)
			p.held(0)
			p.both(fmt.Sprintf("the same %s, commits %v", same, commits), func(i int, s side) (string, error) {
				end, stored, done := make(chan bool), make(chan error, 1), make(chan error, 1)
				seq, request := int64(2000), "other"
				switch same {
				case "request":
					request = "second0"
				case "place":
					seq = 0
				}
				go func() { stored <- s.insert(id, p.lots[id][0], seq, request, end) }()
				time.Sleep(30 * time.Millisecond) // until the entry is taken; sooner, both sides would answer the same, too
				go func() { done <- p.commitQuietly(i, s, 0, id) }()
				text := waits(s, done)
				end <- commits
				if err := <-stored; err != nil {
					return text, err
				}
				return text, <-done
			})
			p.claim(0)
			p.ends[0] += 10
		}
	}
}
