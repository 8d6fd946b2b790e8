package domain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// draft is a pool that can be launched.
func draft() Pool {
	return Pool{
		ID: "summer-sale", CampaignID: "summer", Name: "Summer sale", Description: "Ten off.", ParameterName: "code",
		Processing: Internal, State: Draft,
	}
}

func number(n int64) *int64 { return &n }

// wantProblems checks that err names exactly these settings.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	if invalid := (*Invalid)(nil); errors.As(err, &invalid) {
		for _, p := range invalid.Problems {
			got = append(got, p.Field)
			if p.Detail == "" || !strings.Contains(err.Error(), p.Field+": "+p.Detail) {
				t.Errorf("%s: %s is not told by: %v", p.Field, p.Detail, err)
			}
		}
	} else if err != nil {
		t.Errorf("error %v, want an *Invalid", err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems with %v, want %v", got, want)
	}
}

func TestPoolCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Pool)
		want []string
	}{
		{"Good", func(*Pool) {}, nil},
		{"NoDescription", func(p *Pool) { p.Description = "" }, nil},
		{"LinesInDescription", func(p *Pool) { p.Description = "a\r\n\tb" }, nil},
		{"ShortestID", func(p *Pool) { p.ID = "7" }, nil},
		{"LongestID", func(p *Pool) { p.ID = strings.Repeat("a", 63) }, nil},
		{"NoID", func(p *Pool) { p.ID = "" }, []string{"id"}},
		{"LongID", func(p *Pool) { p.ID = strings.Repeat("a", 64) }, []string{"id"}},
		{"UpperCaseID", func(p *Pool) { p.ID = "Summer" }, []string{"id"}},
		{"HyphenFirst", func(p *Pool) { p.ID = "-a" }, []string{"id"}},
		{"LineAfterID", func(p *Pool) { p.ID = "a\n" }, []string{"id"}},
		{"NoName", func(p *Pool) { p.Name = " " }, []string{"name"}},
		{"LongName", func(p *Pool) { p.Name = strings.Repeat("ü", 101) }, []string{"name"}},
		{"LineInName", func(p *Pool) { p.Name = "a\nb" }, []string{"name"}},
		{"NULInName", func(p *Pool) { p.Name = "a\x00" }, []string{"name"}},
		{"BrokenName", func(p *Pool) { p.Name = "a\xff" }, []string{"name"}},
		{"LongDescription", func(p *Pool) { p.Description = strings.Repeat("x", 4097) }, []string{"description"}},
		{"ControlInDescription", func(p *Pool) { p.Description = "\x1b[2J" }, []string{"description"}},
		{"NoParameter", func(p *Pool) { p.ParameterName = "" }, []string{"parameter_name"}},
		{"ParameterWithHyphen", func(p *Pool) { p.ParameterName = "promo-code" }, []string{"parameter_name"}},
		{"ParameterFromDigit", func(p *Pool) { p.ParameterName = "1code" }, []string{"parameter_name"}},
		{"OtherProcessing", func(p *Pool) { p.Processing = "both" }, []string{"processing"}},
		{"External", func(p *Pool) { p.Processing = External }, nil},
		{"MultiUse", func(p *Pool) { p.MultiUse = true }, nil},
		{"MultiUseChecked", func(p *Pool) { p.MultiUse, p.CheckIssued = true, true }, []string{"check_issued"}},
		{"MultiUseNotified", func(p *Pool) { p.MultiUse, p.Notify, p.NotifyBelow = true, true, number(5) }, []string{"notify_below"}},
		{"Notified", func(p *Pool) { p.Notify, p.NotifyBelow = true, number(5) }, nil},
		{"NoticeOff", func(p *Pool) { p.NotifyBelow = number(5) }, nil},
		{"NotifiedBelowZero", func(p *Pool) { p.Notify, p.NotifyBelow = true, number(0) }, []string{"notify_below"}},
		{"NoThreshold", func(p *Pool) { p.Notify = true }, []string{"notify"}},
		{"Window", func(p *Pool) { p.IssueStart, p.IssueEnd = noon, noon.Add(1) }, nil},
		{"WindowWithoutStart", func(p *Pool) { p.IssueEnd = noon }, nil},
		{"WindowWithoutEnd", func(p *Pool) { p.IssueStart = noon }, nil},
		{"EmptyWindow", func(p *Pool) { p.IssueStart, p.IssueEnd = noon, noon }, []string{"issue_end"}},
		{"Limited", func(p *Pool) {
			p.MultiUse, p.RedemptionLimit, p.RedemptionLimitPerCustomer = true, number(100), number(1)
		}, nil},
		{"LimitOfNone", func(p *Pool) {
			p.MultiUse, p.RedemptionLimit, p.RedemptionLimitPerCustomer = true, number(0), number(-1)
		}, []string{"redemption_limit", "redemption_limit_per_customer"}},
		{"LimitedSingleUse", func(p *Pool) { p.RedemptionLimit, p.RedemptionLimitPerCustomer = number(1), number(1) }, []string{"redemption_limit", "redemption_limit_per_customer"}},
		{"Everything", func(p *Pool) { *p = Pool{} }, []string{"id", "name", "parameter_name", "processing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := draft()
			c.edit(&p)
			wantProblems(t, p.Check(), c.want...)
		})
	}
}

