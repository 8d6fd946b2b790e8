package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"promopool/internal/domain"
)

// Generating is what the interface needs of the store to generate codes.
type Generating interface {
	// Generate makes codes of a pool, durably on return. Safe to repeat with the
	// same key.
	Generate(ctx context.Context, who domain.Actor, pool string, g domain.Generation) (domain.Import, error)
	// Space tells what room a pattern has in a pool, with texts that are no codes
	// there; refused says why the pool takes no generated codes.
	Space(ctx context.Context, pool string, p *domain.Pattern) (room domain.Room, texts []string, refused, err error)
}

func (a *api) generateRoutes(mux *http.ServeMux) {
	a.handle(mux, "POST /v1/pools/{id}/generate", a.generate)
	a.handle(mux, "GET /v1/pools/{id}/space", a.readSpace)
}

// patternForm is a pattern as a request gives it: in its notation, or by length.
type patternForm struct {
	pattern, alphabet, prefix, suffix *string
	length                            *int
}

// patternFields are the fields of a patternForm.
var patternFields = []string{"pattern", "length", "alphabet", "prefix", "suffix"}

func (f patternForm) parse() (*domain.Pattern, error) {
	text, alphabet := "", ""
	if f.alphabet != nil {
		if alphabet = *f.alphabet; alphabet == "" {
			return nil, wrongField("alphabet", "is empty")
		}
	}
	switch {
	case f.pattern != nil && (f.length != nil || f.prefix != nil || f.suffix != nil):
		return nil, wrongField("pattern", "says all that length, prefix and suffix say: give it or them")
	case f.pattern != nil:
		text = *f.pattern
	default:
		prefix, length, suffix := "", domain.DefaultLength, ""
		if f.prefix != nil {
			prefix = *f.prefix
		}
		if f.length != nil {
			length = *f.length
		}
		if f.suffix != nil {
			suffix = *f.suffix
		}
		if length < 1 || length > domain.MaxCode {
			return nil, wrongField("length", fmt.Sprintf("must be a number from 1 to %d", domain.MaxCode))
		}
		text = domain.Prefixed(prefix, length, suffix)
	}
	return domain.ParsePattern(text, alphabet)
}

func wrongField(field, detail string) error {
	return &domain.Invalid{Problems: []domain.Problem{{Field: field, Detail: detail}}}
}

// generation is the body of a generation while it is read.
type generation struct {
	domain.Generation
	form patternForm
}

var generationFields = setters[generation]{
	"count":          into(func(g *generation) *int64 { return &g.Count }, "a whole number"),
	"max_guess_odds": orDefault(func(g *generation) *float64 { return &g.MaxGuessOdds }, domain.DefaultGuessOdds, "a number"),
	"pattern":        orAbsent(func(g *generation) **string { return &g.form.pattern }, "text"),
	"length":         orAbsent(func(g *generation) **int { return &g.form.length }, "a whole number"),
	"alphabet":       orAbsent(func(g *generation) **string { return &g.form.alphabet }, "text"),
	"prefix":         orAbsent(func(g *generation) **string { return &g.form.prefix }, "text"),
	"suffix":         orAbsent(func(g *generation) **string { return &g.form.suffix }, "text"),
	"issue_start":    setTime(func(g *generation) *time.Time { return &g.Window.IssueStart }),
	"issue_end":      setTime(func(g *generation) *time.Time { return &g.Window.IssueEnd }),
	"available_from": setTime(func(g *generation) *time.Time { return &g.Window.AvailableFrom }),
	"available_till": setTime(func(g *generation) *time.Time { return &g.Window.AvailableTill }),
}

// orAbsent makes null the same as no field.
func orAbsent[T, V any](place func(*T) **V, want string) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		if json.Unmarshal(value, place(t)) != nil {
			return errors.New("must be " + want + ", or null for the default")
		}
		return nil
	}
}

func setTime[T any](place func(*T) *time.Time) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		var text *string
		err := json.Unmarshal(value, &text)
		if err == nil && text != nil {
			*place(t), err = domain.ParseMoment(*text)
		}
		if err != nil {
			return orNull(domain.ErrMoment)
		}
		return nil
	}
}

