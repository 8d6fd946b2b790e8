package issuing

import (
	"sync"

	"promopool/internal/domain"
)

// touched are pools that codes were issued from since somebody asked.
type touched struct {
	mu    sync.Mutex
	pools map[int32]bool // guarded by mu
}

func (t *touched) add(takes []domain.Take) {
	if len(takes) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pools == nil {
		t.pools = map[int32]bool{}
	}
	for _, take := range takes {
		t.pools[take.Run.Lot.Pool] = true
	}
}

// Touched returns the keys of the pools that codes were issued from since it was
// called last.
func (i *Issuer) Touched() []int32 {
	i.touched.mu.Lock()
	pools := i.touched.pools
	i.touched.pools = nil
	i.touched.mu.Unlock()
	keys := make([]int32, 0, len(pools))
	for key := range pools {
		keys = append(keys, key)
	}
	return keys
}
