package importing

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xuri/excelize/v2"

	"promopool/internal/domain"
)

// columnTells explains the columns, with an example of each.
var columnTells = map[domain.Column]struct {
	tells   string
	example any
}{
	domain.ColumnCode:          {"The code, needed in every row: up to 200 bytes. The column is formatted as text, so that 00123 and 1E5 stay what they are.", "SUMMER-00123"},
	domain.ColumnIssueStart:    {"From when the code may be issued. Empty: at once.", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)},
	domain.ColumnIssueEnd:      {"Until when the code may be issued; a day means its beginning. Empty: for ever.", time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)},
	domain.ColumnAvailableFrom: {"From when the customer may use the code. Empty: at once.", time.Date(2026, 6, 1, 9, 30, 0, 0, time.UTC)},
	domain.ColumnAvailableTill: {"Until when the customer may use the code; a day means its beginning. Empty: for ever.", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)},
}

const templateFormat = "yyyy-mm-dd hh:mm:ss"

// WriteTemplate writes a file with the columns and without codes: CSV, or a
// workbook whose second sheet explains them.
func (in *Intake) WriteTemplate(w io.Writer, format domain.Format) error {
	if format == domain.FormatXLSX {
		return writeWorkbook(w)
	}
	names := make([]string, len(domain.Columns))
	for i, c := range domain.Columns {
		names[i] = string(c)
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(names); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

func writeWorkbook(w io.Writer) (err error) {
	book := excelize.NewFile()
	defer func() { err = errors.Join(err, book.Close()) }()
	format := templateFormat
	bold, err1 := book.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	text, err2 := book.NewStyle(&excelize.Style{NumFmt: 49})
	date, err3 := book.NewStyle(&excelize.Style{CustomNumFmt: &format})
	t := &sheetWriter{book: book, err: errors.Join(err1, err2, err3)}

	t.sheet = "Codes"
	t.do(book.SetSheetName("Sheet1", t.sheet))
	t.do(book.SetColStyle(t.sheet, "A", text))
	t.do(book.SetColStyle(t.sheet, "B:E", date))
	t.do(book.SetColWidth(t.sheet, "A", "E", 22))
	for i, c := range domain.Columns {
		t.set(i+1, 1, string(c), bold)
	}
	t.do(book.SetPanes(t.sheet, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))

	t.sheet = "Columns"
	_, err = book.NewSheet(t.sheet)
	t.do(err)
	t.do(book.SetColWidth(t.sheet, "A", "B", 22))
	t.do(book.SetColWidth(t.sheet, "C", "C", 90))
	for i, heading := range []string{"Column", "Example", "What it says"} {
		t.set(i+1, 1, heading, bold)
	}
	for i, c := range domain.Columns {
		style := date
		if c == domain.ColumnCode {
			style = text
		}
		t.set(1, i+2, string(c), text)
		t.set(2, i+2, columnTells[c].example, style)
		t.set(3, i+2, columnTells[c].tells, text)
	}
	t.set(1, len(domain.Columns)+3, "Dates are UTC, unless the upload names a time zone. Only the first sheet is imported.", text)
	if t.err != nil {
		return fmt.Errorf("template: %w", t.err)
	}
	return book.Write(w)
}

// sheetWriter writes cells until an error, which stays.
type sheetWriter struct {
	book  *excelize.File
	sheet string
	err   error
}

func (t *sheetWriter) do(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *sheetWriter) set(column, row int, value any, style int) {
	at, err := excelize.CoordinatesToCellName(column, row)
	t.do(err)
	t.do(t.book.SetCellValue(t.sheet, at, value))
	t.do(t.book.SetCellStyle(t.sheet, at, at, style))
}
