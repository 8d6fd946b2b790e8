package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/postgres"
)

func pattern(t *testing.T, text string) *domain.Pattern {
	t.Helper()
	p, err := domain.ParsePattern(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (d *desk) Generate(id, text string, count int64) domain.Import {
	d.t.Helper()
	i, err := d.Store.Generate(d.ctx, "test", id, domain.Generation{Pattern: pattern(d.t, text), Count: count, MaxGuessOdds: 1})
	if err != nil {
		d.t.Fatal(err)
	}
	return i
}

// Size is the database's in bytes, when all is on disk.
func (d *desk) Size() int64 {
	d.t.Helper()
	d.Exec("CHECKPOINT")
	return d.Int("SELECT pg_database_size(current_database())")
}

// TestGenerateBillion: a billion codes are made as a thousand are, and take as
// much room.
func TestGenerateBillion(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"first", "few", "many"} {
		d.Create(id)
	}
	const text = "SUMMER-####-####-####"
	d.Generate("first", text, 10) // whatever a first lot takes
	before := d.Size()
	d.Generate("few", text, 1_000)
	few := d.Size() - before
	start := time.Now()
	i := d.Generate("many", text, 1_000_000_000)
	took := time.Since(start)
	many := d.Size() - before - few
	t.Logf("a billion codes in %s; %d bytes more, of a thousand %d", took, many, few)
	if took > time.Second {
		t.Errorf("took %s", took)
	}
	if many > few+1<<20 { // a page or two come and go by themselves
		t.Errorf("a billion codes take %d bytes, a thousand %d", many, few)
	}
	if i.Status != domain.ImportCompleted || i.Kind != domain.FromGeneration || i.Added != 1_000_000_000 || i.Rows != i.Added || i.Pattern != text || i.FinishedAt.IsZero() {
		t.Errorf("got %+v", i)
	}
	stock, err := d.Stock(d.ctx, "many")
	if diff := cmp.Diff(domain.Stock{Total: 1_000_000_000, Available: 1_000_000_000}, stock); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if p, _ := d.Pool(d.ctx, "many"); p.Mode != domain.Ample || p.Revision != 1 {
		t.Errorf("got mode %s, revision %d", p.Mode, p.Revision)
	}
	if n := d.Int("SELECT count(*) FROM codes"); n != 0 {
		t.Errorf("%d codes are stored", n)
	}
	d.Sound()
}

// TestGenerated: generated codes are issued, repeated and found as stored ones.
func TestGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	d.Generate("p", "S-####", 400_000)
	d.Generate("p", "S-####", 5)
	d.Launch("p")
	p := d.Claim(0, "one")
	runs := p.Refill("p", 300)
	texts := slices.Clone(runs[0].Texts)
	if err := p.Issue("p", runs, "a", "b"); err != nil {
		t.Fatal(err)
	}
	var outcomes []domain.Outcome
	outcomes, err := p.locked("p", nil, "a", "c") // taken without texts at hand
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{"a": texts[0], "b": texts[1], "c": outcomes[1].Issue.Code} {
		i, err := d.Issuance(d.ctx, "p", request)
		if err != nil || i.Code != want {
			t.Errorf("%s: got %s, %v, want %s", request, i.Code, err, want)
		}
		story, err := d.Code(d.ctx, "p", want)
		if err != nil || story.State != domain.CodeIssued || story.Issue.RequestID != request || story.Issue.Place != i.Place {
			t.Errorf("%s: got %+v, %v", request, story, err)
		}
	}
	if outcomes[0].Issue.Code != texts[0] || outcomes[0].Verdict != domain.Repeated {
		t.Errorf("got %+v again, want %s", outcomes[0].Issue, texts[0])
	}
	if story, err := d.Code(d.ctx, "p", texts[100]); err != nil || story.State != domain.CodeAvailable || story.Issue != nil {
		t.Errorf("got %+v, %v", story, err)
	}
	found := 0
	room, samples, refused, err := d.Space(d.ctx, "p", pattern(t, "S-####"))
	if err != nil || refused != nil || room.Made != 400_005 || len(samples) != 3 {
		t.Errorf("got %+v, %d samples, refused %v, %v", room, len(samples), refused, err)
	}
	for _, code := range append(samples, "S-222", "S-2222-", "S-222L", "T-2222", "s-2222") {
		if _, err := d.Code(d.ctx, "p", code); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s, which is no code: got %v", code, err)
		}
	}
	// Of all texts exactly the codes are found.
	for _, a := range domain.Plain {
		for _, b := range domain.Plain[:8] {
			if _, err := d.Code(d.ctx, "p", "S-2"+string(a)+string(b)+"K"); err == nil {
				found++
			} else if !errors.Is(err, domain.ErrNotFound) {
				t.Fatal(err)
			}
		}
	}
	if found == 0 || found == 31*8 {
		t.Errorf("%d of 248 texts are codes", found)
	}
	// What another process makes of the same rows.
	other, err := postgres.Open(d.ctx, d.url, "other", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	i, err := other.Issuance(d.ctx, "p", "b")
	if err != nil || i.Code != texts[1] {
		t.Errorf("elsewhere: got %s, %v, want %s", i.Code, err, texts[1])
	}
	d.Sound()
}