func TestPoolCheckEdit(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*Pool)
		draft  []string
		active []string
	}{
		{"Nothing", func(*Pool) {}, nil, nil},
		{"ID", func(p *Pool) { p.ID = "winter" }, nil, []string{"id"}},
		{"Campaign", func(p *Pool) { p.CampaignID = "winter" }, nil, []string{"campaign_id"}},
		{"Parameter", func(p *Pool) { p.ParameterName = "coupon" }, nil, []string{"parameter_name"}},
		{"MultiUse", func(p *Pool) { p.MultiUse = true }, nil, []string{"multi_use"}},
		{"Description", func(p *Pool) { p.Description = "\n" }, nil, []string{"description"}},
		{"Name", func(p *Pool) { p.Name = "Winter" }, nil, nil},
		{"Notice", func(p *Pool) { p.Notify, p.NotifyBelow = true, number(100) }, nil, nil},
		{"CheckIssued", func(p *Pool) { p.CheckIssued = true }, nil, nil},
		{"Validity", func(p *Pool) { p.Validity = Period{Days: 3} }, nil, nil},
		{"Processing", func(p *Pool) { p.Processing = External }, nil, nil},
		{"Window", func(p *Pool) { p.IssueStart, p.IssueEnd = noon, noon.Add(1) }, nil, nil},
		{"Limit", func(p *Pool) { p.RedemptionLimit = number(5) }, []string{"redemption_limit"}, []string{"redemption_limit"}},
		{"BadName", func(p *Pool) { p.Name = "" }, []string{"name"}, []string{"name"}},
		{"Several", func(p *Pool) { p.ID, p.MultiUse = "winter", true }, nil, []string{"id", "multi_use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, state := range []State{Draft, Active, Archived} {
				p := draft()
				p.State = state
				q := p
				c.edit(&q)
				want := c.active
				if state == Draft {
					want = c.draft
				}
				wantProblems(t, p.CheckEdit(q), want...)
			}
		})
	}
}

// TestPoolExclusion: of two settings that exclude each other the one is refused
// that came later.
func TestPoolExclusion(t *testing.T) {
	multi := func(p *Pool) { p.MultiUse = true }
	check := func(p *Pool) { p.CheckIssued = true }
	notify := func(p *Pool) { p.Notify, p.NotifyBelow = true, number(5) }
	both := func(fs ...func(*Pool)) func(*Pool) {
		return func(p *Pool) {
			for _, f := range fs {
				f(p)
			}
		}
	}
	for _, c := range []struct {
		name       string
		have, edit func(*Pool)
		want       []string
	}{
		{"CheckAfterMulti", multi, check, []string{"check_issued"}},
		{"MultiAfterCheck", check, multi, []string{"multi_use"}},
		{"NotifyAfterMulti", multi, notify, []string{"notify_below"}},
		{"MultiAfterNotify", notify, multi, []string{"multi_use"}},
		{"Together", both(), both(multi, check), []string{"check_issued"}},
		{"Swapped", check, both(multi, func(p *Pool) { p.CheckIssued = false }), nil},
		{"SwappedBack", multi, both(check, func(p *Pool) { p.MultiUse = false }), nil},
		{"NoticeOffFirst", notify, both(multi, func(p *Pool) { p.Notify = false }), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := draft()
			c.have(&p)
			q := p
			c.edit(&q)
			wantProblems(t, p.CheckEdit(q), c.want...)
		})
	}
}

