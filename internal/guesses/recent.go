package guesses

import (
	"container/list"
	"sync"

	"golang.org/x/time/rate"
)

// recent are the buckets that were asked for last.
type recent struct {
	limit Limit

	mu    sync.Mutex
	order list.List                // of *named, the latest first; guarded by mu
	known map[string]*list.Element // guarded by mu
}

type named struct {
	name   string
	bucket *bucket
}

func newRecent(l Limit) *recent {
	return &recent{limit: l, known: map[string]*list.Element{}}
}

// of is the bucket of a name. One that is forgotten while tokens are lent gets
// them back all the same.
func (r *recent) of(name string) *bucket {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.known[name]; e != nil {
		r.order.MoveToFront(e)
		return e.Value.(*named).bucket
	}
	if len(r.known) == remembered {
		last := r.order.Remove(r.order.Back()).(*named)
		delete(r.known, last.name)
	}
	b := &bucket{limiter: rate.NewLimiter(rate.Limit(float64(r.limit.PerMinute)/60), r.limit.Burst)}
	r.known[name] = r.order.PushFront(&named{name, b})
	return b
}
