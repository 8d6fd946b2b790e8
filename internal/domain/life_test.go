package domain

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// plainPool is a pool as a table of settings with the rules of its life written
// out flat, to hold Pool against.
type plainPool struct {
	state    State
	settings map[string]any
}

// choices are values of each setting, good and bad; nil: none.
var choices = map[string][]any{
	"id":             {"beach", "beach-2", "Beach!", ""},
	"campaign_id":    {"summer", "winter"},
	"name":           {"Beach", "Été", " ", "a\nb"},
	"description":    {"", "  ", "Ten off."},
	"parameter_name": {"promo_code", "code", "9"},
	"notify":         {true, false},
	"notify_below":   {nil, int64(0), int64(5)},
	"multi_use":      {true, false, false},
	"check_issued":   {true, false, false},
	"validity":       {nil, "P30D"},
	"processing":     {"internal", "external", "both"},
	"issue_start":    {nil, "2026-07-01T11:00:00Z", "2026-07-01T13:00:00Z"},
	"issue_end":      {nil, "2026-07-01T12:00:00Z", "2026-07-01T14:00:00Z"},

	"redemption_limit":              {nil, int64(0), int64(5)},
	"redemption_limit_per_customer": {nil, nil, int64(0), int64(5)},
}

// bad are the values that are wrong whatever else the pool is.
var bad = []any{"Beach!", " ", "a\nb", "9", int64(0), "both"}

// wrong names the settings of which no edit may be accepted; said: validity is
// among those that it names.
func (p plainPool) wrong(edit map[string]any) []string {
	have, want := p.settings, maps.Clone(p.settings)
	maps.Copy(want, edit)
	no := map[string]bool{}
	if p.state != Draft {
		for _, field := range []string{"id", "campaign_id", "parameter_name", "multi_use"} {
			no[field] = have[field] != want[field]
		}
		no["description"] = want["description"] != "Ten off."
		if slices.Contains(slices.Collect(maps.Values(no)), true) {
			return told(no)
		}
	}
	for field, value := range want {
		no[field] = no[field] || slices.Contains(bad, value) && field != "description" || field == "id" && value == ""
	}
	if want["multi_use"] == true && want["check_issued"] == true {
		no[map[any]string{true: "multi_use", false: "check_issued"}[have["check_issued"]]] = true
	}
	if want["multi_use"] == true && want["notify"] == true {
		no[map[any]string{true: "multi_use", false: "notify_below"}[have["notify"]]] = true
	}
	for _, limit := range []string{"redemption_limit", "redemption_limit_per_customer"} {
		if want["multi_use"] != true && want[limit] != nil {
			no[map[bool]string{true: "multi_use", false: limit}[have[limit] != nil]] = true
		}
	}
	if want["notify"] == true && want["notify_below"] == nil {
		no["notify"] = true
	}
	// Times of one form are in the order of their text.
	start, _ := want["issue_start"].(string)
	end, bounded := want["issue_end"].(string)
	no["issue_end"] = bounded && start >= end
	return told(no)
}

// asked reports whether the edit leaves out what it must say.
func (p plainPool) asked(edit map[string]any) bool {
	_, said := edit["validity"]
	on, ok := edit["check_issued"]
	return ok && on == true && p.settings["check_issued"] == false && !said && p.settings["validity"] == nil
}

