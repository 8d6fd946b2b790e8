// Package customers keeps the codes of customers listed behind issuing, and erases
// customers. Listing is one process's work at a time and never in the way of
// issuing: what it has not come to yet is found among what was issued last, so a
// customer's codes are all of them at any moment. Erasing goes in pieces that may be
// repeated; whoever goes on with one that was left ends it. What either promises
// after a crash is told in docs/customers.md.
package customers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Lists is what listing needs of the store.
type Lists interface {
	// ListCodes lists about so many of the codes that are issued and not listed, in
	// one transaction. What is listed is no longer unlisted, so that nothing is
	// listed twice whoever repeats it.
	ListCodes(ctx context.Context, atMost int) (Listed, error)
}

// Listed says what a step of listing did.
type Listed struct {
	Codes int64
	Left  bool          // some are not listed
	Lag   time.Duration // how long ago the first of those was issued
	Quiet time.Duration // and the last
}

const (
	// step is how many codes are listed at a time: some 20 ms of work.
	step = 5_000
	// share is how many times as long as a step takes the next waits while codes
	// are being issued: a tenth of one core is for listing.
	share = 9
	// quiet is how long nothing must have been issued for listing to catch up with
	// half a core.
	quiet = 2 * time.Second
	// poll is how often unlisted codes are looked for.
	poll = 200 * time.Millisecond
	// longestPause bounds the wait before what failed is tried again.
	longestPause = 5 * time.Second
)

// Lister lists codes.
type Lister struct {
	store Lists
	log   zerolog.Logger
	count prometheus.Counter
	lag   prometheus.Gauge
}

// NewLister returns a lister that registers its metrics at reg.
func NewLister(store Lists, log zerolog.Logger, reg prometheus.Registerer) *Lister {
	l := &Lister{
		store: store, log: log.With().Str("component", "customers").Logger(),
		count: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_customer_codes_listed_total", Help: "Issued codes that this process has listed under their customers."}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_customer_codes_lag_seconds", Help: "How long ago the first code was issued that is not listed under its customer yet, as the process sees it that lists them; 0: all are. Looking a customer up takes longer the more there are."}),
	}
	reg.MustRegister(l.count, l.lag)
	return l
}

// Run lists until ctx ends. Several processes may do it at once: they take turns.
func (l *Lister) Run(ctx context.Context) error {
	defer l.lag.Set(0)
	failing := time.Duration(0)
	for ctx.Err() == nil {
		start := time.Now()
		done, err := l.store.ListCodes(ctx, step)
		switch {
		case err != nil && ctx.Err() == nil:
			if failing == 0 {
				failing = poll
				l.log.Warn().Err(err).Msg("list codes by customer, retrying")
			}
			failing = min(2*failing, longestPause)
		case err == nil:
			if failing > 0 {
				failing = 0
				l.log.Info().Msg("codes are listed by customer again")
			}
			l.count.Add(float64(done.Codes))
			l.lag.Set(done.Lag.Seconds())
		}
		wait(ctx, max(failing, done.rest(time.Since(start))))
	}
	return nil
}

// rest is how long to wait after a step that took so long.
func (d *Listed) rest(took time.Duration) time.Duration {
	switch {
	case !d.Left:
		return poll
	case d.Quiet > quiet:
		return took
	}
	return share * took
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
