package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"promopool/internal/domain"
)

// A kind of problem. Its type is what programs tell it by; it never changes
// its meaning.
type kind struct {
	typ    string
	status int
	title  string
}

var (
	badRequest   = kind{"bad-request", http.StatusBadRequest, "The request cannot be understood"}
	notFound     = kind{"not-found", http.StatusNotFound, "There is no such thing"}
	noEndpoint   = kind{"no-such-endpoint", http.StatusNotFound, "There is no such endpoint"}
	badMethod    = kind{"method-not-allowed", http.StatusMethodNotAllowed, "The endpoint does not take this method"}
	crossOrigin  = kind{"cross-origin", http.StatusForbidden, "Requests from other sites are refused"}
	badMedia     = kind{"unsupported-media-type", http.StatusUnsupportedMediaType, "The body has another media type"}
	tooLarge     = kind{"too-large", http.StatusRequestEntityTooLarge, "The body is too large"}
	slowBody     = kind{"body-timeout", http.StatusRequestTimeout, "The body did not come in time"}
	invalid      = kind{"invalid-settings", http.StatusUnprocessableEntity, "Some settings are not possible"}
	idTaken      = kind{"id-taken", http.StatusConflict, "The id is taken"}
	wrongState   = kind{"wrong-state", http.StatusConflict, "The pool's state does not allow this"}
	inUse        = kind{"in-use", http.StatusConflict, "It is still in use"}
	importEnded  = kind{"import-ended", http.StatusConflict, "The import has ended"}
	gone         = kind{"gone", http.StatusGone, "It is no longer kept"}
	unlaunchable = kind{"not-launchable", http.StatusConflict, "The pool cannot be launched yet"}
	otherwise    = kind{"filled-otherwise", http.StatusConflict, "The pool's codes come from elsewhere"}
	guessable    = kind{"guessable", http.StatusUnprocessableEntity, "Codes could be guessed"}
	patternMeets = kind{"pattern-meets", http.StatusUnprocessableEntity, "Two patterns could spell one code"}
	keyReused    = kind{"idempotency-key-reused", http.StatusUnprocessableEntity, "The key belongs to another request"}
	notRedeemed  = kind{"redemption-rejected", http.StatusConflict, "The code is not redeemed"}
	noRedemption = kind{"not-redeemed", http.StatusConflict, "The redemption was rejected"}
	tooManyTries = kind{"too-many-tries", http.StatusTooManyRequests, "Too many tries have failed"}
	notActive    = kind{"pool-not-active", http.StatusConflict, "The pool is not active"}
	exhausted    = kind{"pool-exhausted", http.StatusConflict, "The pool has no code left"}
	noneNow      = kind{"no-code-in-window", http.StatusConflict, "No code of the pool may be issued now"}
	otherRequest = kind{"request-conflict", http.StatusConflict, "The request has another code or customer"}
	codeIssued   = kind{"code-issued", http.StatusConflict, "The code is another's"}
	codeBlocked  = kind{"code-blocked", http.StatusConflict, "The code is blocked"}
	codeRedeemed = kind{"code-redeemed", http.StatusConflict, "The code was redeemed"}
	codeNotNow   = kind{"code-not-in-window", http.StatusConflict, "The code may not be issued now"}
	codeExpired  = kind{"code-expired", http.StatusConflict, "The code has expired"}
	mostBlocked  = kind{"too-many-blocked", http.StatusConflict, "Too many codes are blocked"}
	stale        = kind{"stale", http.StatusPreconditionFailed, "It was changed meanwhile"}
	unavailable  = kind{"unavailable", http.StatusServiceUnavailable, "Not possible at the moment"}
	unsure       = kind{"outcome-unknown", http.StatusServiceUnavailable, "Whether the change was made is not known"}
	internal     = kind{"internal", http.StatusInternalServerError, "Something is wrong in promopool"}
)

