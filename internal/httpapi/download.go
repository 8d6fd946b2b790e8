package httpapi

import (
	"io"
	"net/http"
	"slices"
	"time"

	"promopool/internal/domain"
)

// asFile says that the answer is CSV, to be saved by this name.
func asFile(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	w.Header().Set("Cache-Control", "no-store")
}

// stream answers with a file that is written while it is read from the store.
// Its header is set. A client that goes away or sleeps ends it.
func (a *api) stream(w http.ResponseWriter, r *http.Request, write func(io.Writer) error) error {
	if r.Method == http.MethodHead {
		return nil
	}
	if r.ContentLength != 0 {
		// Its body is not read, and the time for it ends before the download does.
		w.Header().Set("Connection", "close")
	}
	out := &waking{to: w, c: http.NewResponseController(w)}
	if err := write(out); err != nil {
		if r.Context().Err() == nil {
			a.Log.Warn().Err(err).Str("route", routeOf(r)).Msg("download broken off")
		}
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
	return nil
}

// writeTimeout is how long the reader of an answer may stand still.
const writeTimeout = time.Minute

// waking is an answer whose reader may take its time but not sleep.
type waking struct {
	to io.Writer
	c  *http.ResponseController
}

func (k *waking) Write(b []byte) (int, error) {
	_ = k.c.SetWriteDeadline(time.Now().Add(writeTimeout)) // where there is no connection there is no waiting
	return k.to.Write(b)
}

// exportCodes answers with all codes of a pool, or those in one state.
func (a *api) exportCodes(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	query, err := queryOf(r, "state")
	if err != nil {
		return err
	}
	state := domain.CodeState(query.Get("state"))
	if query.Has("state") && !slices.Contains(domain.CodeStates, state) {
		return wrongParameter("state", "must be "+oneOf(domain.CodeStates))
	}
	pool, err := a.Pools.Pool(r.Context(), id)
	if err != nil {
		return err
	}
	name := "codes-" + pool.ID
	if state != "" {
		name += "-" + string(state)
	}
	asFile(w, name+".csv")
	return a.stream(w, r, func(out io.Writer) error { return a.Exports.WriteCodes(r.Context(), &pool, state, out) })
}
