package importing_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"promopool/internal/domain"
	"promopool/internal/importing"
)

const xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// send hands a file in and waits for its end.
func (w *world) send(u domain.Upload, file io.Reader) domain.Import {
	w.Helper()
	if u.PoolID == "" {
		u.PoolID = "mugs"
	}
	i, err := importing.NewIntake(w.store, 1<<30, w.wake).Receive(w.Context(), u, file)
	if err != nil {
		w.Fatal(err)
	}
	return w.end(i.Task)
}

// report is what an import says of refused rows.
func (w *world) report(task int64) []string {
	w.Helper()
	refusals, err := w.store.Refusals(w.Context(), task, 0, 1000)
	if err != nil {
		w.Fatal(err)
	}
	var lines []string
	for _, r := range refusals {
		lines = append(lines, fmt.Sprintf("%d %s %s", r.Line, r.Reason, r.Value))
	}
	return lines
}

func (w *world) rejected(task int64) string {
	w.Helper()
	var b bytes.Buffer
	if err := importing.NewIntake(w.store, 1<<20, w.wake).WriteRejected(w.Context(), task, &b); err != nil {
		w.Fatal(err)
	}
	return b.String()
}

// nasty is a file with a mark, semicolons, CRLF, a delimiter in quotes, and a
// row of each kind that is refused; nothing ends its last line.
var nasty = "\xef\xbb\xbfCode;Issue Start;IssueEndDateTimeUtc\r\n" +
	"A1;2026-01-01;2099-01-01\r\n" +
	"\"B;2\";;\r\n" +
	"A1;;\r\n" + // 4: twice
	";2026-01-01;\r\n" + // 5: no code
	"C3;31.12.2026;\r\n" + // 6: no date
	"D4;2026-02-01;2026-01-01\r\n" + // 7: ends first
	"E5;;;;x\r\n" + // 8: too many columns
	nastyCode + ";;\r\n" + // 9: 500 characters
	"=F6;;2099-01-01" // a formula, and no newline

var nastyCode = strings.Repeat("x", 500)

var nastyReport = []string{
	"4 duplicate_in_file A1", "5 empty_code ", "6 bad_date 31.12.2026", "7 end_before_start 2026-02-01 – 2026-01-01",
	"8 too_many_columns 5 columns instead of 3", "9 code_too_long " + nastyCode[:200] + "…",
}