// denials are the problems of codes that were not issued by hand.
var denials = map[domain.Denial]kind{
	domain.DeniedNotActive: notActive, domain.DeniedExhausted: exhausted, domain.DeniedNoneNow: noneNow, domain.DeniedConflict: otherRequest,
	domain.DeniedIssued: codeIssued, domain.DeniedBlocked: codeBlocked, domain.DeniedRedeemed: codeRedeemed,
	domain.DeniedOutOfWindow: codeNotNow, domain.DeniedExpired: codeExpired,
}

// Problem is the body of every answer that is no success (RFC 9457).
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is what is wrong with one field of the body, one parameter of the
// query, or one header.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error is the problem in a line.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

func problemOf(k kind, detail string) *Problem {
	return &Problem{Type: "/problems/" + k.typ, Title: k.title, Status: k.status, Detail: detail}
}

// wrongParameter is a problem with a parameter of the query, or with a header.
func wrongParameter(name, detail string) *Problem {
	p := problemOf(badRequest, name+" "+detail)
	p.Errors = []FieldError{{Field: name, Detail: detail}}
	return p
}

// meanings maps the errors of the domain, the most telling first.
var meanings = []struct {
	err  error
	kind kind
	say  string // instead of the error's text
}{
	{domain.ErrNotLaunchable, unlaunchable, ""},
	{domain.ErrUploaded, otherwise, ""},
	{domain.ErrGenerated, otherwise, ""},
	{domain.ErrGuessable, guessable, ""},
	{domain.ErrPatternMeets, patternMeets, ""},
	{domain.ErrKeyReused, keyReused, ""},
	{domain.ErrNoScope, notFound, ""},
	{domain.ErrNotFound, notFound, "there is none with this id: look it up in the list, and mind that ids can be changed"},
	{domain.ErrTaken, idTaken, ""},
	{domain.ErrNotRedeemed, noRedemption, ""},
	{domain.ErrDraft, wrongState, ""},
	{domain.ErrMostBlocked, mostBlocked, ""},
	{domain.ErrState, wrongState, "a draft can be launched or deleted, an active pool archived: read the pool to see what it is"},
	{domain.ErrStale, stale, ""},
	{domain.ErrInUse, inUse, "delete or move its pools first"},
	{domain.ErrAway, unavailable, domain.ErrAway.Error()},
	{domain.ErrUnsure, unsure, domain.ErrUnsure.Error()},
}

// problemFor is the problem that an error means.
func problemFor(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = problemOf(internal, "this is a mistake of ours, and the log of promopool says more: tell whoever runs it")
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			p = problemOf(m.kind, m.say)
			if m.say == "" {
				p.Detail = err.Error()
			}
			break
		}
	}
	var settings *domain.Invalid
	if errors.As(err, &settings) {
		if p.Status == internal.status {
			p = problemOf(invalid, settings.Error())
		}
		for _, s := range settings.Problems {
			p.Errors = append(p.Errors, FieldError(s))
		}
	}
	return p
}

// fail answers with the problem that an error means.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemFor(err)
	switch {
	case r.Context().Err() != nil && p.Status >= 500:
		// The client is gone, or its time is up: no one's fault here.
		a.Log.Debug().Err(err).Str("route", routeOf(r)).Msg("answer given up")
	case p.Status == internal.status:
		a.Log.Error().Err(err).Str("route", routeOf(r)).Msg("answer request")
	case p.Status == unavailable.status:
		a.Log.Warn().Err(err).Str("route", routeOf(r)).Msg("answer request, the client may try again")
	}
	if errors.Is(err, domain.ErrAway) {
		w.Header().Set("Retry-After", "1")
	}
	write(w, p.Status, "application/problem+json", p)
}

// answer writes a body of JSON.
func answer(w http.ResponseWriter, status int, body any) error {
	write(w, status, "application/json", body)
	return nil
}

// write answers; a client that is gone cannot be told so.
func write(w http.ResponseWriter, status int, mediaType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // our own types
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // an upload may have taken long
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
