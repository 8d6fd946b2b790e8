package importing

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"promopool/internal/domain"
)

// parts are the files in a workbook.
type parts map[string]string

// with replaces parts; "" leaves one out.
func (p parts) with(more parts) parts {
	p = maps.Clone(p)
	maps.Copy(p, more)
	return p
}

const (
	relations = `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">%s</Relationships>`
	officeRel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
)

// plainBook is the least workbook: a sheet with the given rows.
func plainBook(rows string) parts {
	return parts{
		"_rels/.rels": fmt.Sprintf(relations, `<Relationship Id="r1" Type="`+officeRel+`officeDocument" Target="xl/workbook.xml"/>`),
		"xl/workbook.xml": `<?xml version="1.0" encoding="UTF-8"?><workbook><workbookPr/><sheets>` +
			`<sheet name="Codes" sheetId="1" r:id="r1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": fmt.Sprintf(relations, `<Relationship Id="r1" Type="`+officeRel+`worksheet" Target="worksheets/sheet1.xml"/>`+
			`<Relationship Id="r2" Type="`+officeRel+`styles" Target="/xl/styles.xml"/><Relationship Id="r3" Type="`+officeRel+`sharedStrings" Target="sharedStrings.xml"/>`),
		"xl/worksheets/sheet1.xml": `<worksheet><sheetData>` + rows + `</sheetData></worksheet>`,
	}
}

func (p parts) file(t testing.TB) File {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if p[name] == "" {
			continue
		}
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, p[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bookFile(b.Bytes())
}

func bookFile(b []byte) File {
	return File{Bytes: bytes.NewReader(b), Size: int64(len(b)), MediaType: mediaXLSX}
}

// made is a workbook that a library writes.
func made(t testing.TB, build func(b *excelize.File, sheet string)) File {
	t.Helper()
	b := excelize.NewFile()
	defer b.Close()
	build(b, "Sheet1")
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return bookFile(out.Bytes())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each kind of cell, in the column of codes and in one of dates.
func TestCells(t *testing.T) {
	const styles = `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="00000"/><numFmt numFmtId="165" formatCode="dd.mm.yyyy\ hh:mm;@"/>` +
		`<numFmt numFmtId="166" formatCode="[h]:mm"/><numFmt numFmtId="167" formatCode="&quot;day &quot;0"/><numFmt numFmtId="168" formatCode="[$-F800]mmmm"/></numFmts>` +
		`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>` +
		`<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="11"/><xf numFmtId="166"/><xf numFmtId="167"/><xf numFmtId="168"/>` +
		`<xf numFmtId="49"/><xf numFmtId="14"/><xf numFmtId="20"/><xf numFmtId="1"/></cellXfs></styleSheet>`
	const texts = `<sst><si><t>00123</t></si><si><r><t>1</t></r><r><t xml:space="preserve">E5 </t></r><rPh sb="0" eb="1"><t>no</t></rPh></si>` +
		`<si><t>A_x000D_B</t></si><si><t>_x005F_x0041_</t></si><si><t>2099-01-01</t></si><si/></sst>`
	tests := []struct {
		name, cell string
		code       string // or the value that is refused
		reason     domain.RefusalReason
	}{
		{"SharedText", `t="s"><v>0</v>`, "00123", ""},
		{"RichText", `t="s"><v>1</v>`, "1E5", ""},
		{"Escaped", `t="s"><v>3</v>`, "_x0041_", ""},
		{"LineBreak", `t="s"><v>2</v>`, "A B", domain.LineBreak},
		{"NoText", `t="s"><v>5</v>`, "", domain.EmptyCode},
		{"InlineText", `t="inlineStr"><is><t>=1+1, "x"</t></is>`, `=1+1, "x"`, ""},
		{"InlineLines", "t=\"inlineStr\"><is><t>A\nB</t></is>", "A B", domain.LineBreak},
		{"FormulaText", `t="str"><f>A9</f><v>SUM-7</v>`, "SUM-7", ""},
		{"Digits", `><v>123456789012345</v>`, "123456789012345", ""},
		{"DigitsOtherwise", `><v>1.0E2</v>`, "100", ""},
		{"NumberAsText", `s="7"><v>42</v>`, "42", ""},
		{"TooManyDigits", `><v>1234567890123456</v>`, "1234567890123456", domain.NumberNotExact},
		{"Large", `><v>1.23E+25</v>`, "1.23E+25", domain.NumberNotExact},
		{"Fraction", `><v>0.1</v>`, "0.1", domain.NumberNotExact},
		{"Zeros", `s="1"><v>123</v>`, "00123", ""},
		{"ZerosLong", `s="1"><v>1234567</v>`, "1234567", ""},
		{"ZerosFraction", `s="1"><v>1.5</v>`, "1.5", domain.NumberNotExact},
		{"Whole", `s="10"><v>7</v>`, "7", ""},
		{"Scientific", `s="3"><v>100000</v>`, "100000", domain.NumberNotExact},
		{"Worded", `s="5"><v>7</v>`, "7", domain.NumberNotExact},
		{"Duration", `s="4"><v>1.5</v>`, "1.5", domain.NumberNotExact},
		{"TimeOfDay", `s="9"><v>0.5</v>`, "0.5", domain.NumberNotExact},
		{"Date", `s="2"><v>46023.75</v>`, "2026-01-01 18:00:00", domain.DateAsCode},
		{"BuiltInDate", `s="8"><v>46023</v>`, "2026-01-01", domain.DateAsCode},
		{"Month", `s="6"><v>46023</v>`, "2026-01-01", domain.DateAsCode},
		{"NoDate", `s="8"><v>60</v>`, "60", domain.NumberNotExact},
		{"ISODate", `t="d"><v>2026-01-01T00:00:00</v>`, "2026-01-01T00:00:00", domain.DateAsCode},
		{"Boolean", `t="b"><v>1</v>`, "TRUE", domain.BooleanAsCode},
		{"Error", `t="e"><v>#N/A</v>`, "#N/A", domain.CellError},
		{"Formula", `><f>1+1</f><v>2</v>`, "2", ""},
		{"FormulaNoValue", `><f>1+1</f>`, "", domain.FormulaNoValue},
		{"Empty", `>`, "", domain.EmptyCode},
		{"Mark", `t="inlineStr"><is><t>_x001A_dX</t></is>`, "?dX", domain.CodeControl},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows := `<row r="1"><c r="A1" t="inlineStr"><is><t>code</t></is></c><c r="B1" t="inlineStr"><is><t>issue_end</t></is></c></row>` +
				`<row r="3"><c r="A3" ` + tt.cell + `</c><c r="B3" t="s"><v>4</v></c></row>`
			f := plainBook(rows).with(parts{"xl/styles.xml": styles, "xl/sharedStrings.xml": texts}).file(t)
			got := parseAll(t, open(t, f))
			if len(got) != 1 || got[0].Line != 3 || got[0].Refused != tt.reason {
				t.Fatalf("got %+v, want %q", got, tt.reason)
			}
			if tt.reason == "" && got[0].Code != tt.code || tt.reason != "" && got[0].Value != tt.code {
				t.Errorf("got %+v, want %q", got[0], tt.code)
			}
			checkResumed(t, f)
		})
	}
}

