package domain

import (
	"errors"
	"time"
)

// ImportStatus is where an import is in its life:
// waiting → running → completed, completed_with_refusals, failed or cancelled.
type ImportStatus string

// The states of an import. Failed and cancelled keep the codes that are in.
const (
	ImportWaiting              ImportStatus = "waiting"
	ImportRunning              ImportStatus = "running"
	ImportCompleted            ImportStatus = "completed"
	ImportCompletedWithRefusal ImportStatus = "completed_with_refusals"
	ImportFailed               ImportStatus = "failed"
	ImportCancelled            ImportStatus = "cancelled"
)

// ImportStatuses are all of them, in the order of a life.
var ImportStatuses = []ImportStatus{
	ImportWaiting, ImportRunning, ImportCompleted, ImportCompletedWithRefusal, ImportFailed, ImportCancelled,
}

// Ended reports whether nothing will change any more.
func (s ImportStatus) Ended() bool { return s != ImportWaiting && s != ImportRunning }

// Errors of an upload. Nothing of it stays.
var (
	ErrFileEmpty    = errors.New("the file is empty")
	ErrFileTooLarge = errors.New("the file is too large")
	ErrFileBroken   = errors.New("the upload broke off")
)

// ErrImportEnded is returned for a change of an import that has ended.
var ErrImportEnded = errors.New("the import has ended")

// ErrFileGone is returned where the file of an import is no longer kept.
var ErrFileGone = errors.New("the file is no longer kept")

// Upload says what a file is and which pool it is for.
type Upload struct {
	PoolID    string
	FileName  string
	MediaType string
	Size      int64 // as declared; 0 or below: not
	Actor     Actor
	Keep      time.Duration // how long the file is kept behind the end of its import
	Options   ImportOptions
}

// ImportKind says where the codes of a task came from.
type ImportKind string

// FromFile: an upload. FromGeneration: codes made on demand. FromReplenishment:
// codes made because few were left.
const (
	FromFile          ImportKind = "file"
	FromGeneration    ImportKind = "generation"
	FromReplenishment ImportKind = "replenishment"
)

// ImportKinds are all of them.
var ImportKinds = []ImportKind{FromFile, FromGeneration, FromReplenishment}

// ImportFilter says which imports are asked for. What is empty means any.
type ImportFilter struct {
	PoolID string
	Status ImportStatus
	Kind   ImportKind
	Actor  Actor
}

// Import is the task of filling a pool. Every code that it counts as added can
// be issued, subject to its window and the pool's state. A generation is made
// at once, without a file: all its codes are rows that were added.
type Import struct {
	Task      int64
	Kind      ImportKind
	Pattern   string // of generated codes, with Alphabet
	Alphabet  string
	PoolID    string // as it is now; as it was at the upload when the pool is gone
	FileName  string
	MediaType string
	Actor     Actor // who uploaded it
	Status    ImportStatus
	Error     string  // why it failed
	Layout    *Layout // nil: not looked at yet
	Options   ImportOptions

	Bytes     int64 // of the file
	BytesDone int64
	Rows      int64 // read: without the header and blank lines
	Added     int64
	Moved     int64
	Unchanged int64
	Refused   int64
	Reasons   map[RefusalReason]int64 // of all refused rows; those that occurred

	CreatedAt  time.Time // the file was here in full
	StartedAt  time.Time // zero: not yet
	FinishedAt time.Time // zero: not yet
	AskedAt    time.Time // when all this was so
	Pace       Pace

	FileKept  bool
	KeptUntil time.Time // its file will be, or was; zero: as long as it has not ended, and longer
}

// Pace is how an import gets on.
type Pace struct {
	At      time.Time // of the last step, or of the claim that came later
	Seconds float64   // of work of late, the older the less,
	Rows    float64   // and what was done in it
	Bytes   float64
	Busy    time.Duration // of work in all
}

// stalled is how long an import may stand still and its pace still be believed.
const stalled = 15 * time.Second

// RowsPerSecond is the rate of late while the import runs, and over all its time
// of work when it has ended. ok: it is known.
func (i *Import) RowsPerSecond() (rate float64, ok bool) {
	switch {
	case i.Status.Ended():
		return float64(i.Rows) / i.Pace.Busy.Seconds(), i.Pace.Busy > 0
	case !i.moving():
		return 0, false
	}
	return i.Pace.Rows / i.Pace.Seconds, true
}

// Left is how long the import will go on when it keeps its pace. ok: that is
// known.
func (i *Import) Left() (left time.Duration, ok bool) {
	switch {
	case i.Status.Ended():
		return 0, true
	case !i.moving() || i.Pace.Bytes <= 0 || i.BytesDone == i.Bytes: // behind the file moves are made
		return 0, false
	}
	rest := float64(i.Bytes-i.BytesDone) / (i.Pace.Bytes / i.Pace.Seconds)
	left = time.Duration(min(rest, maxLeft.Seconds()) * float64(time.Second))
	return max(left-i.AskedAt.Sub(i.Pace.At), 0), true
}

// maxLeft keeps nonsense out: a file takes no year.
const maxLeft = 365 * 24 * time.Hour

// moving reports whether the import runs and its pace says something of now.
func (i *Import) moving() bool {
	return i.Status == ImportRunning && i.Pace.Seconds > 0 && i.AskedAt.Sub(i.Pace.At) < stalled
}

// Format is a kind of file.
type Format string

// The kinds of files. A list has values without columns, each a code.
const (
	FormatCSV  Format = "csv"
	FormatList Format = "list"
	FormatXLSX Format = "xlsx"
)