// idempotencyKey is that of a request; "": it has none.
func idempotencyKey(r *http.Request) (string, error) {
	switch said := r.Header.Values("Idempotency-Key"); {
	case len(said) == 0:
		return "", nil
	case len(said) == 1 && domain.ValidEventID(said[0]):
		return said[0], nil
	}
	return "", problemOf(badRequest, "the header Idempotency-Key must be 1 to 200 bytes of UTF-8, and once, or be absent")
}

func (a *api) generate(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	who, err := actorOf(r)
	if err != nil {
		return err
	}
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	g := generation{Generation: domain.Generation{MaxGuessOdds: domain.DefaultGuessOdds}}
	if g.Key, err = idempotencyKey(r); err != nil {
		return err
	}
	if err := generationFields.apply(o, &g); err != nil {
		return err
	}
	if _, ok := o["count"]; !ok {
		return wrongField("count", "is needed")
	}
	if g.Pattern, err = g.form.parse(); err != nil {
		return err
	}
	i, err := a.Generating.Generate(r.Context(), who, id, g.Generation)
	if errors.Is(err, domain.ErrState) {
		return problemOf(wrongState, "an archived pool takes no codes")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/imports/%d", i.Task))
	return answer(w, http.StatusAccepted, viewImport(i))
}

type spaceView struct {
	Pattern        string       `json:"pattern"`
	Alphabet       string       `json:"alphabet"`
	Space          json.Number  `json:"space"`
	Made           int64        `json:"made"`
	Remaining      json.Number  `json:"remaining"`
	GuessOdds      float64      `json:"guess_odds"`
	GuessOddsAfter *float64     `json:"guess_odds_after"`
	MaxGuessOdds   float64      `json:"max_guess_odds"`
	Most           int64        `json:"most"`
	Samples        []string     `json:"samples"`
	Refused        *refusedView `json:"refused"`
}

type refusedView struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

// spaceQuery is what a question about a pattern's space names.
type spaceQuery struct {
	pattern *domain.Pattern
	count   int64 // 0: not named
	odds    float64
}

func spaceQueryOf(r *http.Request) (q spaceQuery, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, problemOf(badRequest, "the query cannot be read: "+err.Error())
	}
	known := append([]string{"count", "max_guess_odds"}, patternFields...)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) || len(query[name]) != 1 {
			return q, problemOf(badRequest, fmt.Sprintf("the query takes %q, each at most once", known))
		}
	}
	text := func(name string) *string {
		if !query.Has(name) {
			return nil
		}
		value := query.Get(name)
		return &value
	}
	f := patternForm{pattern: text("pattern"), alphabet: text("alphabet"), prefix: text("prefix"), suffix: text("suffix")}
	if query.Has("length") {
		n, err := strconv.Atoi(query.Get("length"))
		if err != nil {
			return q, problemOf(badRequest, "length must be a whole number")
		}
		f.length = &n
	}
	if query.Has("count") {
		if q.count, err = strconv.ParseInt(query.Get("count"), 10, 64); err != nil || q.count < 1 || q.count > domain.MaxGenerated {
			return q, problemOf(badRequest, fmt.Sprintf("count must be a number from 1 to %d", int64(domain.MaxGenerated)))
		}
	}
	q.odds = domain.DefaultGuessOdds
	if query.Has("max_guess_odds") {
		if q.odds, err = strconv.ParseFloat(query.Get("max_guess_odds"), 64); err != nil || !(0 < q.odds && q.odds <= 1) {
			return q, problemOf(badRequest, "max_guess_odds must be above 0 and at most 1")
		}
	}
	q.pattern, err = f.parse()
	return q, err
}

