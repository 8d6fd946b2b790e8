package watching

import (
	"cmp"
	"slices"
	"time"
)

const (
	// large is the number of runs from which a look at a pool is dear. It is looked
	// at less often while it does not change.
	large = 10_000
	// seldom is how often at least every pool is looked at that is not in use; it
	// must be a minute, and half of that leaves room for a slow round.
	seldom = 30 * time.Second
	// share is how many runs a round reads of pools that are not in use, where all
	// have their turn in time with that.
	share = 20_000
	// portion is how many runs one look reads, more or less, so that none takes long.
	portion = 50_000
)

// rota is whose turn it is to be looked at: in every round the pools that are in
// use or were changed, and as many of the others as are cheap.
type rota struct {
	pools map[int32]*pool
}

// pool is what the watcher remembers of one.
type pool struct {
	mark   Mark
	looked time.Time     // zero: it must be, in the next round
	pause  time.Duration // of a large pool: until it is looked at again
	runs   int64
	left   int64

	// for the gauges
	id     string
	notice bool
	counts bool // its codes are used up

	// the last crossing, and the last change of staff, after which everybody was told;
	// 0: none is known
	toldOf, staffNo int64
}

func newRota() *rota { return &rota{pools: map[int32]*pool{}} }

// cost is what a look at the pool costs, in runs.
func (p *pool) cost() int64 { return 1 + p.runs }

// list takes over which pools there are. One that was changed is to be looked at, and
// whoever is to hear of it may be others: its notice may be on now.
func (r *rota) list(marks []Mark) {
	there := make(map[int32]*pool, len(marks))
	for _, m := range marks {
		p := r.pools[m.Pool]
		if p == nil {
			p = &pool{}
		}
		if p.mark != m {
			p.mark, p.looked, p.pause, p.toldOf = m, time.Time{}, 0, 0
		}
		there[m.Pool] = p
	}
	r.pools = there
}

// relist is for how long a list is good enough: longer where reading it is dear.
func (r *rota) relist() time.Duration {
	return min(max(relist, time.Duration(len(r.pools)/1000)*every), seldom)
}

// knows reports whether all of the pools are on the list.
func (r *rota) knows(pools []int32) bool {
	return !slices.ContainsFunc(pools, func(key int32) bool { return r.pools[key] == nil })
}

// due returns the pools whose turn it is, in portions.
func (r *rota) due(now time.Time, used []int32) [][]int32 {
	var turn, others []int32
	inUse := make(map[int32]bool, len(used))
	for _, key := range used {
		inUse[key] = true
	}
	var small int64
	for key, p := range r.pools {
		switch {
		case p.looked.IsZero() || inUse[key]:
			turn = append(turn, key)
		case p.runs > large:
			if now.Sub(p.looked) >= p.pause {
				turn = append(turn, key)
			}
		default:
			small += p.cost()
			others = append(others, key)
		}
	}
	slices.SortFunc(others, func(a, b int32) int {
		return cmp.Or(r.pools[a].looked.Compare(r.pools[b].looked), cmp.Compare(a, b))
	})
	for left := max(share, small/int64(seldom/every)); left > 0 && len(others) > 0; others = others[1:] {
		turn = append(turn, others[0])
		left -= r.pools[others[0]].cost()
	}
	slices.Sort(turn)
	return r.portions(turn)
}

func (r *rota) portions(keys []int32) [][]int32 {
	var all [][]int32
	var cost int64
	for i, key := range keys {
		if i == 0 || cost > portion {
			all, cost = append(all, nil), 0
		}
		all[len(all)-1] = append(all[len(all)-1], key)
		cost += r.pools[key].cost()
	}
	return all
}

// saw remembers what a look has found; nil: nobody asked for it.
func (r *rota) saw(now time.Time, s *Sight) *pool {
	p := r.pools[s.Pool.Key]
	if p == nil {
		return nil
	}
	switch {
	case p.looked.IsZero() || p.left != s.Left:
		p.pause = every
	default:
		p.pause = min(2*p.pause, seldom)
	}
	p.looked, p.runs, p.left = now, s.Runs, s.Left
	p.id, p.notice, p.counts = s.Pool.ID, s.Pool.Notify, !s.Pool.MultiUse
	return p
}