// Layout is how a file of codes was understood.
type Layout struct {
	Format    Format   `json:"format"`
	Encoding  string   `json:"encoding,omitempty"`        // one of Encodings; "": a spreadsheet
	Mark      bool     `json:"byte_order_mark,omitempty"` // the file begins with one
	CR        bool     `json:"cr,omitempty"`              // lines end with a carriage return alone
	Sheet     string   `json:"sheet,omitempty"`           // of a spreadsheet
	Delimiter string   `json:"delimiter"`
	HeaderRow int64    `json:"header_row,omitempty"` // its line, from 1; 0: the file has no header
	Header    []string `json:"header,omitempty"`     // the names as they came
	Columns   []Column `json:"columns"`              // what each means; "": ignored
}

// Ignored are the names of the columns that mean nothing here.
func (l *Layout) Ignored() []string {
	var names []string
	for i, c := range l.Columns {
		if c == "" {
			names = append(names, l.Header[i])
		}
	}
	return names
}

// Column is a meaning that a column of a file may have.
type Column string

// The columns of a file of codes, in the order of a file without header.
const (
	ColumnCode          Column = "code"
	ColumnIssueStart    Column = "issue_start"
	ColumnIssueEnd      Column = "issue_end"
	ColumnAvailableFrom Column = "available_from"
	ColumnAvailableTill Column = "available_till"
)

// The columns that a file of refused rows has behind its own. They are passed
// over when it is uploaded again.
const (
	ColumnLine   Column = "line"
	ColumnReason Column = "reason"
)

// Columns are all of them, in the order of a file without header.
var Columns = []Column{ColumnCode, ColumnIssueStart, ColumnIssueEnd, ColumnAvailableFrom, ColumnAvailableTill}

// Refusal is a row that an import did not take.
type Refusal struct {
	Line   int64 // in the file, from 1
	Reason RefusalReason
	Value  string // what is wrong, shortened
	Row    string // as it came, shortened
}

// RefusalReason says why a row was refused.
type RefusalReason string

// Every reason for which a row is refused.
const (
	EmptyCode       RefusalReason = "empty_code"
	CodeTooLong     RefusalReason = "code_too_long"
	CodeControl     RefusalReason = "code_control_character"
	NotUTF8         RefusalReason = "not_utf8"
	BadDate         RefusalReason = "bad_date"
	EndBeforeStart  RefusalReason = "end_before_start"
	WindowOver      RefusalReason = "window_over"
	TooManyColumns  RefusalReason = "too_many_columns"
	QuoteUnclosed   RefusalReason = "quote_unclosed"
	QuoteMisplaced  RefusalReason = "quote_misplaced"
	LineBreak       RefusalReason = "line_break"
	LineTooLong     RefusalReason = "line_too_long"
	NumberNotExact  RefusalReason = "number_not_exact"
	DateAsCode      RefusalReason = "date_as_code"
	BooleanAsCode   RefusalReason = "boolean_as_code"
	CellError       RefusalReason = "cell_error"
	FormulaNoValue  RefusalReason = "formula_without_value"
	DuplicateInFile RefusalReason = "duplicate_in_file"
	AlreadyIssued   RefusalReason = "already_issued"
	AlreadyRedeemed RefusalReason = "already_redeemed"
	CodeIsBlocked   RefusalReason = "code_blocked"
	DatesFixed      RefusalReason = "dates_fixed"
)

var refusalDetails = map[RefusalReason]string{
	EmptyCode:       "the row has no code",
	CodeTooLong:     "a code has at most 200 bytes",
	CodeControl:     "a code has no control characters",
	NotUTF8:         "the row has bytes that are no text in the file's encoding, save the file as UTF-8",
	BadDate:         "not a date: write 2026-12-31, 2026-12-31 23:59:59 or 2026-12-31T23:59:59Z",
	EndBeforeStart:  "the window ends before it starts, so the code could never be used",
	WindowOver:      "the code could no longer be issued, its window is over",
	TooManyColumns:  "the row has more columns than the header",
	QuoteUnclosed:   "a quote is opened and not closed",
	QuoteMisplaced:  "a quote stands inside a value: put the value in quotes and double the quotes within",
	LineBreak:       "a value in quotes runs over several lines",
	LineTooLong:     "the line has more than 65536 bytes",
	NumberNotExact:  "the cell holds a number, and what was typed cannot be told from it: format the column as text and type the code again",
	DateAsCode:      "the spreadsheet has made a date of the code: format the column as text and type the code again",
	BooleanAsCode:   "the spreadsheet has made TRUE or FALSE of the code: format the column as text and type the code again",
	CellError:       "the cell shows an error instead of a value",
	FormulaNoValue:  "the cell has a formula whose result the file does not hold: put the values in its place",
	DuplicateInFile: "the same code stands further up in the file",
	AlreadyIssued:   "the code is issued, and keeps the dates that its customer was told",
	AlreadyRedeemed: "the code was redeemed, and stays as it is",
	CodeIsBlocked:   "the code is blocked, and stays as it is: unblock it first",
	DatesFixed:      "the pool has this code with other dates, and a code for many uses keeps its dates",
}

// WithheldRefusal is why a row is refused whose code was taken out of the stock, by
// the state that it is in.
func WithheldRefusal(s CodeState) RefusalReason {
	if s == CodeRedeemed {
		return AlreadyRedeemed
	}
	return CodeIsBlocked
}

// RefusalReasons are all reasons, in no order.
func RefusalReasons() []RefusalReason {
	all := make([]RefusalReason, 0, len(refusalDetails))
	for r := range refusalDetails {
		all = append(all, r)
	}
	return all
}

// Detail says it in a sentence.
func (r RefusalReason) Detail() string { return refusalDetails[r] }
