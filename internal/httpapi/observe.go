package httpapi

import (
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newSeconds(r prometheus.Registerer) *prometheus.HistogramVec {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "promopool_http_request_seconds",
		Help:    "Time to answer an HTTP request, by route and class of status.",
		Buckets: []float64{0.005, 0.02, 0.1, 0.5, 2, 10},
	}, []string{"route", "status"})
	r.MustRegister(seconds)
	return seconds
}

// observe counts and times every request, and turns a panic into a problem.
func (a *api) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := http.NewResponseController(w)
		// Where there is no connection there is no waiting. Whoever takes longer for
		// a reason sets later ones.
		_ = c.SetWriteDeadline(start.Add(answerTimeout + writeTimeout))
		if r.ContentLength != 0 {
			// Even of a body that nobody reads: the server waits for it before it answers.
			_ = c.SetReadDeadline(start.Add(bodyTimeout))
		}
		o := &observed{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http compares it
					panic(p)
				}
				a.fail(o, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
			took := time.Since(start)
			a.seconds.WithLabelValues(routeOf(r), fmt.Sprintf("%dxx", o.status/100)).Observe(took.Seconds())
			a.Log.Debug().Str("route", routeOf(r)).Int("status", o.status).Dur("took", took).Msg("answered")
		}()
		next.ServeHTTP(o, r)
	})
}

// routeOf names a request in logs and metrics without the codes in its path.
func routeOf(r *http.Request) string {
	if r.Pattern == "" {
		return "none"
	}
	return r.Pattern
}

// observed remembers the status of an answer.
type observed struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *observed) WriteHeader(status int) {
	if o.status == 0 && status >= 200 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(b)
}

// matched serves what has a route. What has none gets a problem instead of
// the text that ServeMux would write.
func (a *api) matched(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		none, pattern := mux.Handler(r)
		// A path with .. or // would be redirected to one that nobody meant.
		if tidy := path.Clean(r.URL.EscapedPath()) == r.URL.EscapedPath(); pattern != "" && tidy {
			mux.ServeHTTP(w, r)
			return
		}
		said := &unsaid{header: http.Header{}}
		none.ServeHTTP(said, r)
		if said.status != http.StatusMethodNotAllowed {
			a.fail(w, r, problemOf(noEndpoint, "nothing is served under this path: the paths are in openapi.yaml; a code or an id with / . or ? in it is percent-encoded"))
			return
		}
		allow := said.header.Get("Allow")
		w.Header().Set("Allow", allow)
		a.fail(w, r, problemOf(badMethod, "this path takes "+allow))
	})
}

// unsaid keeps an answer's status and header, and drops the rest.
type unsaid struct {
	header http.Header
	status int
}

func (u *unsaid) Header() http.Header         { return u.header }
func (u *unsaid) Write(b []byte) (int, error) { return len(b), nil }
func (u *unsaid) WriteHeader(status int)      { u.status = status }