// TestGeneratedDistinct: lots of a pattern go on where the last ended, and no
// code comes twice.
func TestGeneratedDistinct(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	for range 4 {
		d.Generate("p", "99", 25)
	}
	d.Launch("p")
	p := d.Claim(0, "one")
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint(i))
	}
	outcomes, err := p.locked("p", nil, ids...)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, o := range outcomes {
		codes = append(codes, o.Issue.Code)
	}
	slices.Sort(codes)
	if codes = slices.Compact(codes); len(codes) != 100 || codes[0] != "00" || codes[99] != "99" {
		t.Errorf("got %q", codes)
	}
	_, err = d.Store.Generate(d.ctx, "test", "p", domain.Generation{Pattern: pattern(t, "99"), Count: 1, MaxGuessOdds: 1})
	wantErr(t, "one more than all", err, domain.ErrGuessable)
	d.Sound()
}

// TestGeneratedMultiUse: ordinals go round.
func TestGeneratedMultiUse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	many := draft("m")
	many.MultiUse = true
	if _, err := d.CreatePool(d.ctx, "test", many, false); err != nil {
		t.Fatal(err)
	}
	d.Generate("m", "####", 3)
	d.Launch("m")
	p := d.Claim(0, "one")
	runs := p.Refill("m", 8)
	texts := runs[0].Texts
	for i := range texts {
		if texts[i] != texts[i%3] || i > 0 && i < 3 && texts[i] == texts[0] {
			t.Errorf("got %q", texts)
		}
	}
	want := slices.Clone(texts)
	if err := p.Issue("m", runs, "a", "b", "c", "d", "e"); err != nil {
		t.Fatal(err)
	}
	if i, err := d.Issuance(d.ctx, "m", "e"); err != nil || i.Code != want[1] || i.Seq != 4 {
		t.Errorf("got %s at %d, %v, want %s", i.Code, i.Seq, err, want[1])
	}
	if s, err := d.Code(d.ctx, "m", want[0]); err != nil || s.State != domain.CodeAvailable {
		t.Errorf("got %+v, %v", s, err)
	}
	d.Sound()
}

func TestGenerateRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, id := range []string{"p", "old", "filled"} {
		d.Create(id)
	}
	d.Launch("old")
	if _, err := d.ArchivePool(d.ctx, "test", "old", 0); err != nil {
		t.Fatal(err)
	}
	d.Fill("filled", "c", 5)
	d.Generate("p", "S-9999", 100)
	for _, c := range []struct {
		name, id string
		g        domain.Generation
		want     error
	}{
		{"NoPool", "none", domain.Generation{}, domain.ErrNotFound},
		{"Archived", "old", domain.Generation{}, domain.ErrState},
		{"Uploaded", "filled", domain.Generation{}, domain.ErrUploaded},
		{"Guessable", "p", domain.Generation{Pattern: pattern(t, "S-9999"), MaxGuessOdds: 0.01}, domain.ErrGuessable},
		{"Meets", "p", domain.Generation{Pattern: pattern(t, "A-9999")}, domain.ErrPatternMeets},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := domain.Generation{Pattern: pattern(t, "####"), Count: 1, MaxGuessOdds: 1}
			if c.g.Pattern != nil {
				g.Pattern = c.g.Pattern
			}
			if c.g.MaxGuessOdds != 0 {
				g.MaxGuessOdds = c.g.MaxGuessOdds
			}
			_, err := d.Store.Generate(d.ctx, "test", c.id, g)
			wantErr(t, "generate", err, c.want)
		})
	}
	if n := d.Int("SELECT count(*) FROM lots JOIN pools USING (pool) WHERE id = 'p'"); n != 1 {
		t.Errorf("got %d lots, want that of the beginning", n)
	}
	var over *domain.Invalid
	_, err := d.Store.Generate(d.ctx, "test", "p", domain.Generation{Pattern: pattern(t, "S-9999"), Count: 1, MaxGuessOdds: 1, Window: domain.Window{IssueEnd: time.Now().Add(-time.Minute)}})
	if !errors.As(err, &over) || over.Problems[0].Field != "issue_end" {
		t.Errorf("got %v, want about issue_end", err)
	}
}

