package consumer

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Health is what keeps a process from answering requests, by whom it concerns.
// Its zero value is healthy.
type Health struct {
	mu       sync.Mutex
	problems map[string]string // guarded by mu
}

// Report notes that something is in the way; an empty problem that it is gone.
func (h *Health) Report(who, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if problem == "" {
		delete(h.problems, who)
		return
	}
	if h.problems == nil {
		h.problems = map[string]string{}
	}
	h.problems[who] = problem
}

// Problems lists what is in the way, in a stable order.
func (h *Health) Problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, who := range slices.Sorted(maps.Keys(h.problems)) {
		all = append(all, fmt.Sprintf("%s: %s", who, h.problems[who]))
	}
	return all
}