// fixNasty corrects the refused rows of nasty as a person would in a table.
func fixNasty(t testing.TB, rejected string) string {
	t.Helper()
	rejected = strings.TrimPrefix(rejected, "\xef\xbb\xbf")
	in := csv.NewReader(strings.NewReader(rejected))
	in.Comma = ';'
	if strings.HasPrefix(rejected, "Code,") {
		in.Comma = ','
	}
	rows, err := in.ReadAll()
	if err != nil {
		t.Fatalf("%v in\n%s", err, rejected)
	}
	for _, row := range rows[1:] {
		switch row[len(row)-1] {
		case "duplicate_in_file", "empty_code", "code_too_long", "too_many_columns":
			row[0], row[1], row[2] = "FIXED-"+row[len(row)-2], "", ""
		case "bad_date":
			row[1] = "2025-12-31"
		case "end_before_start":
			row[2] = "2099-01-01"
		}
	}
	var b strings.Builder
	out := csv.NewWriter(&b)
	out.Comma = in.Comma
	if err := out.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sheetOf is a file of CSV as a workbook, each cell as text but for the dates,
// which are dates.
func sheetOf(t testing.TB, text string, delimiter rune) []byte {
	t.Helper()
	in := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\xef\xbb\xbf")))
	in.Comma, in.FieldsPerRecord = delimiter, -1
	rows, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	b := excelize.NewFile()
	defer b.Close()
	style, err := b.NewStyle(&excelize.Style{NumFmt: 14})
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		for j, text := range row {
			at, _ := excelize.CoordinatesToCellName(j+1, i+1)
			var value any = text
			if day, err := time.Parse(time.DateOnly, text); err == nil {
				value = day
			}
			if text == "" {
				continue
			}
			if err := errors.Join(b.SetCellValue("Sheet1", at, value)); err != nil {
				t.Fatal(err)
			}
			if value != any(text) {
				if err := b.SetCellStyle("Sheet1", at, at, style); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The file of ten nasty properties names every row rightly, in whichever form
// it comes, and its refused rows, corrected, go in.
func TestNastyFile(t *testing.T) {
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(strings.TrimPrefix(nasty, "\xef\xbb\xbf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, media string
		content     []byte
	}{
		{"CSV", "text/csv", []byte(nasty)},
		{"UTF16", "text/csv", []byte(utf16)},
		{"XLSX", xlsx, sheetOf(t, nasty, ';')},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.run(w.store)
			rehearsed := w.send(domain.Upload{MediaType: tt.media, Options: domain.ImportOptions{DryRun: true}}, bytes.NewReader(tt.content))
			i := w.send(domain.Upload{MediaType: tt.media}, bytes.NewReader(tt.content))
			for _, i := range []domain.Import{rehearsed, i} {
				if i.Status != domain.ImportCompletedWithRefusal || i.Rows != 9 || i.Added != 3 || i.Refused != 6 || i.BytesDone != i.Bytes {
					t.Errorf("got %+v", i)
				}
				if diff := cmp.Diff(nastyReport, w.report(i.Task)); diff != "" {
					t.Error(diff)
				}
			}
			for _, code := range []string{"A1", "B;2", "=F6"} {
				if n := w.count(`SELECT count(*) FROM codes WHERE code = $1`, code); n != 1 {
					t.Errorf("%s: %d times in the pool", code, n)
				}
			}
			rejected := w.rejected(i.Task)
			again := w.send(domain.Upload{MediaType: "text/csv"}, strings.NewReader(fixNasty(t, rejected)))
			if again.Status != domain.ImportCompleted || again.Added != 6 || len(again.Layout.Ignored()) != 0 {
				t.Errorf("corrected:\n%s\ngot %+v, %q", rejected, again, w.report(again.Task))
			}
			w.settled()
		})
	}
}

// A dry run tells what the same file does afterwards, and does nothing: with
// codes in the pool, codes twice within and across chunks, and rows refused.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	w.send(domain.Upload{}, strings.NewReader("D-0000001\nD-0003000\n"))
	file := numbered("D", 55_000) // chunks of 2,000, 50,000 and more
	file.WriteString("D-0000002\nD-0054000\nD-0010000;never\nNEW\nNEW\n")
	before := w.count(`SELECT count(*) FROM codes`)

	rehearsed := w.send(domain.Upload{Options: domain.ImportOptions{DryRun: true}}, bytes.NewReader(file.Bytes()))
	if n := w.count(`SELECT count(*) FROM codes`); n != before {
		t.Errorf("a dry run left %d codes", n-before)
	}
	if !rehearsed.Options.DryRun || rehearsed.BytesDone != rehearsed.Bytes {
		t.Errorf("got %+v", rehearsed)
	}
	done := w.send(domain.Upload{}, bytes.NewReader(file.Bytes()))
	if rehearsed.Status != done.Status || rehearsed.Rows != done.Rows || rehearsed.Added != done.Added || rehearsed.Moved != done.Moved ||
		rehearsed.Unchanged != done.Unchanged || rehearsed.Refused != done.Refused {
		t.Errorf("rehearsed %+v\n     done %+v", rehearsed, done)
	}
	if done.Added != 54_999 {
		t.Errorf("got %+v, want 54,999 added", done)
	}
	if diff := cmp.Diff(w.report(done.Task), w.report(rehearsed.Task)); diff != "" {
		t.Error(diff)
	}
	w.settled()
	if n := w.count(`SELECT count(*) FROM import_seen`) + w.count(`SELECT count(*) FROM imports WHERE seen_kept`); n != 0 {
		t.Errorf("%d codes of a dry run are kept", n)
	}
}

// A dry run whose commits fail, before or after they took effect, counts each
// row once.
func TestDryRunResumed(t *testing.T) {
	for at := int32(1); at <= 3; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("Step%dAfter%t", at, after), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.run(&faulty{Store: w.store, at: at, after: after})
				file := numbered("R", 52_500)
				file.WriteString("R-0000001\nR-0052000\n")
				i := w.send(domain.Upload{Options: domain.ImportOptions{DryRun: true}}, file)
				if i.Status != domain.ImportCompletedWithRefusal || i.Rows != 52_502 || i.Added != 52_500 || i.Refused != 2 {
					t.Errorf("got %+v", i)
				}
				w.settled()
			})
		}
	}
}