func TestDateCells(t *testing.T) {
	tests := []struct{ raw, want, want1904 string }{
		{"46023", "2026-01-01", "2030-01-02"},
		{"46023.999988425923", "2026-01-01 23:59:59", "2030-01-02 23:59:59"},
		{"46023.5000057870", "2026-01-01 12:00:00.500", "2030-01-02 12:00:00.500"},
		{"46023.9999999999", "2026-01-02", "2030-01-03"}, // a rounding error, not a moment
		{"61", "1900-03-01", "1904-03-02"},
		{"60", "", "1904-03-01"}, // 29 February 1900 never was
		{"1.5", "", "1904-01-02 12:00:00"},
		{"0.5", "", "1904-01-01 12:00:00"},
		{"2958465", "9999-12-31", ""},
		{"2958466", "", ""},
		{"-1", "", ""},
		{"NaN", "", ""},
		{"x", "", ""},
	}
	for _, tt := range tests {
		for _, from1904 := range []bool{false, true} {
			want := tt.want
			if from1904 {
				want = tt.want1904
			}
			if got, _ := dateOf(tt.raw, from1904); got != want {
				t.Errorf("%s, 1904 %t: got %q, want %q", tt.raw, from1904, got, want)
			}
		}
	}
}

func TestNumberForms(t *testing.T) {
	tests := map[string]numberForm{
		"General": 0, "@": 0, "": 0, "0": 1, "00000": 5,
		"dd.mm.yyyy": dateForm, "m/d/yy h:mm": dateForm, "[$-409]d-mmm-yy;@": dateForm, "mmm": dateForm, `yyyy"年"m"月"`: dateForm, `[Red]dd/mm`: dateForm,
		"h:mm": otherForm, "[h]:mm:ss": otherForm, "mm:ss": otherForm, "0.00E+00": otherForm, "#,##0": otherForm, "0%": otherForm,
		`"day "0`: otherForm, `\d0`: otherForm, "0;-0": otherForm, "000-000": otherForm, `#,##0.00 "mdy"`: otherForm, `"`: otherForm, "[": otherForm,
	}
	for code, want := range tests {
		if got := formOfCode(code); got != want {
			t.Errorf("%s: got %d, want %d", code, got, want)
		}
	}
}

