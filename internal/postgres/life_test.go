package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"promopool/internal/domain"
)

// TestLifeStored does to the store what staff do, in any order, rightly and
// wrongly, and holds it against a book that is kept beside it: what is refused
// and why, what is stored, what the history tells, what is in stock. The rules
// are package domain's, which are held against plain ones there.
func TestLifeStored(t *testing.T) {
	d := newDesk(t)
	runs, issued := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		b := newBook(t, d, fmt.Sprintf("r%d", runs))
		t.Repeat(map[string]func(*rapid.T){
			"create": b.create, "edit": b.edit, "editAgain": b.edit, "editOnceMore": b.edit,
			"launch": b.launch, "archive": b.archive, "delete": b.delete,
			"fill": b.fill, "issue": b.issue, "issueAgain": b.issue,
			"campaign": b.campaign, "rename": b.rename, "deleteCampaign": b.deleteCampaign,
		})
		b.check(t)
		issued += b.issued
	})
	if issued == 0 {
		t.Error("no code was ever issued")
	}
}

// book is what the store must hold.
type book struct {
	*desk
	prefix    string
	now       time.Time // bounds lie an hour and more around it
	ids       []string
	pools     map[string]*kept
	campaigns map[string]*keptCampaign
	gone      []*kept
	issued    int
}

// kept is one pool.
type kept struct {
	pool  domain.Pool
	story []told
	lots  []*keptLot
}

type keptLot struct {
	no           int32
	size, issued int64
	window       domain.Window
}

type keptCampaign struct {
	name  string
	story []told
}

// told is an entry of the history but for its number and time. Changes are JSON.
type told struct {
	Actor             domain.Actor
	Action            domain.Action
	Changes           string
	Version, Revision int64
}

func newBook(t *rapid.T, d *desk, prefix string) *book {
	b := &book{
		desk: d, prefix: prefix, now: time.Now().UTC().Truncate(time.Microsecond),
		pools: map[string]*kept{}, campaigns: map[string]*keptCampaign{},
	}
	for _, id := range []string{"a", "b", "c"} {
		b.ids = append(b.ids, prefix+"-"+id)
	}
	b.addCampaign(t, prefix+"-x")
	// One with codes that can be launched, and perhaps is, so that not all of the
	// time goes by before that.
	p := domain.Pool{ID: b.ids[0], CampaignID: prefix + "-x", Name: "Beach", Description: "Ten off.", ParameterName: "promo_code", Processing: domain.Internal}
	b.make(t, "anna", p, false)
	b.lay(b.ids[0], 3, domain.Window{})
	if rapid.Bool().Draw(t, "launched") {
		b.bring(t, b.ids[0], "anna", 0, false, domain.Draft, domain.Active, domain.PoolLaunched, b.LaunchPool)
	}
	return b
}

func asJSON(t *rapid.T, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settle holds a step's error against the one wanted; true: it was made.
func settle(t *rapid.T, step string, got, want error) bool {
	if invalid := (*domain.Invalid)(nil); errors.As(want, &invalid) {
		if !errors.As(got, &invalid) || !strings.HasSuffix(got.Error(), want.Error()) {
			t.Fatalf("%s: got %v, want %v", step, got, want)
		}
		return false
	}
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", step, got, want)
	}
	return want == nil
}

func actor(t *rapid.T) domain.Actor {
	return rapid.SampledFrom([]domain.Actor{"anna", "Зоя", domain.Anonymous}).Draw(t, "who")
}

func (b *book) campaignID(t *rapid.T) string {
	return b.prefix + rapid.SampledFrom([]string{"-x", "-x", "-x", "-y"}).Draw(t, "campaign")
}

func (b *book) id(t *rapid.T) string {
	return b.ids[rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(t, "pool")]
}

// version is one that a client may name: any, the pool's, or another.
func (b *book) version(t *rapid.T, k *kept) (version int64, stale bool) {
	have := int64(1)
	if k != nil {
		have = k.pool.Version
	}
	version = rapid.SampledFrom([]int64{0, 0, have, have, have + 1, max(have-1, 0)}).Draw(t, "version")
	return version, version != 0 && version != have
}

