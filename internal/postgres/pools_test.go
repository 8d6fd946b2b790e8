package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// desk is the store as staff use it, with a connection beside it.
type desk struct {
	*postgres.Store
	t   *testing.T
	ctx context.Context
	url string
	sql *pgx.Conn
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return openDesk(t, pgtest.Database(t, postgres.Migrate), "")
}

// openDesk opens the store through the url via, if given, and the connection
// beside it through url.
func openDesk(t *testing.T, url, via string) *desk {
	t.Helper()
	if via == "" {
		via = url
	}
	store, err := postgres.Open(t.Context(), via, "test", 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	sql, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sql.Close(context.Background()) })
	d := &desk{Store: store, t: t, ctx: t.Context(), url: url, sql: sql}
	if _, err := d.CreateCampaign(d.ctx, "test", domain.Campaign{ID: "summer", Name: "Summer"}, false); err != nil {
		t.Fatal(err)
	}
	return d
}

func draft(id string) domain.Pool {
	return domain.Pool{
		ID: id, CampaignID: "summer", Name: "Pool " + id, Description: "for tests",
		ParameterName: "promo_code", Processing: domain.Internal,
	}
}

func (d *desk) Create(id string) domain.Pool {
	d.t.Helper()
	p, err := d.CreatePool(d.ctx, "test", draft(id), false)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// Fill lays down a lot of n codes c0…, with the window's times in order.
func (d *desk) Fill(id, prefix string, n int, window ...any) (lot int32) {
	d.t.Helper()
	window = append(window, nil, nil, nil, nil)[:4]
	err := d.sql.QueryRow(d.ctx, "SELECT nextval('lot_numbers')::int").Scan(&lot)
	if err == nil {
		_, err = d.sql.Exec(d.ctx, `INSERT INTO codes (pool, lot, seq, code)
			SELECT p.pool, $2, s, $3 || s FROM pools p, generate_series(0, $4::bigint - 1) s WHERE p.id = $1`, id, lot, prefix, n)
	}
	if err == nil {
		_, err = d.sql.Exec(d.ctx, `SELECT add_lot(pool, $2, $3, NULL, $4, $5, $6, $7) FROM pools WHERE id = $1`,
			append([]any{id, lot, n}, window...)...)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return lot
}

func (d *desk) Launch(id string) domain.Pool {
	d.t.Helper()
	p, err := d.LaunchPool(d.ctx, "test", id, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// Exec runs a statement beside the store.
func (d *desk) Exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.sql.Exec(d.ctx, sql, args...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) Int(sql string, args ...any) (n int64) {
	d.t.Helper()
	if err := d.sql.QueryRow(d.ctx, sql, args...).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// Hold takes n codes ahead for partition 1.
func (d *desk) Hold(id string, n int) {
	d.t.Helper()
	if got := d.Int("SELECT coalesce(sum(r.hi - r.next), 0)::bigint FROM pools p, refill(1, p.pool, $2) r WHERE p.id = $1", id, n); got != int64(n) {
		d.t.Fatalf("got %d codes held, want %d", got, n)
	}
}

// IssueHeld issues the first n held codes of the pool, as a batch does.
func (d *desk) IssueHeld(id string, n int) {
	d.t.Helper()
	d.Exec(`WITH r AS (
		UPDATE runs SET next = next + $2 WHERE partition = 1 AND pool = (SELECT pool FROM pools WHERE id = $1)
		RETURNING pool, lot, next - $2 AS first)
		INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
		SELECT r.pool, r.lot, r.first + i, clock_timestamp(), clock_timestamp(), 'request-' || r.first + i, 'customer' FROM r, generate_series(0, $2::bigint - 1) i`, id, n)
}

func TestPoolCreated(t *testing.T) {
	d := newDesk(t)
	below := int64(50)
	want := draft("beach")
	want.NotifyBelow, want.Notify = &below, true
	want.CheckIssued, want.Validity = true, domain.Period{Days: 30, Clock: time.Hour}
	got, err := d.CreatePool(d.ctx, "test", want, false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Key == 0 || got.Version != 1 || got.State != domain.Draft || time.Since(got.CreatedAt).Abs() > time.Minute {
		t.Errorf("got key %d, version %d, state %s, created %s", got.Key, got.Version, got.State, got.CreatedAt)
	}
	want.Key, want.Version, want.State, want.Mode, want.CreatedAt = got.Key, 1, domain.Draft, domain.Scarce, got.CreatedAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	read, err := d.Pool(d.ctx, "beach")
	if diff := cmp.Diff(got, read); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := d.CreatePool(d.ctx, "test", want, false); !errors.Is(err, domain.ErrTaken) {
		t.Errorf("got %v, want taken", err)
	}
	want.ID, want.CampaignID = "other", "nowhere"
	var invalid *domain.Invalid
	if _, err := d.CreatePool(d.ctx, "test", want, false); !errors.As(err, &invalid) || invalid.Problems[0].Field != "campaign_id" {
		t.Errorf("got %v, want an invalid campaign_id", err)
	}
	if _, err := d.Pool(d.ctx, "other"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

// TestPoolSameName: twenty at once by one name get twenty ids without a gap.
func TestPoolSameName(t *testing.T) {
	d := newDesk(t)
	d.Create("sale-3") // somebody's own choice, in the way
	var mu sync.Mutex
	var ids, campaigns []string
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			p, err := d.CreatePool(d.ctx, "test", draft("sale"), true)
			c, err2 := d.CreateCampaign(d.ctx, "test", domain.Campaign{ID: "autumn", Name: "Autumn"}, true)
			if err != nil || err2 != nil {
				t.Error(err, err2)
			}
			mu.Lock()
			defer mu.Unlock()
			ids, campaigns = append(ids, p.ID), append(campaigns, c.ID)
		})
	}
	group.Wait()
	want, wantCampaigns := []string{"sale"}, []string{"autumn"}
	for n := 2; n <= 21; n++ {
		if n != 3 {
			want = append(want, fmt.Sprintf("sale-%d", n))
		}
		if n <= 20 {
			wantCampaigns = append(wantCampaigns, fmt.Sprintf("autumn-%d", n))
		}
	}
	for _, list := range [][]string{ids, campaigns, want, wantCampaigns} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantCampaigns, campaigns); diff != "" {
		t.Error(diff)
	}
}

func TestPoolsPaged(t *testing.T) {
	d := newDesk(t)
	if _, err := d.CreateCampaign(d.ctx, "test", domain.Campaign{ID: "winter", Name: "Winter"}, false); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		p := draft(fmt.Sprintf("pool-%d", i))
		if i%2 == 1 {
			p.CampaignID = "winter"
		}
		if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
			t.Fatal(err)
		}
	}
	d.Launch("pool-3")
	if _, err := d.UpdatePool(d.ctx, "test", "pool-6", 0, rename("Été [10 %] \\d")); err != nil {
		t.Fatal(err)
	}
	list := func(which domain.PoolFilter, after string, limit int) string {
		t.Helper()
		pools, err := d.ListPools(d.ctx, which, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range pools {
			ids = append(ids, strings.TrimPrefix(p.ID, "pool-"))
		}
		return strings.Join(ids, "")
	}
	winter := domain.PoolFilter{CampaignID: "winter"}
	text := func(s string) domain.PoolFilter { return domain.PoolFilter{Text: s} }
	for _, tt := range []struct {
		which domain.PoolFilter
		after string
		limit int
		want  string
	}{
		{limit: 4, want: "0123"},
		{after: "pool-3", limit: 4, want: "4567"},
		{after: "pool-7", limit: 4, want: "89"},
		{which: winter, limit: 10, want: "13579"},
		{which: domain.PoolFilter{CampaignID: "winter", State: domain.Draft}, after: "pool-1", limit: 2, want: "57"},
		{which: domain.PoolFilter{State: domain.Active}, limit: 10, want: "3"},
		{which: domain.PoolFilter{CampaignID: "none"}, limit: 10, want: ""},
		{which: text("ÉTÉ"), limit: 10, want: "6"},
		{which: text("été [10 %]"), limit: 10, want: "6"},
		{which: text(`[10 %] \D`), limit: 10, want: "6"},
		{which: text("."), limit: 10, want: ""},
		{which: text("POOL POOL-"), limit: 10, want: "012345789"},
		{which: text("ol-6"), limit: 10, want: "6"}, // the id
		{which: domain.PoolFilter{CampaignID: "winter", Text: "Pool"}, after: "pool-2", limit: 2, want: "35"},
	} {
		if got := list(tt.which, tt.after, tt.limit); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}

func TestCampaign(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	if err := d.DeleteCampaign(d.ctx, "test", "summer"); !errors.Is(err, domain.ErrInUse) {
		t.Errorf("got %v, want in use", err)
	}
	if c, err := d.RenameCampaign(d.ctx, "test", "summer", "Été"); err != nil || c.Name != "Été" {
		t.Errorf("got %+v, %v", c, err)
	}
	for text, want := range map[string]int{"": 1, "éTÉ": 1, "umm": 1, "SUMMER": 0, "b": 0} {
		if list, err := d.ListCampaigns(d.ctx, text, "", 10); err != nil || len(list) != want {
			t.Errorf("%q: got %v, %v, want %d", text, list, err, want)
		}
	}
	if err := d.DeletePool(d.ctx, "test", "beach", 0); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteCampaign(d.ctx, "test", "summer"); err != nil {
		t.Error(err)
	}
	if err := d.DeleteCampaign(d.ctx, "test", "summer"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := d.RenameCampaign(d.ctx, "test", "summer", "x"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

// TestCampaignDeletedMeanwhile: pools are made in a campaign that is deleted
// again and again; none is left without a campaign, and all errors are known.
func TestCampaignDeletedMeanwhile(t *testing.T) {
	d := newDesk(t)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 25 {
				p := draft(fmt.Sprintf("pool-%d-%d", i, j))
				p.CampaignID = "brief"
				_, err := d.CreatePool(d.ctx, "test", p, false)
				if err == nil {
					err = d.DeletePool(d.ctx, "test", p.ID, 0)
				}
				if invalid := (*domain.Invalid)(nil); err != nil && !errors.As(err, &invalid) {
					t.Errorf("pool: %v", err)
				}
			}
		})
	}
	group.Go(func() {
		for range 50 {
			_, err := d.CreateCampaign(d.ctx, "test", domain.Campaign{ID: "brief", Name: "Brief"}, false)
			if err != nil && !errors.Is(err, domain.ErrTaken) {
				t.Errorf("create campaign: %v", err)
			}
			if err := d.DeleteCampaign(d.ctx, "test", "brief"); err != nil && !errors.Is(err, domain.ErrInUse) {
				t.Errorf("delete campaign: %v", err)
			}
		}
	})
	group.Wait()
}

func rename(name string) func(domain.Pool) (domain.Pool, error) {
	return func(p domain.Pool) (domain.Pool, error) {
		p.Name = name
		return p, nil
	}
}

func TestPoolEdited(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	p, err := d.UpdatePool(d.ctx, "test", "beach", 1, rename("Strand"))
	if err != nil || p.Version != 2 || p.Name != "Strand" {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := d.UpdatePool(d.ctx, "test", "beach", 1, rename("Plage")); !errors.Is(err, domain.ErrStale) {
		t.Errorf("got %v, want stale", err)
	}
	if p, err := d.UpdatePool(d.ctx, "test", "beach", 2, rename("Strand")); err != nil || p.Version != 2 {
		t.Errorf("an edit that changes nothing: got version %d, %v", p.Version, err)
	}
	d.Create("taken")
	moveTo := func(id string) func(domain.Pool) (domain.Pool, error) {
		return func(p domain.Pool) (domain.Pool, error) { p.ID = id; return p, nil }
	}
	if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, moveTo("taken")); !errors.Is(err, domain.ErrTaken) {
		t.Errorf("got %v, want taken", err)
	}
	if p, err := d.UpdatePool(d.ctx, "test", "beach", 0, moveTo("shore")); err != nil || p.ID != "shore" || p.Version != 3 {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := d.Pool(d.ctx, "beach"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	d.Launch("shore")
	var invalid *domain.Invalid
	if _, err := d.UpdatePool(d.ctx, "test", "shore", 0, moveTo("coast")); !errors.As(err, &invalid) || invalid.Problems[0].Field != "id" {
		t.Errorf("got %v, want a frozen id", err)
	}
}

// TestPoolLostUpdate: of many who edit the version they read, one wins each
// round; without a version nobody's change of another setting is lost.
func TestPoolLostUpdate(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	var won, stale atomic.Int32
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			_, err := d.UpdatePool(d.ctx, "test", "beach", 1, rename(fmt.Sprint("writer ", i)))
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, domain.ErrStale):
				stale.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || stale.Load() != 9 {
		t.Errorf("got %d winners and %d stale, want 1 and 9", won.Load(), stale.Load())
	}
	for range 20 {
		group.Go(func() {
			if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, func(p domain.Pool) (domain.Pool, error) {
				p.Description += "x"
				return p, nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	p, err := d.Pool(d.ctx, "beach")
	if want := "for tests" + strings.Repeat("x", 20); err != nil || p.Description != want || p.Version != 22 {
		t.Errorf("got %q at version %d, %v", p.Description, p.Version, err)
	}
}

// TestPoolRenamedCrosswise: ids that are exchanged at once deadlock nobody.
func TestPoolRenamedCrosswise(t *testing.T) {
	d := newDesk(t)
	d.Create("a")
	d.Create("b")
	var group sync.WaitGroup
	for _, way := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "c"}, {"c", "a"}, {"b", "c"}, {"c", "b"}} {
		group.Go(func() {
			for range 20 {
				_, err := d.UpdatePool(d.ctx, "test", way[0], 0, func(p domain.Pool) (domain.Pool, error) { p.ID = way[1]; return p, nil })
				if err != nil && !errors.Is(err, domain.ErrTaken) && !errors.Is(err, domain.ErrNotFound) {
					t.Errorf("%v: %v", way, err)
				}
			}
		})
	}
	group.Wait()
	if n := d.Int("SELECT count(*) FROM pools"); n != 2 {
		t.Errorf("got %d pools, want 2", n)
	}
}

func TestPoolDeleted(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	d.Fill("beach", "b", 120_000)
	d.Create("other")
	d.Fill("other", "o", 10)
	if err := d.DeletePool(d.ctx, "test", "beach", 7); !errors.Is(err, domain.ErrStale) {
		t.Errorf("got %v, want stale", err)
	}
	if err := d.DeletePool(d.ctx, "test", "beach", 1); err != nil {
		t.Fatal(err)
	}
	if err := d.DeletePool(d.ctx, "test", "beach", 0); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	for table, want := range map[string]int64{"pools": 1, "lots": 1, "runs": 1, "codes": 10} {
		if got := d.Int("SELECT count(*) FROM " + table); got != want {
			t.Errorf("%s: got %d rows, want %d", table, got, want)
		}
	}
	d.Launch("other")
	if err := d.DeletePool(d.ctx, "test", "other", 0); !errors.Is(err, domain.ErrState) {
		t.Errorf("got %v, want state", err)
	}
}

// TestOrphansDeleted: codes that a crash left behind go, others stay.
func TestOrphansDeleted(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"a", "b", "c"} {
		d.Create(id)
		d.Fill(id, id, 5)
	}
	d.Exec("DELETE FROM pools WHERE id IN ('a', 'c')")
	if err := d.DeleteOrphans(d.ctx); err != nil {
		t.Fatal(err)
	}
	if got, all := d.Int("SELECT count(*) FROM codes WHERE code LIKE 'b%'"), d.Int("SELECT count(*) FROM codes"); got != 5 || all != 5 {
		t.Errorf("got %d of b and %d in all, want 5 and 5", got, all)
	}
}

func TestPoolLaunched(t *testing.T) {
	d := newDesk(t)
	bare := draft("bare")
	bare.Description = " "
	if _, err := d.CreatePool(d.ctx, "test", bare, false); err != nil {
		t.Fatal(err)
	}
	var invalid *domain.Invalid
	if _, err := d.LaunchPool(d.ctx, "test", "bare", 0); !errors.Is(err, domain.ErrNotLaunchable) || !errors.As(err, &invalid) || invalid.Problems[0].Field != "description" {
		t.Errorf("got %v, want a missing description", err)
	}
	d.Create("small")
	d.Fill("small", "s", 10)
	d.Create("large")
	d.Fill("large", "l", 4800)
	d.Create("expired")
	d.Fill("expired", "x", 4800, nil, time.Now().Add(-time.Hour))
	many := draft("many")
	many.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", many, false); err != nil {
		t.Fatal(err)
	}
	for id, mode := range map[string]domain.Mode{"small": domain.Scarce, "large": domain.Ample, "expired": domain.Scarce, "many": domain.Ample} {
		before, _ := d.Pool(d.ctx, id)
		if _, err := d.LaunchPool(d.ctx, "test", id, before.Version+1); !errors.Is(err, domain.ErrStale) {
			t.Errorf("%s: got %v, want stale", id, err)
		}
		p, err := d.LaunchPool(d.ctx, "test", id, before.Version)
		if err != nil {
			t.Fatal(err)
		}
		if p.Mode != mode || p.State != domain.Active || p.Version != before.Version+1 || p.Revision != before.Revision+1 || p.LaunchedAt.IsZero() {
			t.Errorf("%s: got %+v", id, p)
		}
		if again, err := d.LaunchPool(d.ctx, "test", id, before.Version); err != nil || !cmp.Equal(p, again) {
			t.Errorf("%s: launched again: %v %s", id, err, cmp.Diff(p, again))
		}
	}
}

// TestPoolArchived: no partition holds anything once archive has returned, and
// a batch that was at work is waited for.
func TestPoolArchived(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	if _, err := d.ArchivePool(d.ctx, "test", "beach", 0); !errors.Is(err, domain.ErrState) {
		t.Errorf("got %v, want state", err)
	}
	d.Fill("beach", "b", 6000)
	before := d.Launch("beach")
	d.Hold("beach", 200)

	tx, err := d.sql.Begin(d.ctx) // a batch with its cursor locked
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(d.ctx, "UPDATE runs SET next = next + 3 WHERE partition = 1"); err != nil {
		t.Fatal(err)
	}
	archived := make(chan domain.Pool, 1)
	go func() {
		p, err := d.ArchivePool(d.ctx, "test", "beach", 0)
		if err != nil {
			t.Error(err)
		}
		archived <- p
	}()
	select {
	case <-archived:
		t.Error("archive did not wait for the batch")
	case <-time.After(1500 * time.Millisecond): // longer than lock_timeout
	}
	if err := tx.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	p := <-archived
	if p.State != domain.Archived || p.Version != before.Version+1 || p.Revision != before.Revision+1 || p.ArchivedAt.IsZero() {
		t.Errorf("got %+v", p)
	}
	if n := d.Int("SELECT count(*) FROM runs WHERE partition IS NOT NULL OR grant_no < 2"); n != 0 {
		t.Errorf("got %d runs held or with an old stamp, want 0", n)
	}
	if n := d.Int("SELECT count(*) FROM pools p, refill(1, p.pool, 10)"); n != 0 {
		t.Errorf("got %d grants from an archived pool, want 0", n)
	}
	if again, err := d.ArchivePool(d.ctx, "test", "beach", 0); err != nil || !cmp.Equal(p, again) {
		t.Errorf("archived again: %v %s", err, cmp.Diff(p, again))
	}
	if _, err := d.LaunchPool(d.ctx, "test", "beach", 0); !errors.Is(err, domain.ErrState) {
		t.Errorf("got %v, want state", err)
	}
}

// TestPoolBuffersRevoked: a setting that buffers rely on takes them back, any
// other leaves them.
func TestPoolBuffersRevoked(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	d.Fill("beach", "b", 6000)
	d.Launch("beach")
	d.Hold("beach", 200)
	held := func() int64 {
		return d.Int("SELECT count(*) FROM runs WHERE partition IS NOT NULL")
	}
	if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, rename("Strand")); err != nil || held() != 1 {
		t.Errorf("renamed: got %d runs held, %v, want 1", held(), err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for name, edit := range map[string]func(*domain.Pool){
		"Validity":    func(p *domain.Pool) { p.Validity = domain.Period{Days: 3} },
		"CheckIssued": func(p *domain.Pool) { p.CheckIssued = true },
		"IssueStart":  func(p *domain.Pool) { p.IssueStart = now.Add(-time.Hour) },
		"IssueEnd":    func(p *domain.Pool) { p.IssueEnd = now.Add(time.Hour) },
	} {
		if held() == 0 {
			d.Hold("beach", 200)
		}
		if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, func(p domain.Pool) (domain.Pool, error) {
			edit(&p)
			return p, nil
		}); err != nil || held() != 0 {
			t.Errorf("%s: got %d runs held, %v, want 0", name, held(), err)
		}
	}
}

// TestPoolWindowEdited: a batch that is at work when the window is changed is
// waited for, and the history's time of the change lies after it.
func TestPoolWindowEdited(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	d.Fill("beach", "b", 6000)
	d.Launch("beach")
	d.Hold("beach", 200)
	tx, err := d.sql.Begin(d.ctx) // a batch with its cursor locked
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(d.ctx, "UPDATE runs SET next = next + 3 WHERE partition = 1"); err != nil {
		t.Fatal(err)
	}
	edited := make(chan error, 1)
	go func() {
		_, err := d.UpdatePool(d.ctx, "anna", "beach", 0, func(p domain.Pool) (domain.Pool, error) {
			p.IssueEnd = time.Now().UTC()
			return p, nil
		})
		edited <- err
	}()
	const waiting = "SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid))"
	for d.Int(waiting) == 0 {
		select {
		case err := <-edited:
			t.Fatalf("the edit did not wait for the batch: %v", err)
		default:
		}
	}
	var issuedAt time.Time
	if err := tx.QueryRow(d.ctx, "SELECT clock_timestamp()").Scan(&issuedAt); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(d.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-edited; err != nil {
		t.Fatal(err)
	}
	entries, err := d.PoolHistory(d.ctx, "beach", domain.EntryFilter{}, math.MaxInt64, 1)
	if err != nil || len(entries) != 1 || entries[0].Changes["issue_end"].To == nil {
		t.Fatalf("got %+v, %v", entries, err)
	}
	if !entries[0].At.After(issuedAt) {
		t.Errorf("changed at %v, although a batch issued at %v by the window before", entries[0].At, issuedAt)
	}
}

func TestPoolUseChanged(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	d.Fill("beach", "b", 10)
	for _, tt := range []struct {
		multi bool
		hi    int64
	}{{true, 9000000000000000}, {false, 10}, {true, 9000000000000000}} {
		if _, err := d.UpdatePool(d.ctx, "test", "beach", 0, func(p domain.Pool) (domain.Pool, error) {
			p.MultiUse = tt.multi
			return p, nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := d.Int("SELECT hi FROM runs"); got != tt.hi {
			t.Errorf("multi-use %t: got hi %d, want %d", tt.multi, got, tt.hi)
		}
	}
}

// TestPoolLifeRaced: launch, archive, edit and delete at once leave a pool that
// is all of one state, and give nothing but errors that have a meaning.
func TestPoolLifeRaced(t *testing.T) {
	d := newDesk(t)
	for round := range 10 {
		id := fmt.Sprintf("pool-%d", round)
		d.Create(id)
		d.Fill(id, "c", 6000)
		var group sync.WaitGroup
		try := func(f func() error) {
			group.Go(func() {
				err := f()
				for _, known := range []error{nil, domain.ErrState, domain.ErrStale, domain.ErrNotFound} {
					if errors.Is(err, known) {
						return
					}
				}
				t.Errorf("round %d: %v", round, err)
			})
		}
		try(func() error { _, err := d.LaunchPool(d.ctx, "test", id, 0); return err })
		try(func() error { _, err := d.LaunchPool(d.ctx, "test", id, 1); return err })
		try(func() error { _, err := d.ArchivePool(d.ctx, "test", id, 0); return err })
		try(func() error { return d.DeletePool(d.ctx, "test", id, 0) })
		try(func() error { _, err := d.UpdatePool(d.ctx, "test", id, 1, rename("x")); return err })
		try(func() error {
			_, err := d.UpdatePool(d.ctx, "test", id, 0, func(p domain.Pool) (domain.Pool, error) {
				p.Validity = domain.Period{Days: p.Validity.Days + 1}
				return p, nil
			})
			return err
		})
		group.Wait()
		p, err := d.Pool(d.ctx, id)
		lots := d.Int("SELECT count(*) FROM lots l WHERE NOT EXISTS (SELECT FROM pools p WHERE p.pool = l.pool)")
		held := d.Int("SELECT count(*) FROM runs r JOIN pools p USING (pool) WHERE p.state = 'archived' AND r.partition IS NOT NULL")
		switch {
		case lots != 0 || held != 0:
			t.Errorf("round %d: %d lots without a pool, %d held runs of an archived one", round, lots, held)
		case errors.Is(err, domain.ErrNotFound):
		case err != nil || (p.State != domain.Draft) == p.LaunchedAt.IsZero() || (p.State == domain.Archived) == p.ArchivedAt.IsZero():
			t.Errorf("round %d: %+v, %v", round, p, err)
		}
	}
}

// TestPoolBusy: a lock that is not given up in time is told as such, and
// nothing has changed.
func TestPoolBusy(t *testing.T) {
	d := newDesk(t)
	d.Create("beach")
	tx, err := d.sql.Begin(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(d.ctx, "SELECT 1 FROM pools FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.ctx, 1500*time.Millisecond)
	defer cancel()
	if _, err := d.UpdatePool(ctx, "test", "beach", 0, rename("Strand")); !errors.Is(err, domain.ErrAway) {
		t.Errorf("got %v, want away", err)
	}
	if err := tx.Rollback(d.ctx); err != nil {
		t.Fatal(err)
	}
	if p, err := d.Pool(d.ctx, "beach"); err != nil || p.Version != 1 {
		t.Errorf("got %+v, %v, want it unchanged", p, err)
	}
}

// TestPoolLostCommit cuts the connection when COMMIT has reached the server and
// its answer has not reached us. Every change is made once, and says so.
func TestPoolLostCommit(t *testing.T) {
	url := pgtest.Database(t, postgres.Migrate)
	w := newWire(t, url)
	d := openDesk(t, url, w.url)
	var pool domain.Pool
	steps := []struct {
		name string
		do   func() error
	}{
		{"CreateCampaign", func() error {
			c, err := d.CreateCampaign(d.ctx, "test", domain.Campaign{ID: "summer", Name: "Summer"}, true)
			if c.ID != "summer-2" {
				t.Errorf("got campaign %s, want summer-2", c.ID)
			}
			return err
		}},
		{"CreatePool", func() (err error) {
			pool, err = d.CreatePool(d.ctx, "test", draft("beach"), false)
			return err
		}},
		{"CreateNumbered", func() error {
			p, err := d.CreatePool(d.ctx, "test", draft("beach"), true)
			if p.ID != "beach-2" {
				t.Errorf("got pool %s, want beach-2", p.ID)
			}
			return err
		}},
		{"Update", func() (err error) {
			pool, err = d.UpdatePool(d.ctx, "test", "beach", pool.Version, func(p domain.Pool) (domain.Pool, error) {
				p.ID, p.Name = "shore", "Shore"
				return p, nil
			})
			return err
		}},
		{"Rename", func() error {
			_, err := d.RenameCampaign(d.ctx, "test", "summer-2", "Autumn")
			return err
		}},
		{"Launch", func() (err error) {
			pool, err = d.LaunchPool(d.ctx, "test", "shore", pool.Version)
			return err
		}},
		{"Archive", func() (err error) {
			pool, err = d.ArchivePool(d.ctx, "test", "shore", pool.Version)
			return err
		}},
		{"Delete", func() error { return d.DeletePool(d.ctx, "test", "beach-2", 1) }},
		{"DeleteCampaign", func() error { return d.DeleteCampaign(d.ctx, "test", "summer-2") }},
	}
	for _, s := range steps {
		w.arm.Store(true)
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if w.arm.Load() {
			t.Errorf("%s: no COMMIT was cut off", s.name)
		}
	}
	if pool.State != domain.Archived || pool.Version != 4 {
		t.Errorf("got %s at version %d, want archived at 4", pool.State, pool.Version)
	}
	if pools, campaigns := d.Int("SELECT count(*) FROM pools"), d.Int("SELECT count(*) FROM campaigns"); pools != 1 || campaigns != 1 {
		t.Errorf("got %d pools and %d campaigns, want 1 and 1", pools, campaigns)
	}
	var told []string
	rows, err := d.sql.Query(d.ctx, "SELECT action FROM history ORDER BY entry")
	if err == nil {
		told, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`campaign.created campaign.created pool.created pool.created pool.edited campaign.renamed
		pool.launched pool.archived pool.deleted campaign.deleted`)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// wire is a connection to PostgreSQL that can lose the answer of a COMMIT.
type wire struct {
	url string
	arm atomic.Bool // the next COMMIT's answer is lost
}

func newWire(t *testing.T, url string) *wire {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	server := net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	w := &wire{url: strings.Replace(url, server, l.Addr().String(), 1)}
	if w.url == url {
		t.Fatalf("%s has no %s", url, server)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c, server)
		}
	}()
	return w
}

func (w *wire) carry(client net.Conn, server string) {
	defer client.Close()
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer up.Close()
	var cut atomic.Bool
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := client.Read(buf)
			if err != nil {
				up.Close()
				return
			}
			if strings.HasPrefix(string(buf[:n]), "Q\x00\x00\x00\x0bcommit") && w.arm.CompareAndSwap(true, false) {
				cut.Store(true)
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := up.Read(buf)
		if err != nil || cut.Load() {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