// A sheet that a person made: a title in merged cells, an empty row, a header,
// codes that look like numbers, empty rows behind.
func TestPersonsSheet(t *testing.T) {
	f := made(t, func(b *excelize.File, s string) {
		must(t, b.SetCellValue(s, "A1", "Summer codes 2026"))
		must(t, b.MergeCell(s, "A1", "E2"))
		for i, name := range []string{"Nr", "Promo Code", "Issue End (UTC)", "Issue End", "Comment"} {
			cell, _ := excelize.CoordinatesToCellName(i+1, 4)
			must(t, b.SetCellValue(s, cell, name))
		}
		date, err := b.NewStyle(&excelize.Style{NumFmt: 22})
		must(t, err)
		zeros, err := b.NewStyle(&excelize.Style{NumFmt: 1})
		must(t, err)
		end := time.Date(2099, 6, 1, 18, 30, 0, 0, time.UTC)
		for i, code := range []any{"00123", "1E5", 100000, 1e21, "Ünïcode, \"quoted\"", true} {
			row := 5 + i
			must(t, b.SetCellValue(s, fmt.Sprintf("A%d", row), i+1))
			must(t, b.SetCellValue(s, fmt.Sprintf("B%d", row), code))
			must(t, b.SetCellValue(s, fmt.Sprintf("D%d", row), end))
			must(t, b.SetCellStyle(s, fmt.Sprintf("D%d", row), fmt.Sprintf("D%d", row), date))
			must(t, b.SetCellValue(s, fmt.Sprintf("E%d", row), "two\nlines"))
		}
		must(t, b.SetCellStyle(s, "A11", "E500", zeros))
	})
	p := open(t, f)
	rows := parseAll(t, p)
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%d %s%s %s", r.Line, r.Code, r.Refused, r.Window.IssueEnd.Format(time.RFC3339)))
	}
	const end, none = "2099-06-01T18:30:00Z", "0001-01-01T00:00:00Z"
	want := []string{
		"5 00123 " + end, "6 1E5 " + end, "7 100000 " + end, "8 number_not_exact " + none,
		`9 Ünïcode, "quoted" ` + end, "10 boolean_as_code " + none,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	l := p.Layout()
	if l.HeaderRow != 4 || l.Sheet != "Sheet1" || !slices.Equal(l.Ignored(), []string{"Nr", "Issue End (UTC)", "Comment"}) {
		t.Errorf("got %+v", l)
	}
	if rows[3].Raw != "4,1000000000000000000000,,2099-06-01 18:30:00,two lines" {
		t.Errorf("row as it came: got %q", rows[3].Raw)
	}
	checkResumed(t, f)
}

