package httpapi

import (
	"encoding/base64"
	"fmt"
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

// page is the part of a list that a request asks for.
type page struct {
	after string // id of the last one seen
	limit int
	query url.Values
}

// pageOf reads the query, in which only the given filters may stand beside
// limit and cursor.
func pageOf(r *http.Request, filters ...string) (page, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return page{}, problemOf(badRequest, "the query cannot be read: "+err.Error())
	}
	known := append([]string{"limit", "cursor"}, filters...)
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			return page{}, problemOf(badRequest, fmt.Sprintf("the query takes %q, each at most once", known))
		}
		if values[0] == "" && name != "q" { // of a variable that was not set, as a rule: not everything is meant
			return page{}, problemOf(badRequest, name+" is empty: leave it out, or say which")
		}
	}
	p := page{limit: pageDefault, query: query}
	if text := query.Get("limit"); text != "" {
		if p.limit, err = strconv.Atoi(text); err != nil || p.limit < 1 || p.limit > pageMost {
			return page{}, problemOf(badRequest, fmt.Sprintf("limit must be a number from 1 to %d", pageMost))
		}
	}
	if text := query.Get("cursor"); text != "" {
		after, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || domain.CheckID(string(after)) != nil {
			return page{}, problemOf(badRequest, `cursor must be the "next" of the page before`)
		}
		p.after = string(after)
	}
	return p, nil
}

// text is what is searched for; empty: nothing.
func (p *page) text() (string, error) {
	text := p.query.Get("q")
	if len(text) > 200 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", problemOf(badRequest, "q must be at most 200 bytes of text without control characters")
	}
	return text, nil
}

// below is the number that an entry of the page must be below, where the
// newest come first.
func (p *page) below() (int64, error) {
	if p.after == "" {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseInt(p.after, 10, 64)
	if err != nil {
		return 0, problemOf(badRequest, `cursor must be the "next" of the page before`)
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
