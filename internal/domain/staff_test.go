package domain

import (
	"errors"
	"strings"
	"testing"
)

func TestStaffCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Staff)
		want []string
	}{
		{"Good", func(*Staff) {}, nil},
		{"NoID", func(s *Staff) { s.ID = "" }, []string{"id"}},
		{"NoName", func(s *Staff) { s.Name = " " }, []string{"name"}},
		{"LineInName", func(s *Staff) { s.Name = "Anna\nBcc: all@example.com" }, []string{"name"}},
		{"NoEmail", func(s *Staff) { s.Email = "" }, []string{"email"}},
		{"NoAt", func(s *Staff) { s.Email = "anna.example.com" }, []string{"email"}},
		{"NameInEmail", func(s *Staff) { s.Email = "Anna <anna@example.com>" }, []string{"email"}},
		{"TwoEmails", func(s *Staff) { s.Email = "anna@example.com, ben@example.com" }, []string{"email"}},
		{"LineAfterEmail", func(s *Staff) { s.Email = "anna@example.com\n" }, []string{"email"}},
		{"LongEmail", func(s *Staff) { s.Email = "anna@" + strings.Repeat("x", 250) + ".com" }, []string{"email"}},
		{"UnusualEmail", func(s *Staff) { s.Email = "o'neill+promo@mail.example" }, nil},
		{"Everything", func(s *Staff) { *s = Staff{} }, []string{"id", "name", "email"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Staff{ID: "anna", Name: "Anna", Email: "anna@example.com"}
			c.edit(&s)
			wantProblems(t, s.Check(), c.want...)
		})
	}
}

func TestParseScope(t *testing.T) {
	for text, want := range map[string]Scope{"all": {}, "campaign:summer": {Campaign: "summer"}, "pool:summer-sale": {Pool: "summer-sale"}} {
		if got, err := ParseScope(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "All", "all:", "all:x", "pool", "pool:", "pool:A", "pool:a:b", "pools:a", "campaign:", "staff:anna", "pool:a\n"} {
		if got, err := ParseScope(text); !errors.Is(err, ErrScope) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}