// The header of a sheet, by its first rows as lines of words.
func TestSheetHeader(t *testing.T) {
	for _, tt := range []struct {
		rows  string
		row   int64
		codes []string
	}{
		{"A1|B2", 0, []string{"A1", "B2"}},
		{"Code|A1", 1, []string{"A1"}},
		{"Spring||Code|A1", 3, []string{"A1"}},
		{"Promo code|Issue end,Code|,A1", 2, []string{"A1"}},
		{"Issue start,Issue end|Code|A1", 2, []string{"A1"}},
		{strings.Repeat("|", 19) + "Code|A1", 20, []string{"A1"}},
		{strings.Repeat("|", 20) + "Code|A1", 0, []string{"Code", "A1"}}, // too far down
	} {
		var rows strings.Builder
		for _, row := range strings.Split(tt.rows, "|") {
			rows.WriteString("<row>")
			for _, cell := range strings.Split(row, ",") {
				fmt.Fprintf(&rows, `<c t="inlineStr"><is><t>%s</t></is></c>`, cell)
			}
			rows.WriteString("</row>")
		}
		p := open(t, plainBook(rows.String()).file(t))
		if got := codesOf(parseAll(t, p)); !slices.Equal(got, tt.codes) || p.Layout().HeaderRow != tt.row {
			t.Errorf("%q: got %q below row %d, want %q below %d", tt.rows, got, p.Layout().HeaderRow, tt.codes, tt.row)
		}
	}
}

func TestSheetChosen(t *testing.T) {
	f := made(t, func(b *excelize.File, s string) {
		must(t, b.SetCellValue(s, "A1", "HIDDEN"))
		for _, name := range []string{"Codes", "1"} {
			_, err := b.NewSheet(name)
			must(t, err)
			must(t, b.SetCellValue(name, "A1", "IN-"+name))
		}
		b.SetActiveSheet(1)
		must(t, b.SetSheetVisible(s, false))
	})
	for want, code := range map[string]string{"": "IN-Codes", "codes": "IN-Codes", "1": "IN-1", "2": "IN-Codes", "Sheet1": "HIDDEN"} {
		f.Options.Sheet = want
		if got := codesOf(parseAll(t, open(t, f))); !slices.Equal(got, []string{code}) {
			t.Errorf("%q: got %q, want %s", want, got, code)
		}
	}
	for _, want := range []string{"4", "0", "Kodes"} {
		f.Options.Sheet = want
		_, err := Open(f, Position{}, nil)
		if !errors.Is(err, errNotThere) || !strings.Contains(err.Error(), `"Sheet1", "Codes", "1"`) {
			t.Errorf("%q: got %v, want the sheets that there are", want, err)
		}
	}
}