func (a *api) readSpace(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	q, err := spaceQueryOf(r)
	if err != nil {
		return err
	}
	room, texts, refused, err := a.Generating.Space(r.Context(), id, q.pattern)
	if err != nil {
		return err
	}
	v := spaceView{
		Pattern: q.pattern.String(), Alphabet: q.pattern.Alphabet(),
		Space: json.Number(q.pattern.Space().String()), Made: room.Made, Remaining: json.Number(room.Left().String()),
		GuessOdds: q.pattern.Odds(room.Made), MaxGuessOdds: q.odds, Most: room.Most(q.odds), Samples: texts,
	}
	if q.count > 0 {
		after := min(q.pattern.Odds(room.Made+q.count), 1)
		v.GuessOddsAfter = &after
	}
	if refused == nil {
		refused = room.Check(max(q.count, 1), q.odds)
	} else {
		v.Most, v.Samples = 0, []string{}
	}
	if refused != nil {
		p := problemFor(refused)
		if errors.Is(refused, domain.ErrState) {
			p.Detail = refused.Error()
		}
		v.Refused = &refusedView{p.Type, p.Detail}
	}
	return answer(w, http.StatusOK, v)
}

type replenishView struct {
	Below        int64   `json:"below"`
	Count        int64   `json:"count"`
	Pattern      string  `json:"pattern"`
	Alphabet     string  `json:"alphabet"`
	MaxGuessOdds float64 `json:"max_guess_odds"`
	Stopped      *string `json:"stopped"`
}

func viewReplenish(r *domain.Replenish) *replenishView {
	if r == nil {
		return nil
	}
	v := &replenishView{Below: r.Below, Count: r.Count, Pattern: r.Pattern, Alphabet: r.Alphabet, MaxGuessOdds: r.MaxGuessOdds}
	if r.Stopped != "" {
		v.Stopped = &r.Stopped
	}
	return v
}

// replenishment is the setting while it is read.
type replenishment struct {
	domain.Replenish
	form patternForm
}

var replenishFields = setters[replenishment]{
	"below":          into(func(r *replenishment) *int64 { return &r.Below }, "a whole number"),
	"count":          into(func(r *replenishment) *int64 { return &r.Count }, "a whole number"),
	"max_guess_odds": orDefault(func(r *replenishment) *float64 { return &r.MaxGuessOdds }, domain.DefaultGuessOdds, "a number"),
	"pattern":        orAbsent(func(r *replenishment) **string { return &r.form.pattern }, "text"),
	"length":         orAbsent(func(r *replenishment) **int { return &r.form.length }, "a whole number"),
	"alphabet":       orAbsent(func(r *replenishment) **string { return &r.form.alphabet }, "text"),
	"prefix":         orAbsent(func(r *replenishment) **string { return &r.form.prefix }, "text"),
	"suffix":         orAbsent(func(r *replenishment) **string { return &r.form.suffix }, "text"),
}

// setReplenish changes the members that are named. Those of the pattern belong
// together: with one of them the others are what they are by default. Whatever is
// named, one that has stopped works again.
func setReplenish(p *domain.Pool, value json.RawMessage) error {
	if isNull(value) {
		p.Replenish = nil
		return nil
	}
	o, err := parseObject(value)
	if err != nil {
		return errors.New("must be an object with below, count and pattern, or null")
	}
	r := replenishment{Replenish: domain.Replenish{MaxGuessOdds: domain.DefaultGuessOdds}}
	if p.Replenish != nil {
		r.Replenish = *p.Replenish
	}
	r.Stopped = ""
	if err := replenishFields.apply(o, &r); err != nil {
		return err
	}
	if slices.ContainsFunc(patternFields, func(f string) bool { _, ok := o[f]; return ok }) {
		if r.form.pattern == nil && r.form.length == nil {
			return errors.New("must say which codes: pattern, or length")
		}
		pattern, err := r.form.parse()
		if err != nil {
			return err
		}
		r.Pattern, r.Alphabet = pattern.String(), pattern.Alphabet()
	}
	if _, ok := o["below"]; !ok && r.Below == 0 {
		return errors.New("needs below, the number of codes left that is too few")
	}
	if _, ok := o["count"]; !ok && r.Count == 0 {
		return errors.New("needs count, how many codes are made then")
	}
	if r.Pattern == "" {
		return errors.New("must say which codes: pattern, or length")
	}
	p.Replenish = &r.Replenish
	return nil
}
