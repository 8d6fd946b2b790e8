package domain

import (
	"errors"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // where the machine has no time zones
)

// Encodings of text that a file may have.
var Encodings = []string{"utf-8", "utf-16le", "utf-16be", "windows-1251", "windows-1252"}

// Delimiters may stand between the columns of a file.
var Delimiters = []string{",", ";", "\t", "|"}

// maxSheet bounds the name of a sheet, in bytes.
const maxSheet = 200

// ImportOptions say of a file what looking at it does not, and what to do with
// it. What is empty is found by looking.
type ImportOptions struct {
	TZ        string `json:"tz,omitempty"`        // of dates that name no zone (IANA); "": UTC
	Encoding  string `json:"encoding,omitempty"`  // one of Encodings
	Delimiter string `json:"delimiter,omitempty"` // one of Delimiters
	Sheet     string `json:"sheet,omitempty"`     // name or number from 1; "": the first that is shown
	DryRun    bool   `json:"dry_run,omitempty"`   // report, and fill nothing
}

// Check returns an *Invalid that names every option which is not possible.
func (o ImportOptions) Check() error {
	var c checker
	_, err := o.Zone()
	c.want(err == nil, "tz", "must be a time zone such as Europe/Berlin or UTC")
	c.want(o.Encoding == "" || slices.Contains(Encodings, o.Encoding), "encoding", "must be one of "+strings.Join(Encodings, ", "))
	c.want(o.Delimiter == "" || slices.Contains(Delimiters, o.Delimiter), "delimiter", "must be one of comma, semicolon, tab, pipe")
	c.want(len(o.Sheet) <= maxSheet && isText(o.Sheet), "sheet", "must be the name of a sheet, or its number from 1")
	return c.err()
}

// Zone is where dates are read that name no zone.
func (o ImportOptions) Zone() (*time.Location, error) {
	if o.TZ == "Local" { // the server's, which is nobody's business
		return nil, errors.New("no time zone")
	}
	return time.LoadLocation(o.TZ)
}
