package importing

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"promopool/internal/domain"
)

func parseAll(t testing.TB, p *Parser) []Row {
	t.Helper()
	var rows []Row
	for {
		row, err := p.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
}

// textFile is an upload with the given content.
func textFile(content string, o domain.ImportOptions) File {
	return File{Bytes: strings.NewReader(content), Size: int64(len(content)), MediaType: "text/csv", Options: o}
}

func open(t testing.TB, f File) *Parser {
	t.Helper()
	p, err := Open(f, Position{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func parse(t testing.TB, file string) []Row {
	t.Helper()
	return parseAll(t, open(t, textFile(file, domain.ImportOptions{})))
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestParserLayouts(t *testing.T) {
	full := domain.Window{
		IssueStart: day(2026, 1, 1), IssueEnd: time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC),
		AvailableFrom: time.Date(2026, 2, 1, 10, 0, 0, 5e8, time.UTC), AvailableTill: time.Date(2027, 1, 31, 22, 0, 0, 0, time.UTC),
	}
	const dates = "2026-01-01;2026-12-31 23:59;2026-02-01 10:00:00.500;2027-02-01T00:00:00+02:00"
	comma := strings.ReplaceAll(dates, ";", ",")
	tests := []struct {
		name, file string
		window     domain.Window
		line       int64
		ignored    []string
	}{
		{"CodesOnly", "A1\nB2", domain.Window{}, 1, nil},
		{"FinalNewline", "A1\nB2\n", domain.Window{}, 1, nil},
		{"CRLF", "A1\r\nB2\r\n", domain.Window{}, 1, nil},
		{"ByteOrderMark", "\xef\xbb\xbfA1\nB2\n", domain.Window{}, 1, nil},
		{"BlankLines", "\n  \r\nA1\n\n;;\nB2\n\n", domain.Window{}, 3, nil},
		{"NoHeader", "A1;" + dates + "\nB2;" + dates + "\n", full, 1, nil},
		{"NoHeaderComma", "A1," + comma + "\nB2," + comma, full, 1, nil},
		{"LaterLinesDated", "A1\nB2\n\"C;3\";2026-01-01\n", domain.Window{}, 1, nil},
		{"Header", "code;issue_start;issue_end;available_from;available_till\nA1;" + dates + "\nB2;" + dates, full, 2, nil},
		{"ServiceHeader", "\xef\xbb\xbfCode;IssueStartDateTimeUtc;IssueEndDateTimeUtc;AvailableFromDateTimeUtc;AvailableTillDateTimeUtc\r\nA1;" + dates + "\r\nB2;" + dates, full, 2, nil},
		{"LooseHeader", "\n CODE ,Issue Start, issue-end date,AVAILABLE_FROM,Available till (UTC),availableTill\nA1," + comma[:strings.LastIndex(comma, ",")] + ",x" + comma[strings.LastIndex(comma, ","):] + "\nB2", full, 3, []string{"Available till (UTC)"}},
		{"Quoted", "\"code\",\"note\"\n\"A1\",\"x, \"\"y\"\"\"\n \"B2\" ,\n", domain.Window{}, 2, []string{"note"}},
		{"ColumnsMoved", "note;available_till;code\n;;A1\n;;B2", domain.Window{}, 2, []string{"note"}},
		{"LowestDate", "code;issue_start\nA1;0001-01-01 00:00:00\nB2;0001-01-01T00:00:00Z\n", domain.Window{}, 2, nil},
		{"Tab", "code\tnote\nA1\t1\nB2\t2\n", domain.Window{}, 2, []string{"note"}},
		{"HeaderOfOne", "Promo code\nA1\nB2\n", domain.Window{}, 2, nil},
		{"StrayTab", "code\n A1\n\tB2\n", domain.Window{}, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := open(t, textFile(tt.file, domain.ImportOptions{}))
			rows := parseAll(t, p)
			if len(rows) < 2 || rows[0].Code != "A1" || rows[1].Code != "B2" {
				t.Fatalf("got %+v, want A1 and B2", rows)
			}
			if rows[0].Refused != "" || rows[0].Line != tt.line {
				t.Errorf("got %+v, want line %d", rows[0], tt.line)
			}
			if diff := cmp.Diff(tt.window, rows[0].Window); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.ignored, p.Layout().Ignored()); diff != "" {
				t.Error(diff)
			}
			if got, want := p.Position().Offset, int64(len(tt.file)); got != want {
				t.Errorf("offset at the end: got %d, want %d", got, want)
			}
			if got, want := p.Position().Line, int64(strings.Count(strings.TrimSuffix(tt.file, "\n"), "\n")+1); got != want {
				t.Errorf("line at the end: got %d, want %d", got, want)
			}
		})
	}
}

func TestParserRefuses(t *testing.T) {
	long := strings.Repeat("x", maxRecord)
	tests := []struct {
		name, row string
		want      domain.RefusalReason
		line      int64 // of GOOD behind it
	}{
		{"NoCode", `;2026-01-01`, domain.EmptyCode, 3},
		{"Blank", `"  ";2026-01-01`, domain.EmptyCode, 3},
		{"LongCode", strings.Repeat("é", 101), domain.CodeTooLong, 3},
		{"Control", "A\x00B", domain.CodeControl, 3},
		{"C1Control", "A\u0085B", domain.CodeControl, 3},
		{"Latin1", "Stra\xdfe", domain.NotUTF8, 3},
		{"BadDate", "A;31.12.2026", domain.BadDate, 3},
		{"NoSuchDay", "A;2026-02-30", domain.BadDate, 3},
		{"LowestEnd", "A;;0001-01-01", domain.BadDate, 3}, // is none meant by it?
		{"LowestTill", "A;;;;0001-01-01T00:00:00Z", domain.BadDate, 3},
		{"Beyond", "A;;9999-12-31T23:59:59-10:00", domain.BadDate, 3},
		{"EndFirst", "A;2026-12-31;2026-12-30", domain.EndBeforeStart, 3},
		{"EndAtStart", "A;;;2026-12-31;2026-12-31", domain.EndBeforeStart, 3},
		{"NeverUsable", "A;2026-12-31;;;2026-01-01", domain.EndBeforeStart, 3},
		{"Columns", "A;;;;;more", domain.TooManyColumns, 3},
		{"QuoteInside", `A"B`, domain.QuoteMisplaced, 3},
		{"QuoteEndsEarly", `"A"B;`, domain.QuoteMisplaced, 3},
		{"QuoteOpen", `"A;2026-01-01`, domain.QuoteUnclosed, 3},
		{"LineBreak", "\"A\nB\";2026-01-01", domain.LineBreak, 4},
		{"TooLong", long, domain.LineTooLong, 3},
		{"VeryLong", long + long + "\"\n" + strings.Repeat("\n", 3), domain.LineTooLong, 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := "code;issue_start;issue_end;available_from;available_till\n" + tt.row + "\nGOOD\n"
			rows := parseAll(t, open(t, textFile(file, domain.ImportOptions{Encoding: "utf-8"})))
			if len(rows) != 2 {
				t.Fatalf("got %d rows, want 2", len(rows))
			}
			if rows[0].Refused != tt.want || rows[0].Line != 2 {
				t.Errorf("got %q in line %d, want %q in line 2", rows[0].Refused, rows[0].Line, tt.want)
			}
			if rows[1].Code != "GOOD" || rows[1].Refused != "" || rows[1].Line != tt.line {
				t.Errorf("behind it: got %+v, want GOOD in line %d", rows[1], tt.line)
			}
		})
	}
}

// A quote that is never closed costs its own row, whatever stands behind it.
func TestParserQuoteSwallowsNothing(t *testing.T) {
	for name, end := range map[string]string{"Alone": "", "OtherQuote": "\"Z\"\n", "FarQuote": "Z\"\n"} {
		t.Run(name, func(t *testing.T) {
			rows := parse(t, "code\n\"A\n"+strings.Repeat("B\n", 5000)+end)
			if rows[0].Refused != domain.QuoteUnclosed {
				t.Errorf("got %+v, want it refused", rows[0])
			}
			taken := 0
			for _, r := range rows {
				if r.Code == "B" {
					taken++
				}
			}
			if taken != 5000 {
				t.Errorf("got %d rows behind it, want 5000", taken)
			}
		})
	}
}

func TestParserWholeFile(t *testing.T) {
	tests := []struct {
		name, file string
		want       error
	}{
		{"DamagedWorkbook", "PK\x03\x04....", errDamaged},
		{"OldWorkbook", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", errOldWorkbook},
		{"Binary", "A\x00\x00\x00\n\x00\x00", errNotText},
		{"Unclear", "code\n\xc0-1\n", errUnclear},
		{"NoCode", "promo;issue_start\nA1;2026-01-01\n", errNoCode},
		{"Twice", "code;issue_start;IssueStart\nA1\n", errTwice},
		{"Columns", "code" + strings.Repeat(";", 300) + "\nA1\n", errTooManyCol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Open(textFile(tt.file, domain.ImportOptions{}), Position{}, nil)
			if err == nil {
				_, err = p.Next()
			}
			if !errors.Is(err, tt.want) || !errors.Is(err, ErrFile) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if rows := parse(t, ""); len(rows) != 0 {
		t.Errorf("empty file: got %v", rows)
	}
	if rows := parse(t, "code;issue_end"); len(rows) != 0 {
		t.Errorf("header only: got %v", rows)
	}
}

func TestParserNormalForm(t *testing.T) {
	rows := parse(t, "\u00a0Cafe\u0301 \n'=1+1\n'A\n")
	for i, want := range []string{"Café", "=1+1", "'A"} {
		if rows[i].Code != want {
			t.Errorf("got %q, want %q", rows[i].Code, want)
		}
	}
}

// Whatever the file, a parser begun at any position gives the rest of it.
func TestParserResumed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
			"A1", "B2", ";", ",", "\n", "\n", "\r\n", `"`, `""`, " ", "2026-01-01", "é", "\xff", "\x01", "code", "\xef\xbb\xbf",
			strings.Repeat("B\n", 30), strings.Repeat("x", 300), strings.Repeat("y", maxRecord-100),
		}), 0, 60).Draw(rt, "file")
		f := textFile(strings.Join(pieces, ""), domain.ImportOptions{
			Encoding: rapid.SampledFrom(append([]string{""}, domain.Encodings...)).Draw(rt, "encoding"),
		})
		f.MediaType = rapid.SampledFrom([]string{"text/csv", "text/plain"}).Draw(rt, "media")
		checkResumed(rt, f)
	})
}