// change makes a random edit of some settings.
func (b *book) change(t *rapid.T) func(domain.Pool) domain.Pool {
	var edits []func(*domain.Pool)
	for range rapid.IntRange(0, 3).Draw(t, "settings") {
		switch rapid.IntRange(0, 12).Draw(t, "setting") {
		case 0:
			id := b.id(t)
			edits = append(edits, func(p *domain.Pool) { p.ID = id })
		case 1:
			id := b.campaignID(t)
			edits = append(edits, func(p *domain.Pool) { p.CampaignID = id })
		case 2:
			name := rapid.SampledFrom([]string{"Beach", "Été", "\n"}).Draw(t, "name")
			edits = append(edits, func(p *domain.Pool) { p.Name = name })
		case 3:
			text := rapid.SampledFrom([]string{"Ten off.", "Ten off.", ""}).Draw(t, "description")
			edits = append(edits, func(p *domain.Pool) { p.Description = text })
		case 4:
			name := rapid.SampledFrom([]string{"promo_code", "code"}).Draw(t, "parameter_name")
			edits = append(edits, func(p *domain.Pool) { p.ParameterName = name })
		case 5:
			on := rapid.Bool().Draw(t, "notify")
			edits = append(edits, func(p *domain.Pool) { p.Notify = on })
		case 6:
			below := rapid.SampledFrom([]int64{0, 5, math.MaxInt64}).Draw(t, "notify_below")
			edits = append(edits, func(p *domain.Pool) {
				if p.NotifyBelow = nil; below > 0 {
					p.NotifyBelow = &below
				}
			})
		case 7:
			on := rapid.Bool().Draw(t, "multi_use")
			edits = append(edits, func(p *domain.Pool) { p.MultiUse = on })
		case 8:
			on := rapid.Bool().Draw(t, "check_issued")
			edits = append(edits, func(p *domain.Pool) { p.CheckIssued = on })
		case 9:
			days := rapid.IntRange(0, 2).Draw(t, "validity")
			edits = append(edits, func(p *domain.Pool) { p.Validity = domain.Period{Days: days} })
		case 10:
			who := rapid.SampledFrom([]domain.Processing{domain.Internal, domain.External}).Draw(t, "processing")
			edits = append(edits, func(p *domain.Pool) { p.Processing = who })
		case 11:
			at := b.bound(t, "issue_start")
			edits = append(edits, func(p *domain.Pool) { p.IssueStart = at })
		case 12:
			at := b.bound(t, "issue_end")
			edits = append(edits, func(p *domain.Pool) { p.IssueEnd = at })
		}
	}
	return func(p domain.Pool) domain.Pool {
		for _, edit := range edits {
			edit(&p)
		}
		return p
	}
}

// bound is a time that lies clearly before or after now, or none.
func (b *book) bound(t *rapid.T, name string) time.Time {
	hours := rapid.SampledFrom([]time.Duration{0, 0, -2, -1, 1, 2}).Draw(t, name)
	if hours == 0 {
		return time.Time{}
	}
	return b.now.Add(hours * time.Hour)
}

// noCampaign is the error of a pool that shall be in a campaign that is not.
func (b *book) noCampaign(id string) error {
	if b.campaigns[id] != nil {
		return nil
	}
	return &domain.Invalid{Problems: []domain.Problem{{Field: "campaign_id", Detail: "there is no such campaign: create it first"}}}
}

func (b *book) create(t *rapid.T) {
	p := b.change(t)(domain.Pool{ID: b.id(t), CampaignID: b.campaignID(t), Name: "Beach", ParameterName: "promo_code", Processing: domain.Internal})
	b.make(t, actor(t), p, rapid.Bool().Draw(t, "numbered"))
}