// What is no proper workbook fails as a whole and says why; nothing panics.
func TestWorkbookRefused(t *testing.T) {
	const row = `<row r="1"><c r="A1"><v>1</v></c></row>`
	book := plainBook(row)
	big := `<worksheet>` + strings.Repeat(" ", 3<<20) + `</worksheet>`
	const sheet1 = "xl/worksheets/sheet1.xml"
	tests := []struct {
		name string
		file File
		want error
	}{
		{"OtherZIP", parts{"a.txt": "x"}.file(t), errNoWorkbook},
		{"NoSheet", book.with(parts{sheet1: ""}).file(t), errNoSheet},
		{"NoSheets", book.with(parts{"xl/workbook.xml": "<workbook/>"}).file(t), errNoSheet},
		{"CutXML", book.with(parts{sheet1: "<worksheet><sheetData>" + row}).file(t), errDamaged},
		{"NoXML", book.with(parts{sheet1: "no <<<"}).file(t), errDamaged},
		{"RowsBackwards", plainBook(`<row r="2"></row><row r="1"></row>`).file(t), errDamaged},
		{"RowTooFar", plainBook(`<row r="1048577"></row>`).file(t), errDamaged},
		{"CellOutside", plainBook(`<c r="A1"><v>1</v></c>`).file(t), errDamaged},
		{"NoSuchText", plainBook(`<row><c t="s"><v>9</v></c></row>`).file(t), errDamaged},
		{"ColumnTooFar", plainBook(`<row><c r="ZZZZ1"><v>1</v></c></row>`).file(t), errDamaged},
		{"Ratio", book.with(parts{sheet1: big}).file(t), errHuge},
		{"Token", plainBook(`<row><c t="inlineStr"><is><t>` + randomLetters(2<<20) + `</t></is></c></row>`).file(t), errHuge},
		{"Entries", book.with(manyParts(maxEntries)).file(t), errHuge},
		{"Directory", book.with(manyParts(60_000)).file(t), errHuge},
		{"Entity", book.with(parts{sheet1: `<!DOCTYPE x [<!ENTITY a "b">]><worksheet><sheetData><row><c t="str"><v>&a;</v></c></row></sheetData></worksheet>`}).file(t), errDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := readWhole(tt.file)
			if !errors.Is(err, tt.want) || !errors.Is(err, ErrFile) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	// A byte changed within is found by the checksum, at the latest.
	good := book.with(parts{sheet1: `<worksheet><sheetData>` + row + `</sheetData></worksheet>`}).file(t)
	content, err := io.ReadAll(io.NewSectionReader(good.Bytes, 0, good.Size))
	must(t, err)
	at := bytes.LastIndex(content[:bytes.Index(content, []byte("PK\x01\x02"))], []byte("PK\x03\x04")) + 70
	content[at] ^= 1
	if err := readWhole(bookFile(content)); !errors.Is(err, ErrFile) {
		t.Errorf("changed: got %v", err)
	}
}

func manyParts(n int) parts {
	p := parts{}
	for i := range n {
		p[fmt.Sprintf("xl/media/%d", i)] = "x"
	}
	return p
}

func randomLetters(n int) string {
	r := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('A' + r.IntN(26))
	}
	return string(b)
}

func readWhole(f File) error {
	p, err := Open(f, Position{}, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	for {
		if _, err := p.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// A workbook that unpacks to a lot is refused from what its directory says.
func TestBombRefusedAtOnce(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range plainBook("") {
		w, err := z.Create(name)
		must(t, err)
		if name != "xl/worksheets/sheet1.xml" {
			_, err = io.WriteString(w, content)
			must(t, err)
			continue
		}
		for range 300 {
			_, err = w.Write(make([]byte, 1<<20))
			must(t, err)
		}
	}
	must(t, z.Close())
	reads := &failsAt{r: bytes.NewReader(b.Bytes()), left: 1 << 30}
	err := readWhole(File{Bytes: reads, Size: int64(b.Len())})
	if !errors.Is(err, errHuge) || (1<<30)-reads.left > 50 {
		t.Errorf("got %v after %d reads", err, (1<<30)-reads.left)
	}
}

// A failure of the store is no fault of the file.
func TestWorkbookStoreFails(t *testing.T) {
	f := plainBook(`<row r="1"><c r="A1"><v>1</v></c></row>`).file(t)
	away := errors.New("away")
	for n := range 30 {
		failing := f
		failing.Bytes = &failsAt{r: f.Bytes, left: n, err: away}
		if err := readWhole(failing); err == nil {
			if n < 5 {
				t.Errorf("read with %d reads only", n)
			}
			return
		} else if !errors.Is(err, away) || errors.Is(err, ErrFile) {
			t.Errorf("after %d reads: got %v, want %v", n, err, away)
		}
	}
	t.Error("never read")
}

type failsAt struct {
	r    io.ReaderAt
	left int
	err  error
}

func (f *failsAt) ReadAt(p []byte, offset int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.r.ReadAt(p, offset)
}

// bigBook has n rows with a code and two dates, as texts of their own.
func bigBook(t testing.TB, n int) File {
	t.Helper()
	b := excelize.NewFile()
	defer b.Close()
	w, err := b.NewStreamWriter("Sheet1")
	must(t, err)
	date, err := b.NewStyle(&excelize.Style{NumFmt: 22})
	must(t, err)
	must(t, w.SetRow("A1", []any{"code", "issue_start", "issue_end"}))
	start, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		must(t, w.SetRow(fmt.Sprintf("A%d", i+2), []any{fmt.Sprintf("CODE-%08d", i), excelize.Cell{StyleID: date, Value: start}, excelize.Cell{StyleID: date, Value: end}}))
	}
	must(t, w.Flush())
	var out bytes.Buffer
	must(t, b.Write(&out))
	return bookFile(out.Bytes())
}

// Shared texts beyond what is kept in memory, read in any order.
func TestTexts(t *testing.T) {
	texts := newTexts()
	defer texts.close()
	text := func(i int) string { return fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%200)) }
	const n = 80_000 // twice what is kept in memory
	for i := range n {
		must(t, texts.add([]byte(text(i))))
	}
	if texts.file == nil {
		t.Fatal("nothing was spilled")
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		i := r.IntN(n)
		if got, err := texts.get(i); err != nil || string(got) != text(i) {
			t.Fatalf("%d: got %q, %v", i, got, err)
		}
	}
	for _, i := range []int{-1, n} {
		if _, err := texts.get(i); !errors.Is(err, errDamaged) {
			t.Errorf("%d: got %v", i, err)
		}
	}
}

// The memory for a sheet does not grow with it.
func TestSheetMemory(t *testing.T) {
	peak := func(n int) uint64 {
		f := bigBook(t, n)
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := open(t, f)
		var most uint64
		for i := 0; ; i++ {
			if _, err := p.Next(); errors.Is(err, io.EOF) {
				return most
			} else if err != nil {
				t.Fatal(err)
			}
			if i%(n/4) == n/8 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
			}
		}
	}
	small, large := peak(2_000), peak(60_000)
	if large > small+4<<20 {
		t.Errorf("got %d KiB for 60,000 rows and %d KiB for 2,000", large>>10, small>>10)
	}
}

