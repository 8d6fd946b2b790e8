package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/postgres"
	"promopool/internal/producer"
)

// in opens a world, measures in it, and removes it.
func in(ctx context.Context, c Config, measure func(context.Context, *world) (*Figures, error)) (*Figures, error) {
	w, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	f, err := measure(ctx, w)
	return f, errors.Join(err, w.close())
}

// inRounds opens a world and measures in it, round by round.
func inRounds(ctx context.Context, c Config, round func(ctx context.Context, w *world, f *Figures, n int) error) (*Figures, error) {
	return in(ctx, c, func(ctx context.Context, w *world) (*Figures, error) {
		f := &Figures{Settings: w.settings}
		for n := range c.Rounds {
			w.say("round %d of %d", n+1, c.Rounds)
			if err := round(ctx, w, f, n); err != nil {
				return f, fmt.Errorf("round %d: %w", n+1, err)
			}
		}
		return f, nil
	})
}

// with runs a service while work goes on, and ends it. base is where its HTTP
// interface is; it is ready.
func (w *world) with(ctx context.Context, work func(s *served, base string) error) error {
	return w.withService(ctx, func(s *served, _ []int64) error {
		base, err := s.ready(ctx)
		if err != nil {
			return err
		}
		return work(s, base)
	})
}

// ready waits until the service says that it is, and returns where.
func (s *served) ready(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-s.process.Done():
			return "", fmt.Errorf("the service ended before it was ready: %w", s.process.Wait())
		case <-ctx.Done():
			return "", fmt.Errorf("the service is not ready: %w", ctx.Err())
		case <-look.C:
		}
		base, told := s.base()
		if told && ask(ctx, http.MethodGet, base+"/readyz", nil, nil) == nil {
			return base, nil
		}
	}
}

// ask asks the HTTP interface, with a body of JSON if there is one, and reads
// the answer into answer, if that is not nil.
func ask(ctx context.Context, method, url string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return do(req, answer)
}

func do(req *http.Request, answer any) error {
	req.Header.Set("Promopool-Actor", "bench")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// filling is what the HTTP interface says of a task that fills a pool.
type filling struct {
	Task                 int64
	Status               domain.ImportStatus
	Error                *string
	Added, Rows, Refused int64
}

// filled waits until a task has added n codes and ended.
func filled(ctx context.Context, base string, task filling, n int64) (time.Time, error) {
	for !task.Status.Ended() {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return time.Time{}, err
		}
		if err := ask(ctx, http.MethodGet, fmt.Sprintf("%s/v1/imports/%d", base, task.Task), nil, &task); err != nil {
			return time.Time{}, err
		}
	}
	if task.Status != domain.ImportCompleted || task.Added != n {
		why := ""
		if task.Error != nil {
			why = *task.Error
		}
		return time.Time{}, fmt.Errorf("task %d is %s with %d of %d codes: %s", task.Task, task.Status, task.Added, n, why)
	}
	return time.Now(), nil
}

// activePool makes a pool that has no codes and gives those out that it gets.
func (w *world) activePool(ctx context.Context, id string) error {
	store, err := postgres.Open(ctx, w.database, "promopool bench", 2)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.CreateCampaign(ctx, "bench", domain.Campaign{ID: id, Name: "Bench"}, false); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	pool, err := createDraft(ctx, store, id, id)
	if err != nil {
		return err
	}
	if _, err = store.LaunchPool(ctx, "bench", id, pool.Version); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	return nil
}

// asking is how often a code of a pool is asked for that has none yet.
const asking = 20 * time.Millisecond

// firstCode asks for codes of a pool until one is issued, and returns when that
// was read.
func (w *world) firstCode(ctx context.Context, pool string) (time.Time, error) {
	const partition = 0
	ends, err := w.ends(ctx, w.names.Outcomes)
	if err != nil {
		return time.Time{}, err
	}
	found := make(chan time.Time, 1)
	failed := make(chan error, 1)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		at, err := w.firstIssued(reading, partition, ends[partition], pool)
		failed <- err
		found <- at
	}()
	requests := newMaker(pool)
	again := time.NewTicker(asking)
	defer again.Stop()
	for {
		select {
		case err := <-failed:
			return <-found, err
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-again.C:
		}
		if err := w.producer.Publish(ctx, w.names.Requests, partition, []producer.Record{requests.record()}); err != nil {
			return time.Time{}, err
		}
	}
}

// firstIssued reads outcomes until one is an issue of the pool's.
func (w *world) firstIssued(ctx context.Context, partition int, at int64, pool string) (time.Time, error) {
	outcomes := consumer.NewFetcher(w.client, w.names.Outcomes, 1<<20)
	member := []byte(`"pool_id":"` + pool + `"`)
	for {
		got, err := outcomes.Fetch(ctx, partition, at)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for a code: %w", err)
		}
		for i := range got.Records {
			r := &got.Records[i]
			if string(consumer.Header(r, "ce_type")) == domain.TypeCodeIssued && bytes.Contains(r.Value, member) {
				return time.Now(), nil
			}
		}
		at = got.Next
	}
}