func (b *book) make(t *rapid.T, who domain.Actor, p domain.Pool, numbered bool) {
	want := p.Check()
	if want == nil {
		want = b.noCampaign(p.CampaignID)
	}
	id := p.ID
	for n := 2; want == nil && b.pools[id] != nil; n++ {
		if !numbered {
			want = domain.ErrTaken
			break
		}
		id = fmt.Sprintf("%s-%d", p.ID, n)
	}
	got, err := b.CreatePool(b.ctx, who, p, numbered)
	if !settle(t, "create", err, want) {
		return
	}
	p.ID, p.State, p.Version = id, domain.Draft, 1
	b.pools[id] = &kept{pool: p, story: []told{{who, domain.PoolCreated, asJSON(t, p.Born()), 1, 0}}}
	b.same(t, id, got)
}

// same holds a pool that the store returned against the one of the book, and
// takes over what only the database knows.
func (b *book) same(t *rapid.T, id string, got domain.Pool) {
	k := b.pools[id]
	want := k.pool
	want.Mode, want.CreatedAt, want.LaunchedAt, want.ArchivedAt = got.Mode, got.CreatedAt, got.LaunchedAt, got.ArchivedAt
	if want.Key == 0 {
		want.Key = got.Key
	}
	if diff := cmp.Diff(want, got, countsOnly); diff != "" {
		t.Fatalf("pool %s (-want +got):\n%s", id, diff)
	}
	k.pool = got
}

func (b *book) edit(t *rapid.T) {
	id, who, change := b.id(t), actor(t), b.change(t)
	k := b.pools[id]
	version, stale := b.version(t, k)
	var want error
	var p, q domain.Pool
	switch {
	case k == nil:
		want = domain.ErrNotFound
	case stale:
		want = domain.ErrStale
	default:
		p = k.pool
		q = change(p)
		if want = p.CheckEdit(q); want == nil && q.CampaignID != p.CampaignID {
			want = b.noCampaign(q.CampaignID)
		}
		if want == nil && q.ID != p.ID && b.pools[q.ID] != nil {
			want = domain.ErrTaken
		}
	}
	got, err := b.UpdatePool(b.ctx, who, id, version, func(p domain.Pool) (domain.Pool, error) { return change(p), nil })
	if !settle(t, "edit "+id, err, want) {
		return
	}
	if edits := p.Edits(&q); len(edits) > 0 {
		q.Version++
		k.story = append(k.story, told{who, domain.PoolEdited, asJSON(t, edits), q.Version, q.Revision})
	}
	k.pool = q
	delete(b.pools, id)
	b.pools[q.ID] = k
	b.same(t, q.ID, got)
}

func (b *book) launch(t *rapid.T) {
	b.move(t, domain.Draft, domain.Active, domain.PoolLaunched, b.LaunchPool)
}

func (b *book) archive(t *rapid.T) {
	b.move(t, domain.Active, domain.Archived, domain.PoolArchived, b.ArchivePool)
}

// storeMove brings a pool into another state.
type storeMove func(ctx context.Context, who domain.Actor, id string, version int64) (domain.Pool, error)

func (b *book) move(t *rapid.T, from, to domain.State, action domain.Action, move storeMove) {
	if rapid.IntRange(0, 3).Draw(t, "seldom") > 0 && to == domain.Archived {
		t.Skip("goes on")
	}
	id := b.id(t)
	version, stale := b.version(t, b.pools[id])
	b.bring(t, id, actor(t), version, stale, from, to, action, move)
}

func (b *book) bring(t *rapid.T, id string, who domain.Actor, version int64, stale bool, from, to domain.State, action domain.Action, move storeMove) {
	k := b.pools[id]
	var want error
	switch {
	case k == nil:
		want = domain.ErrNotFound
	case k.pool.State == to: // a repeat, whatever it takes the version to be
	case k.pool.State != from:
		want = domain.ErrState
	case stale:
		want = domain.ErrStale
	case to == domain.Active:
		want = k.pool.CheckLaunch()
	}
	got, err := move(b.ctx, who, id, version)
	if !settle(t, fmt.Sprintf("bring %s to %s", id, to), err, want) {
		return
	}
	if k.pool.State != to {
		k.pool.State = to
		k.pool.Version++
		k.pool.Revision++
		changes := domain.Changes{"state": {From: string(from), To: string(to)}}
		k.story = append(k.story, told{who, action, asJSON(t, changes), k.pool.Version, k.pool.Revision})
	}
	b.same(t, id, got)
}

