package redeeming

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/domain"
)

// fake redeems whatever it is asked, a millisecond a transaction.
type fake struct {
	Store
	mu      sync.Mutex
	groups  [][]string // the ids of each transaction; guarded by mu
	busy    int        // guarded by mu
	most    int        // guarded by mu
	refused string     // a code that the database refuses
	err     error      // of every transaction
}

func (f *fake) Redeem(_ context.Context, asks []Ask) ([]domain.Judgement, error) {
	f.mu.Lock()
	f.busy++
	f.most = max(f.most, f.busy)
	f.mu.Unlock()
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy--
	if f.err != nil {
		return nil, f.err
	}
	var ids []string
	judged := make([]domain.Judgement, len(asks))
	for i, a := range asks {
		if f.refused != "" && a.Code == f.refused {
			return nil, fmt.Errorf("step: %w", ErrPoison)
		}
		ids = append(ids, a.RedemptionID)
		judged[i] = domain.Judgement{Redemption: &domain.Redemption{RedemptionRequest: a.RedemptionRequest}, Repeated: strings.HasPrefix(a.RedemptionID, "again")}
	}
	f.groups = append(f.groups, ids)
	return judged, nil
}

func asks(prefix string, n int) []Ask {
	all := make([]Ask, n)
	for i := range all {
		all[i].RedemptionRequest = domain.RedemptionRequest{PoolID: "p", RedemptionID: fmt.Sprint(prefix, i), Code: fmt.Sprint("C", i)}
	}
	return all
}

// Those that come while others are under way share a transaction with those that
// wait, at most so many, and each gets its own answer.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var told atomic.Int64
		r := New(f, func() { told.Add(1) }, prometheus.NewRegistry())
		var all sync.WaitGroup
		for n := range 1000 {
			all.Go(func() {
				id := fmt.Sprint("r-", n)
				j, err := r.RedeemAndTell(t.Context(), domain.RedemptionRequest{RedemptionID: id}, "")
				if err != nil || j.RedemptionID != id {
					t.Errorf("%s got %+v, %v", id, j, err)
				}
			})
		}
		all.Wait()
		largest := slices.MaxFunc(f.groups, func(a, b []string) int { return len(a) - len(b) })
		if f.most > slots || len(largest) != GroupSize || len(f.groups) > 1000/GroupSize+2*slots {
			t.Errorf("%d transactions at once, %d in all, the largest of %d", f.most, len(f.groups), len(largest))
		}
		if got := int(told.Load()); got != len(f.groups) {
			t.Errorf("the outbox was told of %d times, want %d", got, len(f.groups))
		}
	})
}

// A batch keeps its order, and repeats tell the outbox nothing.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		r := New(f, func() { t.Error("the outbox was told of a batch of Kafka, or of repeats") }, prometheus.NewRegistry())
		batch := asks("r-", 250)
		judged, err := r.Redeem(t.Context(), batch...)
		if err != nil || len(judged) != len(batch) {
			t.Fatalf("got %d answers, %v", len(judged), err)
		}
		for i := range batch {
			if judged[i].RedemptionID != batch[i].RedemptionID {
				t.Fatalf("answer %d is %s's", i, judged[i].RedemptionID)
			}
		}
		if got := []int{len(f.groups[0]), len(f.groups[1])}; !slices.Equal(got, []int{200, 50}) {
			t.Errorf("transactions of %v", got)
		}
		if _, err := r.RedeemAndTell(t.Context(), domain.RedemptionRequest{RedemptionID: "again"}, ""); err != nil {
			t.Error(err)
		}
	})
}

// What the database refuses is found, and keeps nobody else.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{refused: "C37"}
		reg := prometheus.NewRegistry()
		judged, err := New(f, func() {}, reg).Redeem(t.Context(), asks("r-", 100)...)
		if err != nil {
			t.Fatal(err)
		}
		for i, j := range judged {
			if poisoned := j.Reason == domain.RedemptionPoison; poisoned != (i == 37) || j.RedemptionID != fmt.Sprint("r-", i) {
				t.Errorf("answer %d: got %+v", i, j.Redemption)
			}
		}
		if got := outcomes(t, reg); got["poison"] != 1 || got["recorded"] != 0 || got["redeemed"] != 99 {
			t.Errorf("counted %v", got)
		}
		if _, err := New(&fake{refused: "X"}, func() {}, prometheus.NewRegistry()).RedeemAndTell(t.Context(), domain.RedemptionRequest{Code: "X"}, ""); !errors.Is(err, ErrPoison) {
			t.Errorf("got %v", err)
		}
	})
}

func outcomes(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "promopool_redemptions_total" })
	counts := map[string]float64{}
	for _, m := range families[at].GetMetric() {
		counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	if len(counts) != 4+len(domain.RedemptionReasons)-1 { // two reasons of one name
		t.Errorf("outcomes %v", counts)
	}
	return counts
}

// Who gives up waiting does not know; what was begun goes on.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		r := New(f, func() {}, prometheus.NewRegistry())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Redeem(ctx, asks("r-", 1)...); !errors.Is(err, domain.ErrUnsure) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if len(f.groups) != 1 {
			t.Errorf("%d transactions, want the one that was begun", len(f.groups))
		}
		f.err = domain.ErrAway
		if _, err := r.Redeem(t.Context(), asks("s-", 1)...); !errors.Is(err, domain.ErrAway) {
			t.Errorf("got %v", err)
		}
	})
}
