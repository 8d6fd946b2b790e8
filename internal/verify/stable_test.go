package verify

import (
	"context"
	"sync"
	"testing"

	"promopool/internal/pgtest"
)

// stable lends worlds that are built alike. A world of which a case has changed
// nothing but rows is brought back to what it was, and lent again: of a case most of
// the time goes into building one.
type stable[W any] struct {
	t     *testing.T // of all cases; the worlds end with it
	build func(t *testing.T) (W, *world)

	mu   sync.Mutex
	idle []horse[W] // guarded by mu
}

type horse[W any] struct {
	whole   W
	world   *world
	restore func(context.Context) (bool, error)
}

func (s *stable[W]) lend(t *testing.T) W {
	t.Helper()
	h, ok := s.take()
	if !ok {
		h.whole, h.world = s.build(s.t)
		restore, err := pgtest.Save(t.Context(), h.world.db)
		if err != nil {
			t.Fatal(err)
		}
		h.restore, h.world.spoiled = restore, false
	}
	h.world.t = t
	t.Cleanup(func() {
		h.world.t = s.t
		if h.world.spoiled {
			return
		}
		switch same, err := h.restore(context.Background()); {
		case err != nil:
			t.Errorf("restore: %v", err)
		case same:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.idle = append(s.idle, h)
		}
	})
	return h.whole
}

func (s *stable[W]) take() (h horse[W], ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		h, s.idle = s.idle[n-1], s.idle[:n-1]
		return h, true
	}
	return h, false
}