func (b *book) delete(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "seldom") > 0 {
		t.Skip("stays")
	}
	id, who := b.id(t), actor(t)
	k := b.pools[id]
	version, stale := b.version(t, k)
	var want error
	switch {
	case k == nil:
		want = domain.ErrNotFound
	case stale:
		want = domain.ErrStale
	case k.pool.State != domain.Draft:
		want = domain.ErrState
	}
	if !settle(t, "delete "+id, b.DeletePool(b.ctx, who, id, version), want) {
		return
	}
	k.story = append(k.story, told{who, domain.PoolDeleted, asJSON(t, k.pool.Gone()), k.pool.Version, k.pool.Revision})
	b.gone = append(b.gone, k)
	delete(b.pools, id)
}

func (b *book) fill(t *rapid.T) {
	id := b.id(t)
	k := b.pools[id]
	if k == nil || k.pool.State == domain.Archived {
		t.Skip("takes no codes")
	}
	b.lay(id, rapid.Int64Range(1, 5).Draw(t, "codes"),
		domain.Window{IssueStart: b.bound(t, "issue_start"), IssueEnd: b.bound(t, "issue_end"), AvailableTill: b.bound(t, "available_till")})
}

func (b *book) lay(id string, codes int64, w domain.Window) {
	k := b.pools[id]
	no := b.Fill(id, fmt.Sprintf("%d-%d-", k.pool.Key, len(k.lots)), int(codes), orNull(w.IssueStart), orNull(w.IssueEnd), nil, orNull(w.AvailableTill))
	k.lots = append(k.lots, &keptLot{no: no, size: codes, window: w})
	k.pool.Revision++
}

