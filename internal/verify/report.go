package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Report is what an audit found.
type Report struct {
	Checks   []Check  `json:"checks"`
	InFlight InFlight `json:"in_flight"`
	Notes    []string `json:"notes"` // what could not be audited, and what is odd without breaking a promise
	Read     Read     `json:"read"`
	Cut      Cut      `json:"cut"`
	Seconds  float64  `json:"seconds"`
}

// Check is the verdict on one invariant.
type Check struct {
	Number     int       `json:"invariant"`
	Name       string    `json:"name"`
	Checked    string    `json:"checked"`
	Violations int64     `json:"violations"`
	Findings   []Finding `json:"findings,omitempty"`
}

// Finding is one way in which an invariant is broken.
type Finding struct {
	Rule    string   `json:"rule"`
	What    string   `json:"what"`
	Shown   string   `json:"shown,omitempty"` // whose partitions and offsets are in the samples
	Do      string   `json:"do"`
	Count   int64    `json:"count"`
	Samples []Sample `json:"samples"`
}

// maxSamples bounds the samples of a finding that are shown, and distinctSamples
// those that a watch tells apart.
const (
	maxSamples      = 10
	distinctSamples = 10_000
)

// Sample says where a violation is: places, requests, offsets; never a code.
type Sample []Field

// Field is a named value of a sample.
type Field struct {
	Name  string
	Value any
}

// Read counts what was read of the topics.
type Read struct {
	Requests int64 `json:"requests"` // for codes and for redemptions
	Events   int64 `json:"events"`
}

// Cut says up to where the topics were audited, by partition.
type Cut struct {
	Stream      string  `json:"stream"`
	Committed   []int64 `json:"committed"` // requests below must be answered
	Requests    []int64 `json:"requests"`
	Outcomes    []int64 `json:"outcomes"`
	DeadLetters []int64 `json:"dead_letters"`
	Redemptions []int64 `json:"redemptions"` // redemption requests below must be answered

	PoolEvents    []int64 `json:"pool_events"`
	Notifications []int64 `json:"notifications"`
}

// InFlight counts deliveries that nobody has a right to an answer to yet.
type InFlight struct {
	Undecided  int64 `json:"undecided"`
	Unanswered int64 `json:"unanswered"` // decided; perhaps published, but the group's offset does not say so

	Redemptions int64 `json:"redemptions"` // perhaps answered, but the group's offset does not say so
}

// Holds reports whether every invariant that was checked holds.
func (r *Report) Holds() bool {
	for _, c := range r.Checks {
		if c.Violations > 0 {
			return false
		}
	}
	return true
}

func (c *Check) add(findings ...Finding) {
	for _, f := range findings {
		c.Findings = append(c.Findings, f)
		c.Violations += f.Count
	}
}

func (a *audit) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.report.Notes = append(a.report.Notes, fmt.Sprintf(format, args...))
}

// flaw records a violation that shows in one event alone.
func (a *audit) flaw(invariant int, f Finding, s Sample) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.flaws[invariant] {
		if have := &a.flaws[invariant][i]; have.Rule == f.Rule && have.What == f.What {
			have.Count++
			if len(have.Samples) < a.samples() {
				have.Samples = append(have.Samples, s)
			}
			return
		}
	}
	f.Count, f.Samples = 1, []Sample{s}
	a.flaws[invariant] = append(a.flaws[invariant], f)
}

// MarshalJSON writes a sample as an object, in the order of its fields.
func (s Sample) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// WriteText writes the report for a person: a table, then what is broken.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	table := [][]string{{"", "invariant", "checked", "violations", ""}}
	for _, c := range r.Checks {
		verdict := "holds"
		if c.Violations > 0 {
			verdict = "BROKEN"
		}
		table = append(table, []string{strconv.Itoa(c.Number), c.Name, c.Checked, group(c.Violations), verdict})
	}
	writeTable(&b, table)
	if err := writeFindings(&b, r.Checks); err != nil {
		return err
	}
	b.WriteByte('\n')
	if n := r.InFlight.Undecided; n > 0 {
		fmt.Fprintf(&b, "In flight: %s not decided yet.\n", number(n, "request"))
	}
	if n := r.InFlight.Unanswered; n > 0 {
		fmt.Fprintf(&b, "In flight: %s decided, the answers not confirmed yet.\n", number(n, "request"))
	}
	if n := r.InFlight.Redemptions; n > 0 {
		fmt.Fprintf(&b, "In flight: %s, the answers not confirmed yet.\n", number(n, "redemption"))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "Note: %s.\n", n)
	}
	fmt.Fprintf(&b, "%s (audited in %.1f s)\n", r.summary(), r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFindings(w io.Writer, checks []Check) error {
	var b strings.Builder
	for _, c := range checks {
		for _, f := range c.Findings {
			fmt.Fprintf(&b, "\n%d %s, rule %s: %s\n", c.Number, c.Name, f.Rule, number(f.Count, "violation"))
			f.write(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) summary() string {
	broken := 0
	for _, c := range r.Checks {
		if c.Violations > 0 {
			broken++
		}
	}
	if broken == 0 {
		return fmt.Sprintf("All %d invariants hold.", len(r.Checks))
	}
	return fmt.Sprintf("%d of %d invariants BROKEN.", broken, len(r.Checks))
}

// writeTable aligns columns; the one before the last holds numbers.
func writeTable(b *strings.Builder, table [][]string) {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range table {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case i == len(row)-1:
				b.WriteString(cell)
			case i == len(row)-2:
				b.WriteString(pad + cell + "  ")
			default:
				b.WriteString(cell + pad + "  ")
			}
		}
		b.WriteByte('\n')
	}
}

// number writes "1 request", "2,000 requests".
func number(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return group(n) + " " + noun
}

// group writes 1234567 as 1,234,567.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func offsets(all []int64) string {
	parts := make([]string, len(all))
	for i, o := range all {
		parts[i] = strconv.FormatInt(o, 10)
	}
	return strings.Join(parts, ", ")
}