// TestGenerateRepeated: twenty calls at once under one key make codes once;
// twenty without a key make them twenty times, one behind the other.
func TestGenerateRepeated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	window := domain.Window{IssueEnd: time.Now().Add(time.Hour)}
	g := domain.Generation{Pattern: pattern(t, "S-####"), Count: 50, MaxGuessOdds: 1, Key: "mine", Window: window}
	var group sync.WaitGroup
	tasks := make(chan int64, 40)
	for _, key := range []string{"mine", ""} {
		for range 20 {
			g := g
			g.Key = key
			group.Go(func() {
				i, err := d.Store.Generate(d.ctx, "test", "p", g)
				if err != nil {
					t.Error(err)
				}
				tasks <- i.Task
			})
		}
	}
	group.Wait()
	close(tasks)
	distinct := map[int64]bool{}
	for task := range tasks {
		distinct[task] = true
	}
	if len(distinct) != 21 || d.Int("SELECT made FROM generators") != 21*50 {
		t.Errorf("got %d tasks and %d codes, want 21 and 1050", len(distinct), d.Int("SELECT made FROM generators"))
	}
	g.Count = 51
	_, err := d.Store.Generate(d.ctx, "test", "p", g)
	wantErr(t, "the key for another count", err, domain.ErrKeyReused)
	d.Sound()
}

// upload brings an import as far as it is accepted.
func (d *desk) upload(id string) (int64, error) {
	task, err := d.BeginImport(d.ctx, domain.Upload{PoolID: id, MediaType: "text/csv"})
	if err == nil {
		err = d.AppendImport(d.ctx, task, 0, []byte("A\n"))
	}
	if err == nil {
		_, err = d.SubmitImport(d.ctx, task)
	}
	return task, err
}

// TestUploadedOrGenerated: whichever comes first closes the other way; a failed
// upload that added nothing closes none.
func TestUploadedOrGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, id := range []string{"gen", "file", "failed", "begun"} {
		d.Create(id)
	}
	generate := func(id string) error {
		_, err := d.Store.Generate(d.ctx, "test", id, domain.Generation{Pattern: pattern(t, "#############"), Count: 5, MaxGuessOdds: 1e-6})
		return err
	}
	wantErr(t, "generate", generate("gen"), nil)
	_, err := d.upload("gen")
	wantErr(t, "upload to generated", err, domain.ErrGenerated)
	_, err = d.upload("file")
	wantErr(t, "upload", err, nil)
	wantErr(t, "generate while an upload waits", generate("file"), domain.ErrUploaded)

	task, err := d.upload("failed")
	wantErr(t, "upload", err, nil)
	d.Exec("UPDATE imports SET status = 'failed' WHERE task = $1", task)
	wantErr(t, "generate after an upload that added nothing", generate("failed"), nil)

	// An upload on its way is no upload; at its end it is too late for it.
	task, err = d.BeginImport(d.ctx, domain.Upload{PoolID: "begun", MediaType: "text/csv"})
	wantErr(t, "begin", err, nil)
	wantErr(t, "generate while an upload comes in", generate("begun"), nil)
	_, err = d.SubmitImport(d.ctx, task)
	wantErr(t, "submit to generated", err, domain.ErrGenerated)

	// The database holds it against whoever does not ask.
	for sql, says := range map[string]string{
		"SELECT add_lot(pool, 9999, 1, NULL, NULL, NULL, NULL, NULL) FROM pools WHERE id = 'gen'":                                                                                         "PP006",
		"SELECT generate_lot(pool, gen_random_uuid(), '#', 'ab', decode(repeat('00', 32), 'hex'), 0, 1, NULL, NULL, NULL, NULL, 'generation', 'test', NULL) FROM pools WHERE id = 'file'": "PP006",
		"INSERT INTO lots (pool, lot, size, revision, created_at, generator, gen_from) SELECT pool, 9998, 1, 1, now(), gen_random_uuid(), 0 FROM pools WHERE id = 'mixed'":                "PP006",
		"INSERT INTO lots (pool, lot, size, revision, created_at, generator) SELECT pool, 9997, 1, 1, now(), gen_random_uuid() FROM pools WHERE id = 'gen'":                               "lots_generated_whole",
		"INSERT INTO generators (pool, generator, pattern, alphabet, key, created_at) SELECT pool, gen_random_uuid(), pattern, alphabet, key, now() FROM generators WHERE made = 5":       "generators_pattern_key",
		"INSERT INTO generators (pool, generator, pattern, alphabet, key, created_at) SELECT pool, gen_random_uuid(), 'x', 'ab', '\\x00', now() FROM pools WHERE id = 'gen' AND true":     "generators_key_whole",
	} {
		if strings.Contains(sql, "'mixed'") {
			d.Create("mixed")
			d.Fill("mixed", "m", 1)
		}
		if _, err := d.sql.Exec(d.ctx, sql); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %s", sql, err, says)
		}
	}
}