// checkResumed reads a file whole, and again from behind each row.
func checkResumed(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, f File,
) {
	p, err := Open(f, Position{}, nil)
	if errors.Is(err, ErrFile) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var rows []Row
	at, done := []Position{{}}, []int64{0}
	layouts := []*domain.Layout{nil}
	for {
		row, err := p.Next()
		if errors.Is(err, ErrFile) {
			return
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
		at, layouts, done = append(at, p.Position()), append(layouts, p.Layout()), append(done, p.Done())
	}
	if p.Done() != f.Size {
		t.Fatalf("ended at %d of %d bytes", p.Done(), f.Size)
	}
	for i := range at {
		if i > 0 && (at[i].Line <= at[i-1].Line || done[i] < done[i-1] || done[i] > f.Size) {
			t.Fatalf("line %d, byte %d behind line %d, byte %d", at[i].Line, done[i], at[i-1].Line, done[i-1])
		}
		if i > 50 && i%97 != 0 { // enough of long files
			continue
		}
		again, err := Open(f, at[i], layouts[i])
		if err != nil {
			t.Fatal(err)
		}
		for n := i; ; n++ {
			row, err := again.Next()
			if errors.Is(err, io.EOF) && n == len(rows) {
				break
			}
			if err != nil || n == len(rows) || row != rows[n] {
				t.Fatalf("from %+v: got %+v, %v as row %d of %d", at[i], row, err, n, len(rows))
			}
		}
		if again.Done() != f.Size {
			t.Fatalf("from %+v: ended at %d of %d bytes", at[i], again.Done(), f.Size)
		}
		again.Close()
	}
}

func BenchmarkParser(b *testing.B) {
	const row = "ABCDEFGHJKLMN;2026-01-01 00:00;2027-12-31 23:59:59;2026-01-01;2028-01-31 00:00:00\n"
	file := "Code;IssueStartDateTimeUtc;IssueEndDateTimeUtc;AvailableFromDateTimeUtc;AvailableTillDateTimeUtc\n" + strings.Repeat(row, 100_000)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		p := open(b, textFile(file, domain.ImportOptions{}))
		for {
			if _, err := p.Next(); err != nil {
				break
			}
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "rows/s")
}