// Files that are decoded go on where they were as others do.
func TestDecodedResumed(t *testing.T) {
	const n = 52_500
	rows := numbered("Щ", n).String()
	page, err := charmap.Windows1251.NewEncoder().String(rows)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String(rows)
	if err != nil {
		t.Fatal(err)
	}
	b := excelize.NewFile()
	defer b.Close()
	sheet, err := b.NewStreamWriter("Sheet1")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(rows), "\r\n") {
		code, end, _ := strings.Cut(line, ";")
		if err := sheet.SetRow(fmt.Sprintf("A%d", i+1), []any{code, end}); err != nil {
			t.Fatal(err)
		}
	}
	var book bytes.Buffer
	if err := errors.Join(sheet.Flush(), b.Write(&book)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		o             domain.ImportOptions
	}{
		{"CodePage", page, domain.ImportOptions{Encoding: "windows-1251"}},
		{"UTF16", wide, domain.ImportOptions{}},
		{"XLSX", book.String(), domain.ImportOptions{}},
	} {
		for at := int32(1); at <= 3; at++ {
			t.Run(fmt.Sprintf("%s%d", tt.name, at), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.run(&faulty{Store: w.store, at: at, after: at%2 == 0})
				i := w.send(domain.Upload{Options: tt.o}, strings.NewReader(tt.content))
				if i.Status != domain.ImportCompleted || i.Added != n || i.BytesDone != i.Bytes {
					t.Errorf("got %+v", i)
				}
				w.settled()
			})
		}
	}
}

// A process of the release before, which knows no options, takes no import that
// this one has received.
func TestOlderReader(t *testing.T) {
	w := newWorld(t)
	task := w.upload("mugs", strings.NewReader("A1\n")).Task
	claim := func() int64 {
		tag, err := w.conn.Exec(context.Background(), `UPDATE imports SET status = 'running', attempts = attempts + 1 WHERE task = $1 AND status IN ('waiting', 'running')`, task)
		if err != nil {
			t.Fatal(err)
		}
		return tag.RowsAffected()
	}
	if n := claim(); n != 0 {
		t.Error("an older process has claimed it")
	}
	if _, err := w.conn.Exec(context.Background(), `UPDATE imports SET reader = 1`); err != nil {
		t.Fatal(err)
	}
	if n := claim(); n != 1 {
		t.Error("an older process can't go on with its own")
	}
	w.run(w.store)
	if i := w.end(task); i.Added != 1 {
		t.Errorf("got %+v", i)
	}
}