// TestUploadMeetsGeneration: of an upload and a generation at once one wins.
func TestUploadMeetsGeneration(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	generated, uploaded := 0, 0
	for n := range 20 {
		id := fmt.Sprintf("p-%d", n)
		d.Create(id)
		var group sync.WaitGroup
		var up, gen error
		group.Go(func() { _, up = d.upload(id) })
		group.Go(func() {
			_, gen = d.Store.Generate(d.ctx, "test", id, domain.Generation{Pattern: pattern(t, "####"), Count: 5, MaxGuessOdds: 1})
		})
		group.Wait()
		switch {
		case up == nil && errors.Is(gen, domain.ErrUploaded):
			uploaded++
		case gen == nil && errors.Is(up, domain.ErrGenerated):
			generated++
		default:
			t.Errorf("upload: %v, generation: %v", up, gen)
		}
	}
	t.Logf("%d uploads and %d generations won", uploaded, generated)
}

// TestImportIntoGenerated: an upload that an older program accepted fails, and
// nothing of it is in.
func TestImportIntoGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	if _, err := d.upload("p"); err != nil {
		t.Fatal(err)
	}
	d.Exec("UPDATE imports SET status = 'failed'")
	d.Generate("p", "####", 5)
	d.Exec("UPDATE imports SET status = 'waiting' WHERE kind = 'file'")
	s, err := d.NextImport(d.ctx)
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	defer s.Close()
	now, _, err := s.Now(d.ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Commit(d.ctx, importing.Step{At: now, Layout: &domain.Layout{}, Rows: 1, Added: 1, Lots: []importing.Lot{{Codes: []string{"A"}}}, Last: true})
	wantErr(t, "commit", err, importing.ErrGenerated)
}