func told(no map[string]bool) []string {
	var fields []string
	for field, is := range no {
		if is {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// apply sets settings of a pool.
func apply(t *rapid.T, p *Pool, edit map[string]any) {
	moment := func(v any) (at time.Time) {
		if text, ok := v.(string); ok {
			var err error
			if at, err = ParseMoment(text); err != nil {
				t.Fatal(err)
			}
		}
		return at
	}
	for field, v := range edit {
		switch field {
		case "id":
			p.ID = v.(string)
		case "campaign_id":
			p.CampaignID = v.(string)
		case "name":
			p.Name = v.(string)
		case "description":
			p.Description = v.(string)
		case "parameter_name":
			p.ParameterName = v.(string)
		case "notify":
			p.Notify = v.(bool)
		case "notify_below":
			if p.NotifyBelow = nil; v != nil {
				p.NotifyBelow = number(v.(int64))
			}
		case "multi_use":
			p.MultiUse = v.(bool)
		case "check_issued":
			p.CheckIssued = v.(bool)
		case "validity":
			if p.Validity = (Period{}); v != nil {
				p.Validity = Period{Days: 30}
			}
		case "processing":
			p.Processing = Processing(v.(string))
		case "issue_start":
			p.IssueStart = moment(v)
		case "issue_end":
			p.IssueEnd = moment(v)
		case "redemption_limit":
			if p.RedemptionLimit = nil; v != nil {
				p.RedemptionLimit = number(v.(int64))
			}
		case "redemption_limit_per_customer":
			if p.RedemptionLimitPerCustomer = nil; v != nil {
				p.RedemptionLimitPerCustomer = number(v.(int64))
			}
		}
	}
}

// TestLife leads a pool and its plain twin through edits in any order, launch
// and archive: the same is refused for the same settings, the same accepted,
// and what the history says of each step leads from the first to the last.
func TestLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Pool{ID: "beach", CampaignID: "summer", Name: "Beach", ParameterName: "promo_code", Processing: Internal, State: Draft}
		twin := plainPool{state: Draft, settings: map[string]any{
			"id": "beach", "campaign_id": "summer", "name": "Beach", "description": "", "parameter_name": "promo_code",
			"notify": false, "notify_below": nil, "multi_use": false, "check_issued": false, "validity": nil,
			"processing": "internal", "issue_start": nil, "issue_end": nil,
			"redemption_limit": nil, "redemption_limit_per_customer": nil,
		}}
		story := []Changes{p.Born()}
		t.Repeat(map[string]func(*rapid.T){
			"edit": func(t *rapid.T) {
				edit := map[string]any{}
				for range rapid.IntRange(1, 3).Draw(t, "fields") {
					field := rapid.SampledFrom(slices.Sorted(maps.Keys(choices))).Draw(t, "field")
					edit[field] = rapid.SampledFrom(choices[field]).Draw(t, field)
				}
				q := p
				apply(t, &q, edit)
				_, said := edit["validity"]
				if got, want := p.CheckAsked(q, said) != nil, twin.asked(edit); got != want {
					t.Fatalf("%v of %v: asks for validity %t, want %t", edit, twin, got, want)
				}
				if diff := gocmp.Diff(twin.wrong(edit), fields(p.CheckEdit(q))); diff != "" {
					t.Fatalf("%v of %v refused for (-want +got):\n%s", edit, twin, diff)
				}
				if p.CheckEdit(q) != nil || p.CheckAsked(q, said) != nil {
					return
				}
				story = append(story, p.Edits(&q))
				p = q
				maps.Copy(twin.settings, edit)
			},
			"launch": func(t *rapid.T) {
				err := p.CheckLaunch()
				switch {
				case twin.state != Draft:
					if !errors.Is(err, ErrState) {
						t.Fatalf("launch of an %s pool: %v", twin.state, err)
					}
				case twin.settings["description"] != "Ten off.":
					if got := fields(err); !slices.Equal(got, []string{"description"}) {
						t.Fatalf("launch without a description: %v", err)
					}
				case err != nil:
					t.Fatalf("launch of %v: %v", twin, err)
				default:
					q := p
					q.State, twin.state = Active, Active
					story = append(story, p.Moved(&q))
					p = q
				}
			},
			"archive": func(t *rapid.T) {
				if twin.state != Active || rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
					t.Skip("stays")
				}
				q := p
				q.State, twin.state = Archived, Archived
				story = append(story, p.Moved(&q))
				p = q
			},
			"": func(t *rapid.T) {
				if err := p.Check(); err != nil {
					t.Fatalf("the pool breaks a rule: %v", err)
				}
				want := maps.Clone(twin.settings)
				want["state"] = string(twin.state)
				if diff := gocmp.Diff(want, retold(t, story)); diff != "" {
					t.Fatalf("the history leads elsewhere (-pool +history):\n%s", diff)
				}
				if left := retold(t, append(slices.Clone(story), p.Gone())); slices.ContainsFunc(slices.Collect(maps.Values(left)), func(v any) bool { return v != nil }) {
					t.Fatalf("the end of the pool leaves %v", left)
				}
			},
		})
	})
}

// fields are the settings that an error names, each once.
func fields(err error) []string {
	var names []string
	if invalid := (*Invalid)(nil); errors.As(err, &invalid) {
		for _, p := range invalid.Problems {
			names = append(names, p.Field)
		}
	} else if err != nil {
		names = []string{fmt.Sprint("not *Invalid: ", err)}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// retold is what the changes lead to, each from what the one before left. A
// change from a value to itself is none.
func retold(t *rapid.T, story []Changes) map[string]any {
	now := map[string]any{}
	for field := range choices {
		now[field] = nil
	}
	for _, changes := range story {
		for field, c := range changes {
			if now[field] != c.From || c.From == c.To {
				t.Fatalf("%s is %v, the history has it change from %v to %v", field, now[field], c.From, c.To)
			}
			now[field] = c.To
		}
	}
	return now
}

// TestNarrow: a code may be issued when the pool's window and its lot's both
// say so, and is scheduled or expired by the bounds of both.
func TestNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, lot := drawPool(t, 1), drawWindow(t)
		now := noon.Add(time.Duration(rapid.IntRange(-4, 4).Draw(t, "now")) * 30 * time.Minute)
		both := p.Narrow(lot)
		if got, want := both.Fits(now), !outside(p, now) && lot.Fits(now); got != want || want && !p.Open(now) {
			t.Fatalf("%v: may be issued %t, want %t", now, got, want)
		}
		want := CodeAvailable
		switch {
		case lot.Expired(now) || !p.IssueEnd.IsZero() && !now.Before(p.IssueEnd):
			want = CodeExpired
		case !lot.Fits(now) || outside(p, now):
			want = CodeScheduled
		}
		if got := both.Unissued(now); got != want {
			t.Fatalf("%v: state %s, want %s", now, got, want)
		}
		if both.AvailableFrom != lot.AvailableFrom || both.AvailableTill != lot.AvailableTill {
			t.Fatal("the pool's window touches when codes may be used")
		}
		issued := now
		wide := *p
		wide.IssueStart, wide.IssueEnd = time.Time{}, time.Time{}
		from, until := p.Valid(&Lot{Window: lot}, issued)
		if f, u := wide.Valid(&Lot{Window: lot}, issued); f != from || u != until {
			t.Fatal("the pool's window touches how long a code is valid")
		}
	})
}