func TestTemplate(t *testing.T) {
	var in Intake
	for _, format := range []domain.Format{domain.FormatCSV, domain.FormatXLSX} {
		var b bytes.Buffer
		must(t, in.WriteTemplate(&b, format))
		f := bookFile(b.Bytes())
		f.MediaType = ""
		p := open(t, f)
		if rows := parseAll(t, p); len(rows) != 0 {
			t.Errorf("%s: got %+v, want no rows", format, rows)
		}
		if l := p.Layout(); l.Format != format || l.HeaderRow != 1 || !slices.Equal(l.Columns, domain.Columns) {
			t.Errorf("%s: got %+v", format, l)
		}
	}
}

func BenchmarkSheet(b *testing.B) {
	const n = 100_000
	f := bigBook(b, n)
	b.ResetTimer()
	for b.Loop() {
		if err := readWhole(f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
}

// FuzzSheet reads the XML of a sheet, FuzzWorkbook the file.
func FuzzSheet(f *testing.F) {
	f.Add(`<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" s="1"><v>46023</v></c></row>`)
	f.Add(`<row><c t="inlineStr"><is><t>code</t></is></c></row><row r="9"><c><f>1</f></c></row>`)
	f.Add(`<row><c r="XFD1" t="b"><v>1</v></c><c t="e"><v>#N/A</v></c><c t="str"><v>_x001A_n</v></c></row>`)
	f.Add("<row><c t=\"str\"><v>a\nb,\"c</v></c></row></sheetData><sheetData>")
	f.Fuzz(func(t *testing.T, rows string) {
		checkResumed(t, plainBook(rows).with(parts{
			"xl/styles.xml":        `<styleSheet><cellXfs><xf/><xf numFmtId="14"/></cellXfs></styleSheet>`,
			"xl/sharedStrings.xml": `<sst><si><t>A1</t></si></sst>`,
		}).file(t))
	})
}

func FuzzWorkbook(f *testing.F) {
	for _, p := range []parts{plainBook(`<row><c><v>1</v></c></row>`), {"a": "b"}} {
		file := p.file(f)
		content, err := io.ReadAll(io.NewSectionReader(file.Bytes, 0, file.Size))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)/2])
	}
	f.Fuzz(func(t *testing.T, content []byte) { checkResumed(t, bookFile(content)) })
}
