package simulation

import (
	"flag"
	"testing"
)

var noticed = flag.Int("noticed", 400_000, "events within which each planted bug must be found")

// planted are bugs of what the database promises, by name.
var planted = map[string]Bugs{
	"NoFence":         {NoFence: true},
	"NoRaise":         {NoRaise: true},
	"NoGrantNo":       {NoGrantNo: true},
	"NoRequestKey":    {NoRequestKey: true},
	"NoPlaceKey":      {NoPlaceKey: true, NoGrantNo: true},
	"OneStatement":    {OneStatement: true},
	"NoPoolLock":      {NoPoolLock: true},
	"NoRunLocks":      {NoRunLocks: true},
	"NoStamp":         {NoStamp: true},
	"NoStale":         {NoStale: true},
	"NoHandBack":      {NoHandBack: true},
	"EndNobody":       {EndNobody: true},
	"WindowInclusive": {WindowInclusive: true},
}

// TestNoticed: each bug of the store is found, and its seed finds it again.
func TestNoticed(t *testing.T) {
	for name, bugs := range planted {
		t.Run(name, func(t *testing.T) {
			events := 0
			for seed := uint64(1); seed <= 1000 && events < *noticed; seed++ {
				r := simulate(t, seed, *length, bugs)
				events += r.events
				if r.failure == "" {
					continue
				}
				t.Logf("found after %d events by seed %d, at its event %d: %s", events, seed, r.events, r.failure)
				if again := simulate(t, seed, *length, bugs); again.failure != r.failure || again.events != r.events {
					t.Errorf("seed %d does not find it again: %s", seed, again.failure)
				}
				return
			}
			t.Errorf("not found in %d events", events)
		})
	}
}