func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// issue takes one code of a lot, as a batch does that found it free.
func (b *book) issue(t *rapid.T) {
	k := b.pools[b.id(t)]
	if k == nil || k.pool.State != domain.Active || len(k.lots) == 0 {
		t.Skip("nothing to issue")
	}
	lot := rapid.SampledFrom(k.lots).Draw(t, "lot")
	if lot.issued == lot.size && !k.pool.MultiUse || !lot.window.Fits(b.now) || !k.pool.Open(b.now) {
		t.Skip("no code to issue")
	}
	b.Exec("UPDATE runs SET next = next + 1 WHERE pool = $1 AND lot = $2", k.pool.Key, lot.no)
	b.Exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp(), $4, 'customer')`, k.pool.Key, lot.no, lot.issued, fmt.Sprint(lot.no, "-", lot.issued))
	lot.issued++
	b.issued++
}

// stock counts a pool's codes one by one.
func (b *book) stock(k *kept) (s domain.Stock) {
	for _, lot := range k.lots {
		s.Total += lot.size
		s.Issued += lot.issued
		left := lot.size - lot.issued
		if k.pool.MultiUse {
			left = lot.size
		}
		p, w := &k.pool, &lot.window
		over := func(end time.Time) bool { return !end.IsZero() && end.Before(b.now) }
		switch {
		case over(p.IssueEnd) || over(w.IssueEnd) || over(w.AvailableTill):
			s.Expired += left
		case p.IssueStart.After(b.now) || w.IssueStart.After(b.now):
			s.Scheduled += left
		default:
			s.Available += left
		}
	}
	return s
}

func (b *book) addCampaign(t *rapid.T, id string) {
	who := domain.Actor("anna")
	_, err := b.CreateCampaign(b.ctx, who, domain.Campaign{ID: id, Name: "Summer"}, false)
	if b.campaigns[id] != nil {
		settle(t, "create campaign", err, domain.ErrTaken)
		return
	}
	if settle(t, "create campaign", err, nil) {
		born := domain.Campaign{ID: id, Name: "Summer"}.Born()
		b.campaigns[id] = &keptCampaign{name: "Summer", story: []told{{Actor: who, Action: domain.CampaignCreated, Changes: asJSON(t, born)}}}
	}
}

func (b *book) campaign(t *rapid.T) { b.addCampaign(t, b.campaignID(t)) }

func (b *book) rename(t *rapid.T) {
	id, who := b.campaignID(t), actor(t)
	name := rapid.SampledFrom([]string{"Summer", "Été", " "}).Draw(t, "name")
	c := b.campaigns[id]
	want := domain.Campaign{ID: id, Name: name}.Check()
	if want == nil && c == nil {
		want = domain.ErrNotFound
	}
	got, err := b.RenameCampaign(b.ctx, who, id, name)
	if !settle(t, "rename", err, want) {
		return
	}
	if got.ID != id || got.Name != name || got.CreatedAt.IsZero() {
		t.Fatalf("renamed to %q: got %+v", name, got)
	}
	if c.name != name {
		changes := domain.Changes{"name": {From: c.name, To: name}}
		c.story = append(c.story, told{Actor: who, Action: domain.CampaignRenamed, Changes: asJSON(t, changes)})
		c.name = name
	}
}

func (b *book) deleteCampaign(t *rapid.T) {
	id := b.campaignID(t)
	var want error
	if b.campaigns[id] == nil {
		want = domain.ErrNotFound
	}
	for _, k := range b.pools {
		if k.pool.CampaignID == id {
			want = domain.ErrInUse
		}
	}
	if settle(t, "delete campaign", b.DeleteCampaign(b.ctx, actor(t), id), want) {
		delete(b.campaigns, id)
	}
}

// check holds everything in the store against the book.
func (b *book) check(t *rapid.T) {
	listed, err := b.ListPools(b.ctx, domain.PoolFilter{Text: b.prefix + "-"}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, p := range listed {
		ids = append(ids, p.ID)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(b.pools)), ids, cmpEmpty); diff != "" {
		t.Fatalf("pools (-want +got):\n%s", diff)
	}
	for i, id := range ids {
		k := b.pools[id]
		b.same(t, id, listed[i])
		stock, err := b.Stock(b.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.stock(k), stock, countsOnly); diff != "" {
			t.Fatalf("stock of %s (-want +got):\n%s", id, diff)
		}
		if !k.pool.MultiUse && stock.Total != stock.Issued+stock.Available+stock.Scheduled+stock.Expired+stock.Withdrawn {
			t.Fatalf("stock of %s does not add up: %+v", id, stock)
		}
		b.checkStory(t, id, k.story, func(below int64, limit int) ([]domain.Entry, error) {
			return b.PoolHistory(b.ctx, id, domain.EntryFilter{}, below, limit)
		})
	}
	for id, c := range b.campaigns {
		b.checkStory(t, id, c.story, func(below int64, limit int) ([]domain.Entry, error) {
			return b.CampaignHistory(b.ctx, id, domain.EntryFilter{}, below, limit)
		})
	}
	for _, k := range b.gone {
		if n := b.Int("SELECT count(*) FROM history WHERE pool = $1", k.pool.Key); n != int64(len(k.story)) {
			t.Fatalf("the history of a pool that is gone has %d entries, want %d", n, len(k.story))
		}
	}
}

// cmpEmpty makes an empty list the same as none.
var cmpEmpty = cmp.Transformer("list", func(s []string) string { return strings.Join(s, " ") })

// checkStory reads a history page by page, the newest first.
func (b *book) checkStory(t *rapid.T, id string, want []told, read func(below int64, limit int) ([]domain.Entry, error)) {
	var got []told
	below, at := int64(math.MaxInt64), time.Now().Add(time.Hour)
	for {
		entries, err := read(below, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.No >= below || e.At.After(at) {
				t.Fatalf("history of %s: entry %d of %v stands behind %d of %v", id, e.No, e.At, below, at)
			}
			below, at = e.No, e.At
			got = append(got, told{e.Actor, e.Action, asJSON(t, e.Changes), e.Version, e.Revision})
		}
		if len(entries) < 3 {
			break
		}
	}
	slices.Reverse(got)
	if diff := cmp.Diff(want, got, countsOnly); diff != "" {
		t.Fatalf("history of %s (-want +got):\n%s", id, diff)
	}
}
