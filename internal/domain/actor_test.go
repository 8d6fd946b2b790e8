package domain

import (
	"strings"
	"testing"
)

func TestParseActor(t *testing.T) {
	for text, want := range map[string]Actor{
		"anna": "anna", " Зоя Ю. ": "Зоя Ю.", strings.Repeat("x", 200): Actor(strings.Repeat("x", 200)),
		"": "", " ": "", strings.Repeat("é", 101): "", "a\nb": "", "a\x00": "", "a\u0085b": "", "a\xff": "",
	} {
		if got, err := ParseActor(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}