func TestPoolCheckAsked(t *testing.T) {
	off, on, timed := draft(), draft(), draft()
	on.CheckIssued = true
	timed.CheckIssued, timed.Validity = true, Period{Days: 30}
	wantProblems(t, off.CheckAsked(on, false), "validity")
	wantProblems(t, off.CheckAsked(on, true))
	wantProblems(t, off.CheckAsked(timed, false))
	wantProblems(t, on.CheckAsked(on, false))
	wantProblems(t, timed.CheckAsked(on, false))
	wantProblems(t, on.CheckAsked(off, false))
}

func TestParseMoment(t *testing.T) {
	for text, want := range map[string]string{
		"2026-07-01T00:00:00Z":           "2026-07-01T00:00:00Z",
		"2026-07-01T00:00:00+02:00":      "2026-06-30T22:00:00Z",
		"2026-07-01T00:00:00.123456789Z": "2026-07-01T00:00:00.123456Z",
		"1970-01-01T00:00:00Z":           "1970-01-01T00:00:00Z",
		"9999-12-31T23:59:59Z":           "9999-12-31T23:59:59Z",
		"1970-01-01T00:00:00+00:01":      "",
		"9999-12-31T23:59:59-00:01":      "",
		"0001-01-01T00:00:00Z":           "",
		"2026-07-01":                     "",
		"2026-07-01T00:00:00":            "",
		"2026-02-30T00:00:00Z":           "",
		"tomorrow":                       "",
		"":                               "",
	} {
		got, err := ParseMoment(text)
		if (err == nil) != (want != "") || err == nil && EventTime(got) != want {
			t.Errorf("%q: got %v, %v, want %q", text, got, err, want)
		}
	}
}

func TestPoolCheckLaunch(t *testing.T) {
	p := draft()
	wantProblems(t, p.CheckLaunch())
	p.Description = " \n"
	wantProblems(t, p.CheckLaunch(), "description")
	p.Description, p.Name = "Ten off.", ""
	wantProblems(t, p.CheckLaunch(), "name")
	for _, state := range []State{Active, Archived} {
		p := draft()
		p.State = state
		if err := p.CheckLaunch(); !errors.Is(err, ErrState) {
			t.Errorf("launch of an %s pool: %v, want ErrState", state, err)
		}
	}
}

func TestCampaignCheck(t *testing.T) {
	wantProblems(t, Campaign{ID: "summer", Name: "Summer"}.Check())
	wantProblems(t, Campaign{ID: "Summer", Name: "\t"}.Check(), "id", "name")
	wantProblems(t, CheckID("summer-26"))
	wantProblems(t, CheckID("summer_26"), "id")
}

func TestPoolValid(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name     string
		validity Period
		window   Window
		from     time.Time
		until    time.Time
	}{
		{"Open", Period{}, Window{}, noon, time.Time{}},
		{"Validity", Period{Days: 1}, Window{}, noon, noon.Add(24 * hour)},
		{"UsableTill", Period{}, Window{AvailableTill: noon.Add(hour)}, noon, noon.Add(hour)},
		{"TillBeforeValidity", Period{Days: 1}, Window{AvailableTill: noon.Add(hour)}, noon, noon.Add(hour)},
		{"ValidityBeforeTill", Period{Clock: hour}, Window{AvailableTill: noon.Add(2 * hour)}, noon, noon.Add(hour)},
		{"UsableSince", Period{}, Window{AvailableFrom: noon.Add(-hour)}, noon, time.Time{}},
		{"UsableLater", Period{}, Window{AvailableFrom: noon.Add(hour)}, noon.Add(hour), time.Time{}},
		{"IssueWindow", Period{}, Window{IssueStart: noon.Add(-hour), IssueEnd: noon.Add(hour)}, noon, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, until := (&Pool{Validity: c.validity}).Valid(&Lot{Window: c.window}, noon)
			if !from.Equal(c.from) || !until.Equal(c.until) {
				t.Errorf("valid %v to %v, want %v to %v", from, until, c.from, c.until)
			}
		})
	}
}
