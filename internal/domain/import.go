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

// Ended reports whether nothing will change any more.
func (s ImportStatus) Ended() bool { return s != ImportWaiting && s != ImportRunning }

// Errors of an upload. Nothing of it stays.
var (
	ErrFileEmpty    = errors.New("the file is empty")
	ErrFileTooLarge = errors.New("the file is too large")
	ErrFileBroken   = errors.New("the upload broke off")
)

// Upload says what a file is and which pool it is for.
type Upload struct {
	PoolID    string
	FileName  string
	MediaType string
	Size      int64 // as declared; 0 or below: not
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
	Status    ImportStatus
	Error     string  // why it failed
	Layout    *Layout // nil: not looked at yet

	Bytes     int64 // of the file
	BytesDone int64
	Rows      int64 // read: without the header and blank lines
	Added     int64
	Moved     int64
	Unchanged int64
	Refused   int64

	CreatedAt  time.Time // the file was here in full
	StartedAt  time.Time // zero: not yet
	FinishedAt time.Time // zero: not yet
}

// Layout is how a file of codes was understood.
type Layout struct {
	Delimiter string   `json:"delimiter"`
	Header    []string `json:"header,omitempty"` // the names as they came; none: the file has no header
	Columns   []Column `json:"columns"`          // what each means; "": ignored
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
	DuplicateInFile RefusalReason = "duplicate_in_file"
	AlreadyInPool   RefusalReason = "already_in_pool"
)

var refusalDetails = map[RefusalReason]string{
	EmptyCode:       "the row has no code",
	CodeTooLong:     "a code has at most 200 bytes",
	CodeControl:     "a code has no control characters",
	NotUTF8:         "the row is not UTF-8 text, save the file as UTF-8",
	BadDate:         "not a date: write 2026-12-31, 2026-12-31 23:59:59 or 2026-12-31T23:59:59Z",
	EndBeforeStart:  "the window ends before it starts, so the code could never be used",
	WindowOver:      "the code could no longer be issued, its window is over",
	TooManyColumns:  "the row has more columns than the header",
	QuoteUnclosed:   "a quote is opened and not closed",
	QuoteMisplaced:  "a quote stands inside a value: put the value in quotes and double the quotes within",
	LineBreak:       "a value in quotes runs over several lines",
	LineTooLong:     "the line has more than 65536 bytes",
	DuplicateInFile: "the same code stands further up in the file",
	AlreadyInPool:   "the pool has this code already",
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
