package simulation

import (
	"flag"
	"testing"
)

var noticed = flag.Int("noticed", 0, "events within which each bug of the model must be found; 0: 150,000 for those that are found soon, and no others")

// planted are bugs of what the database promises, by name.
var planted = map[string]Bugs{
	"NoFence":         {NoFence: true},
	"NoRaise":         {NoRaise: true},
	"NoGrantNo":       {NoGrantNo: true},
	"NoRequestKey":    {NoRequestKey: true},
	"OneStatement":    {OneStatement: true},
	"NoPoolLock":      {NoPoolLock: true},
	"NoRunLocks":      {NoRunLocks: true},
	"NoStamp":         {NoStamp: true},
	"NoStale":         {NoStale: true},
	"NoHandBack":      {NoHandBack: true},
	"EndNobody":       {EndNobody: true},
	"WindowInclusive": {WindowInclusive: true},
}

// rare are those that take long to show: an edit must come between a decision and
// its commit, and a refill between the two.
var rare = map[string]bool{"NoGrantNo": true, "NoStamp": true, "EndNobody": true}

// TestNoticed: each bug of the store is found, and its seed finds it again.
func TestNoticed(t *testing.T) {
	for name, bugs := range planted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if rare[name] && *noticed == 0 {
				t.Skip("takes long: -noticed 2000000")
			}
			notice(t, bugs)
		})
	}
}

func notice(t *testing.T, bugs Bugs) {
	events, enough := 0, *noticed
	if enough == 0 {
		enough = 150_000
	}
	for seed := uint64(1); events < enough; seed++ {
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
}