// TestDeleteGenerated: a draft's keys go with it.
func TestDeleteGenerated(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := draft("p")
	p.Replenish = &domain.Replenish{Below: 1, Count: 1, Pattern: "####", MaxGuessOdds: 1}
	if _, err := d.CreatePool(d.ctx, "test", p, false); err != nil {
		t.Fatal(err)
	}
	d.Generate("p", "####", 5)
	if err := d.DeletePool(d.ctx, "test", "p", 0); err != nil {
		t.Fatal(err)
	}
	if n := d.Int("SELECT (SELECT count(*) FROM generators) + (SELECT count(*) FROM lots) + (SELECT count(*) FROM replenishments)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestReplenish: a shortage is answered once however many look, until the
// pattern bears no more; then that is said once.
func TestReplenish(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("p")
	set := func(r *domain.Replenish) error {
		_, err := d.UpdatePool(d.ctx, "test", "p", 0, func(p domain.Pool) (domain.Pool, error) {
			p.Replenish = r
			return p, nil
		})
		return err
	}
	look := func() (made int64, stopped int) {
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				done, err := d.Replenish(d.ctx)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, r := range done {
					made += r.Count
					if r.Stopped != "" {
						stopped++
					}
				}
			})
		}
		group.Wait()
		return made, stopped
	}
	setting := &domain.Replenish{Below: 30, Count: 40, Pattern: "R-99", Alphabet: domain.Plain, MaxGuessOdds: 0.9}
	wantErr(t, "set", set(setting), nil)
	if p, err := d.Pool(d.ctx, "p"); err != nil || !cmp.Equal(p.Replenish, setting) || p.Version != 2 {
		t.Errorf("got %+v, version %d, %v", p.Replenish, p.Version, err)
	}
	if list, err := d.ListPools(d.ctx, domain.PoolFilter{}, "", 10); err != nil || !cmp.Equal(list[0].Replenish, setting) {
		t.Errorf("got %+v, %v", list, err)
	}
	if made, stopped := look(); made != 40 || stopped != 0 {
		t.Errorf("got %d made, %d stopped, want 40 once", made, stopped)
	}
	if made, _ := look(); made != 0 {
		t.Errorf("got %d made where enough are left", made)
	}
	d.Launch("p")
	p := d.Claim(0, "one")
	ids := func(prefix string, n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint(prefix, i))
		}
		return all
	}
	if _, err := p.locked("p", nil, ids("a", 10)...); err != nil {
		t.Fatal(err)
	}
	if made, _ := look(); made != 0 {
		t.Errorf("got %d made with 30 left of 30", made)
	}
	if _, err := p.locked("p", nil, ids("b", 30)...); err != nil { // exhausted
		t.Fatal(err)
	}
	if made, _ := look(); made != 40 {
		t.Errorf("got %d made, want 40", made)
	}
	if _, err := p.locked("p", nil, ids("c", 20)...); err != nil {
		t.Fatal(err)
	}
	if made, stopped := look(); made != 0 || stopped != 1 {
		t.Errorf("got %d made, %d stopped, want 0, once", made, stopped)
	}
	if made, stopped := look(); made != 0 || stopped != 0 {
		t.Errorf("got %d made, %d stopped, want it quiet", made, stopped)
	}
	if p, _ := d.Pool(d.ctx, "p"); !strings.Contains(p.Replenish.Stopped, "at most 10 codes") {
		t.Errorf("got stopped: %s", p.Replenish.Stopped)
	}
	// Set anew it works again.
	again := *setting
	again.Count = 10
	wantErr(t, "set", set(&again), nil)
	if made, _ := look(); made != 10 {
		t.Errorf("got %d made, want 10", made)
	}
	var kinds []string
	imports, err := d.ListImports(d.ctx, domain.ImportFilter{PoolID: "p"}, 1<<62, 10)
	for _, i := range imports {
		kinds = append(kinds, fmt.Sprint(i.Kind, i.Added))
	}
	if diff := cmp.Diff([]string{"replenishment10", "replenishment40", "replenishment40"}, kinds); diff != "" || err != nil {
		t.Error(diff, err)
	}
	wantErr(t, "off", set(nil), nil)
	if p, _ := d.Pool(d.ctx, "p"); p.Replenish != nil {
		t.Errorf("got %+v", p.Replenish)
	}
	d.Sound()
}

func TestReplenishRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.Create("filled")
	d.Fill("filled", "c", 1)
	d.Create("p")
	d.Generate("p", "S-99", 1)
	d.Create("many")
	for _, c := range []struct {
		name, id string
		r        domain.Replenish
		many     bool
		says     string
	}{
		{"Uploaded", "filled", domain.Replenish{Below: 1, Count: 1, Pattern: "####", MaxGuessOdds: 1}, false, "uploaded"},
		{"Meets", "p", domain.Replenish{Below: 1, Count: 1, Pattern: "A-99", MaxGuessOdds: 1}, false, "S-99"},
		{"Guessable", "p", domain.Replenish{Below: 1, Count: 100, Pattern: "S-99", MaxGuessOdds: 1}, false, "at most 99"},
		{"NoPattern", "p", domain.Replenish{Below: 1, Count: 1, MaxGuessOdds: 1}, false, "pattern"},
		{"NoThreshold", "p", domain.Replenish{Count: 1, Pattern: "S-99", MaxGuessOdds: 1}, false, "below"},
		{"NoCount", "p", domain.Replenish{Below: 1, Pattern: "S-99", MaxGuessOdds: 1}, false, "count"},
		{"MultiUse", "many", domain.Replenish{Below: 1, Count: 1, Pattern: "S-99", MaxGuessOdds: 1}, true, "multi_use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := d.UpdatePool(d.ctx, "test", c.id, 0, func(p domain.Pool) (domain.Pool, error) {
				p.Replenish, p.MultiUse = &c.r, c.many
				return p, nil
			})
			if !errors.As(err, new(*domain.Invalid)) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want about %q", err, c.says)
			}
		})
	}
}