// The template, filled in, goes in.
func TestTemplateFilled(t *testing.T) {
	w := newWorld(t)
	w.run(w.store)
	var empty bytes.Buffer
	if err := importing.NewIntake(w.store, 1<<20, w.wake).WriteTemplate(&empty, domain.FormatXLSX); err != nil {
		t.Fatal(err)
	}
	b, err := excelize.OpenReader(&empty)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	end := time.Date(2099, 12, 31, 22, 30, 0, 0, time.UTC)
	for row, code := range []string{"00123", "1E5", "SUMMER"} {
		for column, value := range []any{code, nil, end, nil, end.AddDate(1, 0, 0)} {
			at, _ := excelize.CoordinatesToCellName(column+1, row+2)
			style, err := b.GetColStyle("Codes", at[:1])
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.SetCellValue("Codes", at, value), b.SetCellStyle("Codes", at, at, style)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var filled bytes.Buffer
	if err := b.Write(&filled); err != nil {
		t.Fatal(err)
	}
	i := w.send(domain.Upload{MediaType: xlsx, Options: domain.ImportOptions{TZ: "Europe/Berlin"}}, &filled)
	if i.Status != domain.ImportCompleted || i.Added != 3 {
		t.Errorf("got %+v %q", i, w.report(i.Task))
	}
	if n := w.count(`SELECT count(*) FROM codes JOIN lots USING (pool, lot) WHERE code IN ('00123', '1E5') AND issue_end = '2099-12-31 21:30Z'`); n != 2 {
		t.Errorf("got %d codes with their window, want 2", n)
	}
}

// A workbook that a person made, with titles in merged cells, date cells, empty
// rows and codes that look like numbers: each code is in as it was typed or
// refused with its row, and the refused rows, corrected, go in.
func TestPersonsWorkbook(t *testing.T) {
	b := excelize.NewFile()
	defer b.Close()
	set := func(at string, value any, style int) {
		t.Helper()
		if err := errors.Join(b.SetCellValue("Sheet1", at, value), b.SetCellStyle("Sheet1", at, at, style)); err != nil {
			t.Fatal(err)
		}
	}
	style := func(format int) int {
		s, err := b.NewStyle(&excelize.Style{NumFmt: format})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	date, scientific := style(22), style(11)
	set("A1", "Summer 2026", 0)
	if err := b.MergeCell("Sheet1", "A1", "C2"); err != nil {
		t.Fatal(err)
	}
	set("A4", "Code", 0)
	set("B4", "Issue End", 0)
	set("C4", "Owner", 0)
	for i, cell := range []struct {
		value any
		style int
	}{
		{"00123", 0}, {"1E5", 0}, {100000, 0}, {1e5, scientific}, {0.5, 0}, {time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC), date}, {true, 0}, {"=2+2", 0},
	} {
		row := fmt.Sprint(5 + i)
		set("A"+row, cell.value, cell.style)
		set("B"+row, time.Date(2099, 7, 1, 10, 0, 0, 0, time.UTC), date)
		set("C"+row, "Zoë", 0)
	}
	for row := 13; row < 200; row++ {
		set(fmt.Sprint("B", row), nil, date)
	}
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t)
	w.run(w.store)
	i := w.send(domain.Upload{MediaType: xlsx, Options: domain.ImportOptions{TZ: "Europe/Paris"}}, &file)
	want := []string{"8 number_not_exact 100000", "9 number_not_exact 0.5", "10 date_as_code 2026-03-04", "11 boolean_as_code TRUE"}
	if diff := cmp.Diff(want, w.report(i.Task)); diff != "" || i.Rows != 8 || i.Added != 4 {
		t.Errorf("got %+v\n%s", i, diff)
	}
	rejected := w.rejected(i.Task)
	const rows = "\xef\xbb\xbfCode,Issue End,Owner,line,reason\n" +
		"100000,2099-07-01 10:00:00,Zoë,8,number_not_exact\n" +
		"0.5,2099-07-01 10:00:00,Zoë,9,number_not_exact\n" +
		"2026-03-04,2099-07-01 10:00:00,Zoë,10,date_as_code\n" +
		"TRUE,2099-07-01 10:00:00,Zoë,11,boolean_as_code\n"
	if rejected != rows {
		t.Errorf("got %q, want %q", rejected, rows)
	}
	corrected := strings.NewReplacer("\n100000,", "\n1E+05,", "\n0.5,", "\n1/2,", "\n2026-03-04,", "\n3-4,").Replace(rejected)
	again := w.send(domain.Upload{Options: domain.ImportOptions{TZ: "Europe/Paris"}}, strings.NewReader(corrected))
	if again.Status != domain.ImportCompleted || again.Added != 4 {
		t.Errorf("corrected: got %+v, %q", again, w.report(again.Task))
	}
	if n := w.count(`SELECT count(*) FROM codes JOIN lots USING (pool, lot)
		WHERE code IN ('00123', '1E5', '100000', '=2+2', '1E+05', '1/2', '3-4', 'TRUE') AND issue_end = '2099-07-01 08:00Z'`); n != 8 {
		t.Errorf("got %d codes with their window, want 8", n)
	}
	w.settled()
}
