package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"promopool/internal/domain"
)

const (
	maxBody = 1 << 20
	// maxFields bounds the answer to a body of which every field is wrong.
	maxFields   = 100
	bodyTimeout = 10 * time.Second
)

// object is a JSON object whose fields are not read yet.
type object map[string]json.RawMessage

// readObject reads the body, which must be one JSON object with each field once.
func readObject(w http.ResponseWriter, r *http.Request, mediaTypes ...string) (object, error) {
	mediaTypes = append(mediaTypes, "application/json")
	got, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(mediaTypes, got) || !strings.EqualFold(params["charset"], "utf-8") && params["charset"] != "" {
		return nil, problemOf(badMedia, "send the header Content-Type: "+strings.Join(mediaTypes, " or "))
	}
	if isCoded(r) {
		return nil, problemOf(badMedia, "send the body as it is, without the header Content-Encoding")
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, problemOf(badRequest, "the body is empty, it must be a JSON object")
	}
	if !utf8.Valid(body) {
		return nil, problemOf(badRequest, "the body is not UTF-8: encode it so")
	}
	if hasLoneSurrogate(body) {
		return nil, problemOf(badRequest, `the body has half a character: \ud800 to \udbff must be followed by \udc00 to \udfff`)
	}
	o, err := parseObject(body)
	if err != nil {
		return nil, problemOf(badRequest, "the body must be a JSON object: "+err.Error())
	}
	return o, nil
}

// hasLoneSurrogate reports whether an escape stands for half a character, which
// encoding/json would replace without a word.
func hasLoneSurrogate(body []byte) bool {
	for {
		at := bytes.IndexByte(body, '\\')
		if at < 0 {
			return false
		}
		body = body[at:]
		unit := escapedUnit(body)
		switch {
		case !utf16.IsSurrogate(unit):
			body = body[min(2, len(body)):]
		case utf16.DecodeRune(unit, escapedUnit(body[6:])) != utf8.RuneError:
			body = body[12:]
		default:
			return true
		}
	}
}

// escapedUnit is what an escape such as \u00e9 at the beginning stands for; 0
// where there is none.
func escapedUnit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(b[2:6]), 16, 16) // 0 where it is no number
	return rune(n)
}

// isCoded reports whether the body is compressed, or otherwise not as it is.
func isCoded(r *http.Request) bool {
	coding := strings.Join(r.Header.Values("Content-Encoding"), ",")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyTimeout)) // where there is no connection there is no waiting
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		_ = c.SetReadDeadline(time.Time{})
	}
	large := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &large):
		return nil, problemOf(tooLarge, fmt.Sprintf("at most %d bytes are taken here: shorten the body", maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problemOf(slowBody, fmt.Sprintf("the body must be here within %s: send it again", bodyTimeout))
	case err != nil:
		return nil, problemOf(badRequest, "the body ended early: send it again")
	}
	return body, nil
}

func parseObject(body []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil {
		return nil, atPlace(err, d)
	} else if t != json.Delim('{') {
		return nil, errors.New("it begins with something else")
	}
	o := object{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, atPlace(err, d)
		}
		name, _ := t.(string) // Token lets nothing else stand here
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("the field %q is there twice", name)
		}
		if len(o) == maxFields {
			return nil, fmt.Errorf("it has more than %d fields", maxFields)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, atPlace(err, d)
		}
		o[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, atPlace(err, d)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return o, nil
}

func atPlace(err error, d *json.Decoder) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut off")
	}
	return fmt.Errorf("%w, at byte %d", err, d.InputOffset())
}

// isNull reports whether the field is there and null, which in a merge patch
// takes it back to its default.
func isNull(v json.RawMessage) bool { return string(v) == "null" }

// setters say how each field of a body changes a T.
type setters[T any] map[string]func(t *T, value json.RawMessage) error

// apply sets the fields of o, and names every one that is unknown or wrong.
func (s setters[T]) apply(o object, t *T) error {
	var wrong []domain.Problem
	for _, field := range slices.Sorted(maps.Keys(o)) {
		set, ok := s[field]
		if !ok {
			wrong = append(wrong, domain.Problem{Field: field, Detail: "is not known, the fields are " + strings.Join(slices.Sorted(maps.Keys(s)), ", ")})
			continue
		}
		if err := set(t, o[field]); err != nil {
			wrong = append(wrong, domain.Problem{Field: field, Detail: err.Error()})
		}
	}
	if wrong != nil {
		return &domain.Invalid{Problems: wrong}
	}
	return nil
}

// into makes a setter of a field that a value of JSON can be read into.
func into[T, V any](place func(*T) *V, want string) func(*T, json.RawMessage) error {
	return func(t *T, value json.RawMessage) error {
		if isNull(value) || json.Unmarshal(value, place(t)) != nil {
			return errors.New("must be " + want)
		}
		return nil
	}
}

// orDefault makes null set the default.
func orDefault[T, V any](place func(*T) *V, byDefault V, want string) func(*T, json.RawMessage) error {
	set := into(place, want+", or null for the default")
	return func(t *T, value json.RawMessage) error {
		if isNull(value) {
			*place(t) = byDefault
			return nil
		}
		return set(t, value)
	}
}
