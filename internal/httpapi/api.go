// Package httpapi is the HTTP interface under /v1, as schemas/openapi.yaml
// describes it. It turns requests into calls of the store and errors into
// problems (RFC 9457); the rules are package domain's. Codes stand in paths, so
// what is logged of a request is its route, never its path.
//
// A change goes on when its client hangs up: it is made whole or not at all,
// and whoever looks afterwards sees which.
package httpapi

import (
	"context"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/guesses"
)

// Campaigns is what the interface needs of the store for campaigns. A change is
// durable on return, and remembered as made by who. The errors are those of package domain; after
// domain.ErrAway nothing has changed, after domain.ErrUnsure it may have.
type Campaigns interface {
	CreateCampaign(ctx context.Context, who domain.Actor, c domain.Campaign, numbered bool) (domain.Campaign, error)
	ListCampaigns(ctx context.Context, text, after string, limit int) ([]domain.Campaign, error)
	Campaign(ctx context.Context, id string) (domain.Campaign, error)
	RenameCampaign(ctx context.Context, who domain.Actor, id, name string) (domain.Campaign, error)
	DeleteCampaign(ctx context.Context, who domain.Actor, id string) error
	// CampaignHistory returns entries below a number, the newest first.
	CampaignHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error)
}

// Pools is what the interface needs of the store for pools, on the same terms.
// A version of 0 is any.
type Pools interface {
	CreatePool(ctx context.Context, who domain.Actor, p domain.Pool, numbered bool) (domain.Pool, error)
	ListPools(ctx context.Context, which domain.PoolFilter, after string, limit int) ([]domain.Pool, error)
	Pool(ctx context.Context, id string) (domain.Pool, error)
	UpdatePool(ctx context.Context, who domain.Actor, id string, version int64, edit func(domain.Pool) (domain.Pool, error)) (domain.Pool, error)
	LaunchPool(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error)
	ArchivePool(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error)
	DeletePool(ctx context.Context, who domain.Actor, id string, version int64) error
	// PoolHistory returns entries below a number, the newest first.
	PoolHistory(ctx context.Context, id string, which domain.EntryFilter, below int64, limit int) ([]domain.Entry, error)
}

// Stocks is what the interface needs of the store to tell of codes.
type Stocks interface {
	Stock(ctx context.Context, pool string) (domain.Stock, error)
	Code(ctx context.Context, pool, code string) (domain.CodeStory, error)
	Issuance(ctx context.Context, pool, request string) (domain.Issuance, error)
}

// Exports writes codes of a pool as CSV, those in a state or, where that is
// empty, all of them. It holds nothing in the store while its reader waits.
type Exports interface {
	WriteCodes(ctx context.Context, pool *domain.Pool, state domain.CodeState, w io.Writer) error
}

// Deps is what the interface is made of. All but Told, ImportRoutes and Probes are
// needed.
type Deps struct {
	Campaigns  Campaigns
	Pools      Pools
	Staffing   Staffing
	Stocks     Stocks
	Exports    Exports
	Generating Generating
	Customers  Customers
	Erasing    Erasing
	Redeeming  Redeeming
	Guesses    *guesses.Guard
	ByHand     ByHand
	Metrics    prometheus.Registerer
	Log        zerolog.Logger

	Told         func() // wakes whoever publishes the events of a change
	ImportRoutes func(mux *http.ServeMux)
	Probes       map[string]http.Handler // by path: /healthz, /readyz, /metrics
}

type api struct {
	Deps
	seconds *prometheus.HistogramVec
}

// New returns the whole interface.
func New(d Deps) http.Handler {
	a := &api{Deps: d, seconds: newSeconds(d.Metrics)}
	mux := http.NewServeMux()
	a.campaignRoutes(mux)
	a.poolRoutes(mux)
	a.staffRoutes(mux)
	a.stockRoutes(mux)
	a.customerRoutes(mux)
	a.generateRoutes(mux)
	a.redemptionRoutes(mux)
	a.byHandRoutes(mux)
	if d.ImportRoutes != nil {
		d.ImportRoutes(mux)
	}
	for path, probe := range d.Probes {
		mux.Handle("GET "+path, probe)
	}
	// Pages of other sites that staff look at must not act in their name.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(a.plain(func(http.ResponseWriter, *http.Request) error {
		return problemOf(crossOrigin, "a browser sent this for a page of another site: use a client of your own")
	}))
	return a.observe(guard.Handler(a.matched(mux)))
}

// Server returns a server for the handler that slow clients cannot exhaust.
// Uploads and downloads may take their time: bodies of JSON have a limit of
// their own.
func Server(h http.Handler, l zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(l.With().Str("component", "http").Logger(), "", 0),
	}
}

// answerTimeout bounds the work for one request. It leaves the store the time
// to try again after a wait for a lock.
const answerTimeout = 15 * time.Second

// A handler answers, or returns why not.
type handler func(http.ResponseWriter, *http.Request) error

// handle mounts a handler. What it changes it changes even when the client is
// gone.
func (a *api) handle(mux *http.ServeMux, pattern string, h handler) {
	mux.Handle(pattern, a.plain(func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			ctx = context.WithoutCancel(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		return h(w, r.WithContext(ctx))
	}))
}

// plain turns the error of a handler into a problem.
func (a *api) plain(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}
