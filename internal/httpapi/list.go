package httpapi

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"promopool/internal/domain"
)

const (
	pageDefault = 100
	pageMost    = 1000
)

var errCursor = wrongParameter("cursor", `must be the "next" of the page before, or be absent`)

// queryOf reads the query, in which only these parameters may stand.
func queryOf(r *http.Request, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problemOf(badRequest, "the query cannot be read: percent-encode what is in it")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(known, name):
			return nil, wrongParameter(name, "is not known, the options are "+strings.Join(known, ", "))
		case len(query[name]) > 1:
			return nil, wrongParameter(name, "is there twice")
		}
	}
	return query, nil
}

// oneOf lists the values that a parameter takes.
func oneOf[S ~string](values []S) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return "one of " + strings.Join(words, ", ")
}

// page is the part of a list that a request asks for.
type page struct {
	after string // id of the last one seen
	limit int
	query url.Values
}

// pageOf reads the query, in which only the given filters may stand beside
// limit and cursor.
func pageOf(r *http.Request, filters ...string) (page, error) {
	query, err := queryOf(r, append([]string{"limit", "cursor"}, filters...)...)
	if err != nil {
		return page{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if query.Get(name) == "" && name != "q" { // of a variable that was not set, as a rule: not everything is meant
			return page{}, wrongParameter(name, "is empty: leave it out, or say which")
		}
	}
	p := page{limit: pageDefault, query: query}
	if text := query.Get("limit"); text != "" {
		if p.limit, err = strconv.Atoi(text); err != nil || p.limit < 1 || p.limit > pageMost {
			return page{}, wrongParameter("limit", fmt.Sprintf("must be a number from 1 to %d", pageMost))
		}
	}
	if text := query.Get("cursor"); text != "" {
		after, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || domain.CheckID(string(after)) != nil {
			return page{}, errCursor
		}
		p.after = string(after)
	}
	return p, nil
}

// text is what is searched for; empty: nothing.
func (p *page) text() (string, error) {
	text := p.query.Get("q")
	if len(text) > 200 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", wrongParameter("q", "must be at most 200 bytes of text without control characters")
	}
	return text, nil
}

// actor is who is asked for; empty: anybody.
func (p *page) actor() (domain.Actor, error) {
	if p.query.Get("actor") == "" {
		return "", nil
	}
	who, err := domain.ParseActor(p.query.Get("actor"))
	if err != nil {
		return "", wrongParameter("actor", err.Error())
	}
	return who, nil
}

// below is the number that an entry of the page must be below, where the
// newest come first.
func (p *page) below() (int64, error) {
	if p.after == "" {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseInt(p.after, 10, 64)
	if err != nil {
		return 0, errCursor
	}
	return n, nil
}

// listView is one page of a list.
type listView[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"` // the cursor of the next page; null: this is the last
}

// listed answers with a page of which one more was read than it may hold.
func listed[T, V any](w http.ResponseWriter, p page, all []T, id func(T) string, view func(T) V) error {
	var l listView[V]
	if len(all) > p.limit {
		all = all[:p.limit]
		next := base64.RawURLEncoding.EncodeToString([]byte(id(all[p.limit-1])))
		l.Next = &next
	}
	l.Items = make([]V, len(all))
	for i, t := range all {
		l.Items[i] = view(t)
	}
	return answer(w, http.StatusOK, l)
}
