package verify

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Widths of what a person reads: text is broken, and a table of samples that would
// be wider is written with one field a line's part instead.
const (
	textWidth  = 98
	tableWidth = 118
)

// write writes what is wrong, where, and what to do.
func (f *Finding) write(b *strings.Builder) {
	wrap(b, "  ", "  ", strings.Fields(f.What))
	if f.Shown != "" {
		wrap(b, "  Shown: ", "  ", strings.Fields(f.Shown))
	}
	f.writeSamples(b)
	if more := f.Count - int64(len(f.Samples)); more > 0 {
		fmt.Fprintf(b, "    and %s more\n", group(more))
	}
	wrap(b, "  To do: ", "  ", strings.Fields(f.Do))
}

// writeSamples writes a table without the fields that no sample has.
func (f *Finding) writeSamples(b *strings.Builder) {
	if len(f.Samples) == 0 {
		return
	}
	var names []string
	var table [][]string
	for i := range f.Samples[0] {
		column := []string{f.Samples[0][i].Name}
		some := false
		for _, s := range f.Samples {
			column = append(column, shown(s[i].Value))
			some = some || s[i].Value != nil
		}
		if some {
			names = append(names, column[0])
			table = append(table, column)
		}
	}
	width := 4
	widths := make([]int, len(table))
	for i, column := range table {
		for _, cell := range column {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
		width += widths[i] + 2
	}
	if width > tableWidth {
		for row := range f.Samples {
			var parts []string
			for i, name := range names {
				if cell := table[i][row+1]; cell != "" {
					parts = append(parts, name+"="+cell)
				}
			}
			wrap(b, "    ", "      ", parts)
		}
		return
	}
	for row := range len(f.Samples) + 1 {
		line := "  "
		for i, column := range table {
			line += "  " + column[row] + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(column[row]))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// shown is a value on one line; null is nothing.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		if v == "" || strings.ContainsAny(v, "\"\n\t") || !strconv.CanBackquote(v) {
			return strconv.Quote(v)
		}
		return v
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = shown(v[i])
		}
		return strings.Join(items, ",")
	}
	return fmt.Sprint(value)
}

// wrap writes words in lines, the first after first and the others after rest.
func wrap(b *strings.Builder, first, rest string, words []string) {
	b.WriteString(first)
	at, begun := utf8.RuneCountInString(first), true
	for _, w := range words {
		n := utf8.RuneCountInString(w)
		switch {
		case begun:
			begun = false
		case at+1+n > textWidth:
			b.WriteString("\n" + rest)
			at = utf8.RuneCountInString(rest)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += n
	}
	b.WriteByte('\n')
}
