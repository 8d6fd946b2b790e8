package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres"
	"promopool/internal/producer"
)

// relay is limit (a): the service's own fetching, decoding, encoding and
// publishing, two stages a partition, and an issuance that is made up.
func (w *world) relay(ctx context.Context, base []int64) (Rate, error) {
	fetcher := consumer.NewFetcher(w.client, w.names.Requests, fetchBytes)
	out := producer.New(w.client, nil, zerolog.Nop(), prometheus.NewRegistry())
	outcomes := producer.NewOutcomes(out, w.scratch.Outcomes, partitions, "bench", partitions)
	ends, err := w.ends(ctx, w.names.Requests)
	if err != nil {
		return Rate{}, err
	}
	m, before := &meter{}, spend(0)
	stages, ctx := errgroup.WithContext(ctx)
	for p := range partitions {
		decoded := make(chan []producer.Answer)
		stages.Go(func() error {
			defer close(decoded)
			for at := base[p]; at < ends[p]; {
				got, err := fetcher.Fetch(ctx, p, at)
				if err != nil {
					return err
				}
				answers, err := makeUp(got.Records)
				if err != nil {
					return err
				}
				select {
				case decoded <- answers:
				case <-ctx.Done():
					return ctx.Err()
				}
				at = got.Next
			}
			return nil
		})
		stages.Go(func() error {
			for answers := range decoded {
				if err := outcomes.Publish(ctx, p, answers); err != nil {
					return err
				}
				m.note(int64(len(answers)))
			}
			return nil
		})
	}
	if err := stages.Wait(); err != nil {
		return Rate{}, err
	}
	return Rate{m.steady(), spend(0).since(before).per(m.total())}, nil
}

// makeUp answers requests with codes from nowhere.
func makeUp(records []consumer.Record) ([]producer.Answer, error) {
	pool := &domain.Pool{Key: 1, ID: poolID, CampaignID: poolID, ParameterName: "promo_code"}
	now := time.Now().UTC()
	requests := make([]domain.Request, len(records))
	issues := make([]domain.Issuance, len(records))
	outcomes := make([]domain.Outcome, len(records))
	answers := make([]producer.Answer, len(records))
	for i := range records {
		r := &records[i]
		request, bad := consumer.Decode(r)
		if bad != nil {
			return nil, fmt.Errorf("a request of our own is malformed: %s", bad.Detail)
		}
		requests[i] = request
		issues[i] = domain.Issuance{Pool: pool, Code: "BENCH-000000000", RequestID: request.RequestID,
			CustomerID: request.CustomerID, Context: request.Context, IssuedAt: now, ValidFrom: now}
		outcomes[i] = domain.Outcome{Request: &requests[i], Verdict: domain.Issued, Issue: &issues[i]}
		answers[i] = producer.Answer{Outcome: &outcomes[i], Offset: r.Offset, Key: r.Key, Traceparent: consumer.Header(r, "traceparent")}
	}
	return answers, nil
}

// insert is limit (b): the service's own look-up and commit on batches as its
// own, from partitions of a stream that nobody else has.
func (w *world) insert(ctx context.Context) (Rate, error) {
	store, err := postgres.Open(ctx, w.database, "promopool bench", concurrent+2)
	if err != nil {
		return Rate{}, err
	}
	defer store.Close()
	pool, err := store.Pool(ctx, poolID)
	if err != nil {
		return Rate{}, err
	}
	owners := make([]*inserter, partitions)
	for p := range owners {
		if owners[p], err = w.inserter(ctx, store, &pool, p, w.Requests/partitions); err != nil {
			return Rate{}, err
		}
	}
	m, before := &meter{}, spend(0)
	slots := make(chan struct{}, concurrent)
	work, inner := errgroup.WithContext(ctx)
	for _, o := range owners {
		work.Go(func() error {
			for len(o.requests) > 0 {
				slots <- struct{}{}
				n, err := o.batch(inner)
				<-slots
				if err != nil {
					return err
				}
				m.note(n)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return Rate{}, err
	}
	rate := Rate{m.steady(), spend(0).since(before).per(m.total())}
	for _, o := range owners {
		if err := store.GiveBack(ctx, o.claim.Partition, pool.Key); err != nil {
			return Rate{}, err
		}
	}
	w.took(w.Requests / partitions * partitions)
	return rate, nil
}

// inserter is a partition that decides requests from nowhere.
type inserter struct {
	store    *postgres.Store
	pool     *domain.Pool
	claim    issuing.Claim
	runs     []*domain.Run
	requests []domain.Request
	size     int // of a batch
}

// inserter claims a partition and takes the codes for n requests ahead.
func (w *world) inserter(ctx context.Context, store *postgres.Store, pool *domain.Pool, p, n int) (*inserter, error) {
	claim, err := store.Claim(ctx, "bench", p, "bench", partitions)
	if err != nil {
		return nil, err
	}
	o := &inserter{store: store, pool: pool, claim: claim, size: fetchBytes / (w.settings.EventBytes + w.settings.EventBytes/8)}
	for i := range n {
		o.requests = append(o.requests, w.requests.request(claim.NextOffset+int64(i)))
	}
	for left := int64(n); left > 0; {
		got, err := store.Refill(ctx, claim.Partition, pool, left)
		if err != nil {
			return nil, err
		}
		if len(got.Runs) == 0 {
			return nil, fmt.Errorf("the pool gives partition %d no codes", p)
		}
		for _, r := range got.Runs {
			left -= r.Left()
		}
		o.runs = append(o.runs, got.Runs...)
	}
	return o, nil
}

func (o *inserter) batch(ctx context.Context) (int64, error) {
	batch := o.requests[:min(o.size, len(o.requests))]
	o.requests = o.requests[len(batch):]
	keys := make([]domain.Key, len(batch))
	for i := range batch {
		keys[i] = domain.Key{Pool: o.pool.Key, RequestID: batch[i].RequestID}
	}
	known, now, err := o.store.LookUp(ctx, keys, map[int32]*domain.Pool{o.pool.Key: o.pool})
	if err != nil {
		return 0, err
	}
	shelf := &domain.Shelf{Pool: o.pool, Runs: o.runs}
	plan := domain.Assign(now, []domain.Batch{{Requests: batch, Shelves: map[string]*domain.Shelf{o.pool.ID: shelf}}}, known)
	if !plan.Whole() {
		return 0, fmt.Errorf("partition %d has too few codes", o.claim.Number)
	}
	first := batch[0].Offset
	if err := o.store.Commit(ctx, []issuing.Entry{{Claim: &o.claim, First: first, End: first + int64(len(batch))}}, &plan); err != nil {
		return 0, err
	}
	for _, t := range plan.Takes {
		t.Run.Next += t.N
	}
	o.claim.BatchNo++
	o.claim.NextOffset = first + int64(len(batch))
	return int64(len(batch)), nil
}
