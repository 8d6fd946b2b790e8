package domain

import (
	"bytes"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestReplay: what Assign decided is found again from what was stored of it,
// after the clock, the pools and the stock have moved on.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		plan := Assign(noon, w.batches, w.known)
		if !plan.Whole() {
			return
		}
		stored := maps.Clone(w.known)
		for _, n := range plan.Issues {
			stored[Key{n.Issuance.Pool.Key, n.Issuance.RequestID}] = n.Issuance
		}
		for b, outcomes := range plan.Outcomes {
			if len(outcomes) == 0 {
				continue
			}
			requests := w.batches[b].Requests
			first := requests[0].Offset
			var rejections []Rejection
			for _, o := range outcomes {
				if o.Verdict == Rejected {
					rejections = append(rejections, Rejection{o.Request.Offset, o.Request.Hash(), o.Reason})
				}
			}
			rejections, err := ParseVerdicts(AppendVerdicts(nil, first, rejections), first)
			if err != nil {
				t.Fatal(err)
			}
			rg := Range{First: first, End: requests[len(requests)-1].Offset + 1, DecidedAt: noon, Rejections: rejections}
			// Redelivery may begin in the middle.
			from := rapid.IntRange(0, len(requests)-1).Draw(t, "from")
			got, err := Replay(rg, requests[from:], w.pools, stored)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range outcomes[from:] {
				if want.Verdict == Issued {
					want.Verdict = Repeated
				}
				if got[i] != want {
					t.Fatalf("%+v\nis replayed as %+v\nwant %+v", requests[from+i], got[i], want)
				}
			}
			checkChangedLog(t, rg, requests, w.pools, stored)
		}
	})
}

// checkChangedLog: another message at a decided offset is noticed.
func checkChangedLog(t *rapid.T, rg Range, requests []Request, pools map[string]*Pool, stored map[Key]*Issuance) {
	changed := requests[rapid.IntRange(0, len(requests)-1).Draw(t, "changed")]
	switch rapid.IntRange(0, 2).Draw(t, "change") {
	case 0:
		changed.RequestID += "x"
	case 1:
		changed.PoolID += "x"
	case 2:
		changed.CustomerID += "x"
	}
	if got, err := Replay(rg, []Request{changed}, pools, stored); !errors.Is(err, ErrLogChanged) || got != nil {
		t.Fatalf("%+v is replayed as %+v, %v", changed, got, err)
	}
}

func TestReplayPoison(t *testing.T) {
	r := Request{Offset: 9, PoolID: "p", RequestID: "r", CustomerID: "c", Context: []byte("{}")}
	rg := Range{First: 9, End: 10, DecidedAt: noon, Rejections: []Rejection{{9, r.Hash(), Poison}}}
	got, err := Replay(rg, []Request{r}, nil, nil)
	if err != nil || got[0].Reason != Poison || got[0].Verdict != Rejected || !got[0].DecidedAt.Equal(noon) {
		t.Errorf("replayed as %+v, %v", got, err)
	}
	r.Context = []byte("{ }")
	if _, err := Replay(rg, []Request{r}, nil, nil); !errors.Is(err, ErrLogChanged) {
		t.Errorf("another context: %v, want ErrLogChanged", err)
	}
}

func TestVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int64Range(0, 1<<60).Draw(t, "first")
		offset := first - 1
		var want []Rejection
		for range rapid.IntRange(0, 20).Draw(t, "n") {
			offset += rapid.Int64Range(1, 1<<40).Draw(t, "gap")
			want = append(want, Rejection{offset, rapid.Uint64().Draw(t, "hash"), Reason(rapid.IntRange(1, 7).Draw(t, "reason"))})
		}
		b := AppendVerdicts([]byte("before"), first, want)
		got, err := ParseVerdicts(bytes.TrimPrefix(b, []byte("before")), first)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("verdicts (-want +got):\n%s", diff)
		}
		if cut := rapid.IntRange(1, 9).Draw(t, "cut"); len(want) > 0 {
			if got, err := ParseVerdicts(b[len("before"):len(b)-cut], first); err == nil {
				t.Fatalf("cut short by %d they are read as %v", cut, got)
			}
		}
	})
}

// TestVerdictsStored pins the form that is in databases.
func TestVerdictsStored(t *testing.T) {
	got := AppendVerdicts(nil, 1000, []Rejection{{1000, 1, PoolNotFound}, {1300, 0xfedcba9876543210, RequestConflict}})
	want := []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01" + "\xac\x02\xfe\xdc\xba\x98\x76\x54\x32\x10\x06")
	if !bytes.Equal(got, want) {
		t.Errorf("verdicts %x, want %x", got, want)
	}
}

// TestRequestHash pins the hash, which is stored, and what it depends on.
func TestRequestHash(t *testing.T) {
	r := Request{PoolID: "summer-sale", RequestID: "r-1", CustomerID: "c-1001", Context: []byte(`{"step":3}`)}
	if got, want := r.Hash(), uint64(0x550a5944fe90e4f5); got != want {
		t.Errorf("hash %#x, want %#x", got, want)
	}
	hashes := map[uint64]int{}
	for i, o := range []Request{
		r,
		{PoolID: "summer-saler", RequestID: "-1", CustomerID: "c-1001", Context: []byte(`{"step":3}`)},
		{PoolID: "summer-sale", RequestID: "r-1c", CustomerID: "-1001", Context: []byte(`{"step":3}`)},
		{PoolID: "summer-sale", RequestID: "r-1", CustomerID: "c-1002", Context: []byte(`{"step":3}`)},
		{PoolID: "summer-sale", RequestID: "r-1", CustomerID: "c-1001", Context: []byte(`{"step": 3}`)},
		{PoolID: "summer-sale", RequestID: "r-1", CustomerID: "c-1001"},
	} {
		if j, ok := hashes[o.Hash()]; ok {
			t.Errorf("requests %d and %d have the same hash", j, i)
		}
		hashes[o.Hash()] = i
	}
	elsewhere := r
	elsewhere.Offset, elsewhere.ExpiresAt = 5, time.Unix(0, 0)
	if elsewhere.Hash() != r.Hash() {
		t.Error("the hash depends on the offset or the expiry")
	}
}

// TestReasons pins the numbers, which are stored, and the names.
func TestReasons(t *testing.T) {
	names := []string{"pool_not_found", "pool_not_active", "pool_exhausted", "no_code_in_window", "request_expired", "request_conflict"}
	for i, r := range Reasons {
		if int(r) != i+1 || r.String() != names[i] || r.Detail() == "" {
			t.Errorf("reason %d is %d, %s, %q; want %s", i+1, r, r, r.Detail(), names[i])
		}
	}
	if Poison != 7 || Poison.String() != "poison" || Reason(0).String() != "unknown" || Reason(99).Detail() != "" {
		t.Error("poison or the unknown reason changed")
	}
}
