package domain

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Actor is who makes a change, as the client says it. Nobody verifies it.
type Actor string

// Anonymous is an actor who gives no name.
const Anonymous Actor = "anonymous"

// Ourselves is who acts where a setting asks for it.
const Ourselves Actor = "promopool"

// ErrActor is returned for text that is no actor.
var ErrActor = errors.New("must be 1 to 200 bytes of text without control characters")

// ParseActor reads what a client calls itself, outer blanks trimmed.
func ParseActor(s string) (Actor, error) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 200 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", ErrActor
	}
	return Actor(s), nil
}
