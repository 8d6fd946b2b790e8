package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	width = 78 // of a line
	inset = "  "

	// patience is how often one who watches no terminal hears of a long wait.
	patience = 10 * time.Second
)

// A screen is where the demo tells what it does. Where lines cannot be
// rewritten it says less often how a wait goes on.
type screen struct {
	out      io.Writer
	terminal bool
	color    bool
	start    time.Time

	sections int
	unended  bool // a line of progress stands on the terminal
	told     time.Time
}

type style string

const (
	bold  style = "1"
	dim   style = "2"
	red   style = "1;31"
	green style = "32"
	amber style = "33"
)

func (s *screen) paint(as style, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + string(as) + "m" + text + "\x1b[0m"
}

// line ends a line of progress, if one stands there, and writes one of its own.
func (s *screen) line(text string) {
	s.clear()
	fmt.Fprintln(s.out, strings.TrimRight(text, " "))
	s.told = time.Now()
}

func (s *screen) clear() {
	if s.unended {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.unended = false
	}
}

// section begins a part of the story, with the time since the beginning.
func (s *screen) section(title string) {
	s.sections++
	head := fmt.Sprintf("%d  %s ", s.sections, title)
	at := " " + seconds(time.Since(s.start))
	rule := strings.Repeat("─", max(width-utf8.RuneCountInString(head)-utf8.RuneCountInString(at), 3))
	s.line("")
	s.line(s.paint(bold, head) + s.paint(dim, rule+at))
}

// say writes a text, folded to the width.
func (s *screen) say(format string, args ...any) {
	for _, text := range fold(fmt.Sprintf(format, args...), width-len(inset)) {
		s.line(inset + text)
	}
}

// show writes something as it is.
func (s *screen) show(text string) {
	s.line(inset + "  " + s.paint(dim, shorten(text, width-len(inset)-2)))
}

// fold breaks a text between words.
func fold(text string, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Split(text, " ") {
		switch {
		case line == "":
			line = word
		case visible(line)+1+visible(word) <= most:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// visible counts the characters that are seen of a text, colours not.
func visible(text string) int {
	n, hidden := 0, false
	for _, r := range text {
		switch {
		case r == '\x1b':
			hidden = true
		case !hidden:
			n++
		case r == 'm':
			hidden = false
		}
	}
	return n
}

// shorten cuts a text that is too long for its place.
func shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// fact writes what something is, and how long it took or where it is.
func (s *screen) fact(what, value string) {
	s.line(inset + pad(what, 44) + value)
}

// progress says how a wait goes on.
func (s *screen) progress(format string, args ...any) {
	text := shorten(inset+fmt.Sprintf(format, args...), width)
	switch {
	case s.terminal:
		fmt.Fprint(s.out, "\r\x1b[K"+s.paint(dim, text))
		s.unended = true
	case time.Since(s.told) >= patience:
		s.line(text)
	}
}

// table writes rows in columns; those whose index is among right are numbers.
func (s *screen) table(rows [][]string, right ...int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	numeric := map[int]bool{}
	for _, i := range right {
		numeric[i] = true
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if numeric[i] {
				cell = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + cell
			}
			b.WriteString(pad(cell, widths[i]) + "  ")
		}
		text := strings.TrimRight(b.String(), " ")
		if n == 0 {
			text = s.paint(dim, text)
		}
		s.line(inset + "  " + text)
	}
}

// pad fills text up with blanks.
func pad(text string, to int) string {
	return text + strings.Repeat(" ", max(to-utf8.RuneCountInString(text), 0))
}

// bar draws how much of the whole is done.
func bar(done, whole int64) string {
	const cells = 24
	full := 0
	if whole > 0 {
		full = int(min(done, whole) * cells / whole)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", cells-full)
}

// seconds writes a duration as people say it.
func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// number writes 1234567 as 1,234,567.
func number[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// rate is how many a second, in round figures.
func rate(n int, d time.Duration) string {
	perSecond := int(float64(n) / max(d.Seconds(), 0.001))
	if perSecond > 1000 {
		perSecond -= perSecond % 100
	}
	return number(perSecond) + " a second"
}

// masked hides the end of a code: who watches a demo need not be able to use it.
func masked(code string) string {
	shown := strings.LastIndexByte(code, '-') + 1
	if shown == 0 {
		shown = len(code) / 2
	}
	for shown > 0 && !utf8.RuneStart(code[min(shown, len(code)-1)]) {
		shown--
	}
	return code[:shown] + strings.Repeat("•", utf8.RuneCountInString(code[shown:]))
}
