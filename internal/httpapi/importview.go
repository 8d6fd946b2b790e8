package httpapi

import (
	"maps"
	"math"

	"promopool/internal/domain"
)

type importView struct {
	Task            int64                          `json:"task"`
	PoolID          string                         `json:"pool_id"`
	Kind            domain.ImportKind              `json:"kind"`
	FileName        string                         `json:"file_name"`
	Pattern         *string                        `json:"pattern"`
	Alphabet        *string                        `json:"alphabet"`
	Actor           domain.Actor                   `json:"actor"`
	DryRun          bool                           `json:"dry_run"`
	Status          domain.ImportStatus            `json:"status"`
	Error           *string                        `json:"error"`
	Bytes           int64                          `json:"bytes"`
	BytesDone       int64                          `json:"bytes_done"`
	Rows            int64                          `json:"rows"`
	Added           int64                          `json:"added"`
	Moved           int64                          `json:"moved"`
	Unchanged       int64                          `json:"unchanged"`
	Refused         int64                          `json:"refused"`
	RefusedByReason map[domain.RefusalReason]int64 `json:"refused_by_reason"`
	RowsPerSecond   *float64                       `json:"rows_per_second"`
	SecondsLeft     *int64                         `json:"seconds_left"`
	IgnoredColumns  []string                       `json:"ignored_columns"`
	Options         optionsView                    `json:"options"`
	Layout          *layoutView                    `json:"layout"` // null: not looked at yet
	CreatedAt       string                         `json:"created_at"`
	StartedAt       *string                        `json:"started_at"`
	FinishedAt      *string                        `json:"finished_at"`
	FileKept        bool                           `json:"file_kept"`
	FileKeptUntil   *string                        `json:"file_kept_until"`
}

// optionsView is what the upload said, null where it said nothing.
type optionsView struct {
	TZ        *string `json:"tz"`
	Encoding  *string `json:"encoding"`
	Delimiter *string `json:"delimiter"`
	Sheet     *string `json:"sheet"`
}

// layoutView is how the file was understood.
type layoutView struct {
	Format    domain.Format `json:"format"`
	Encoding  *string       `json:"encoding"`   // null: a spreadsheet
	Delimiter *string       `json:"delimiter"`  // null: a spreadsheet, or a list
	Sheet     *string       `json:"sheet"`      // null: no spreadsheet
	HeaderRow *int64        `json:"header_row"` // null: there is no header
	Columns   []columnView  `json:"columns"`
}

type columnView struct {
	Name    *string        `json:"name"`    // null: there is no header
	Meaning *domain.Column `json:"meaning"` // null: ignored
}

func viewLayout(l *domain.Layout) *layoutView {
	if l == nil {
		return nil
	}
	v := &layoutView{
		Format: l.Format, Encoding: zeroNull(l.Encoding), Sheet: zeroNull(l.Sheet), HeaderRow: zeroNull(l.HeaderRow),
		Columns: make([]columnView, len(l.Columns)),
	}
	if v.Format == "" { // kept by an earlier release, which read nothing else
		v.Format, v.Encoding = domain.FormatCSV, zeroNull("utf-8")
	}
	if v.Format == domain.FormatCSV {
		v.Delimiter = zeroNull(l.Delimiter)
	}
	for i, c := range l.Columns {
		v.Columns[i].Meaning = zeroNull(c)
		if l.Header != nil {
			v.Columns[i].Name = &l.Header[i]
		}
	}
	return v
}

// zeroNull is nil for the zero value.
func zeroNull[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

type importReport struct {
	importView
	Refusals []refusalView `json:"refusals"` // the first hundred
}

type refusalView struct {
	Line   int64                `json:"line"`
	Reason domain.RefusalReason `json:"reason"`
	Detail string               `json:"detail"`
	Value  string               `json:"value"`
}

func viewImport(i domain.Import) importView {
	v := importView{
		Task: i.Task, PoolID: i.PoolID, Kind: i.Kind, FileName: i.FileName, Actor: i.Actor, Status: i.Status,
		Bytes: i.Bytes, BytesDone: i.BytesDone,
		Rows: i.Rows, Added: i.Added, Moved: i.Moved, Unchanged: i.Unchanged, Refused: i.Refused,
		RefusedByReason: map[domain.RefusalReason]int64{},
		DryRun:          i.Options.DryRun, IgnoredColumns: []string{}, Layout: viewLayout(i.Layout),
		Options: optionsView{
			TZ: zeroNull(i.Options.TZ), Encoding: zeroNull(i.Options.Encoding), Delimiter: zeroNull(i.Options.Delimiter), Sheet: zeroNull(i.Options.Sheet),
		},
		CreatedAt: domain.EventTime(i.CreatedAt), StartedAt: viewTime(i.StartedAt), FinishedAt: viewTime(i.FinishedAt),
		FileKept: i.FileKept, FileKeptUntil: viewTime(i.KeptUntil),
	}
	maps.Copy(v.RefusedByReason, i.Reasons)
	if rate, ok := i.RowsPerSecond(); ok {
		rate = math.Round(rate)
		v.RowsPerSecond = &rate
	}
	if left, ok := i.Left(); ok {
		seconds := int64(math.Ceil(left.Seconds()))
		v.SecondsLeft = &seconds
	}
	if i.Error != "" {
		v.Error = &i.Error
	}
	if i.Pattern != "" {
		v.Pattern, v.Alphabet = &i.Pattern, &i.Alphabet
	}
	if i.Layout != nil {
		v.IgnoredColumns = append(v.IgnoredColumns, i.Layout.Ignored()...)
	}
	return v
}
