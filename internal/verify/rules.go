package verify

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed tables.sql
var tables string

//go:embed lots.sql
var lotsSQL string

//go:embed byhand.sql
var byHandSQL string

//go:embed bounds.sql
var boundsSQL string

//go:embed validities.sql
var validitiesSQL string

//go:embed erased.sql
var erasedSQL string

//go:embed redemptions.sql
var redemptionTables string

//go:embed answers.sql
var answersSQL string

//go:embed rules/*.sql
var ruleFiles embed.FS

// invariants are those of docs/issuing.md that are audited.
var invariants = []struct {
	number int
	name   string
}{
	{1, "One code, one request"},
	{2, "One request, one issuance"},
	{3, "Every request is answered"},
	{4, "No phantom"},
	{5, "One delivery, one verdict"},
	{6, "Exact stock"},
	{7, `No false "exhausted"`},
	{8, "Windows and states hold"},
	{9, "Redemptions hold"},
	{10, "Low is told once per crossing"},
	{11, "Customers are listed, and erased"},
}

// rule is a query whose rows are violations of an invariant. Its file begins
// with what is wrong where it has rows, which topics the partitions and offsets in
// them are of, and what to do then.
type rule struct {
	name, what, shown, do, sql string
}

// rules by invariant, which begins a file's name.
var rules = loadRules()

func loadRules() map[int][]rule {
	files, err := fs.Glob(ruleFiles, "rules/*.sql")
	if err != nil {
		panic(err)
	}
	all := map[int][]rule{}
	for _, file := range files {
		text, err := ruleFiles.ReadFile(file)
		if err != nil {
			panic(err)
		}
		var invariant int
		r := rule{name: strings.TrimSuffix(strings.TrimPrefix(file, "rules/"), ".sql"), sql: string(text)}
		if _, err := fmt.Sscanf(r.name, "%d_%s", &invariant, &r.name); err != nil {
			panic(err)
		}
		for line := range strings.Lines(r.sql) {
			comment, ok := strings.CutPrefix(strings.TrimSpace(line), "-- ")
			if !ok {
				break
			}
			if do, ok := strings.CutPrefix(comment, "Do: "); ok {
				r.do = do
			} else if shown, ok := strings.CutPrefix(comment, "Shown: "); ok {
				r.shown = shown
			} else {
				r.what = comment
			}
		}
		all[invariant] = append(all[invariant], r)
	}
	return all
}

// ask returns a finding where the rule is broken.
func (r *rule) ask(ctx context.Context, tx pgx.Tx, prefix string, samples int) ([]Finding, error) {
	sql := fmt.Sprintf("SELECT count(*) OVER () AS total, v.* FROM (\n%s\n) v LIMIT %d", r.sql, samples)
	res, err := tx.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	f := Finding{Rule: r.name, What: r.what, Shown: strings.NewReplacer("{", prefix, "}", "").Replace(r.shown), Do: r.do}
	for res.Next() {
		values, err := res.Values()
		if err != nil {
			return nil, err
		}
		f.Count = values[0].(int64)
		s := make(Sample, 0, len(values)-1)
		for i, column := range res.FieldDescriptions()[1:] {
			s = append(s, Field{Name: column.Name, Value: plain(values[i+1])})
		}
		f.Samples = append(f.Samples, s)
	}
	if err := res.Err(); err != nil || f.Count == 0 {
		return nil, err
	}
	return []Finding{f}, nil
}

// plain brings a value into the form that reports show.
func plain(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	case interface{ MarshalJSON() ([]byte, error) }: // numeric
		b, err := v.MarshalJSON()
		if err != nil {
			return nil
		}
		return rawNumber(b)
	}
	return v
}

// rawNumber is a number as JSON writes it.
type rawNumber string

// MarshalJSON returns the number itself.
func (n rawNumber) MarshalJSON() ([]byte, error) { return []byte(n), nil }
