package importing

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"promopool/internal/domain"
)

// dangerous are the characters that make a spreadsheet take a cell that begins
// with one for a formula.
const dangerous = "=+-@\t\r"

// defuse makes a cell safe to open in a spreadsheet; plain is its inverse.
func defuse(cell string) string {
	if cell != "" && strings.IndexByte(dangerous, cell[0]) >= 0 {
		return "'" + cell
	}
	return cell
}

func plain(cell string) string {
	if t := strings.TrimSpace(cell); len(t) > 1 && t[0] == '\'' && strings.IndexByte(dangerous, t[1]) >= 0 {
		return t[1:]
	}
	return cell
}

// RefusalPages returns refusals of an import behind a line, in the file's
// order, some at a time; none when there are no more.
type RefusalPages func(ctx context.Context, line int64) ([]domain.Refusal, error)

// WriteRejected writes the refused rows as they came, as CSV with two columns
// more: line and reason. It can be corrected and uploaded as it is.
func WriteRejected(ctx context.Context, w io.Writer, layout *domain.Layout, pages RefusalPages) error {
	if layout == nil { // the file was not even looked at, so nothing was refused
		layout = &domain.Layout{Delimiter: ",", Columns: domain.Columns}
	}
	out := csv.NewWriter(w)
	out.Comma = rune(layout.Delimiter[0])
	width := len(layout.Columns)
	row := make([]string, width+2)
	for i, c := range layout.Columns {
		if row[i] = string(c); layout.Header != nil {
			row[i] = defuse(layout.Header[i])
		}
	}
	row[width], row[width+1] = "line", "reason"
	if err := out.Write(row); err != nil {
		return err
	}
	for line := int64(0); ; {
		page, err := pages(ctx, line)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			fillCells(row[:width], r.Row, layout.Delimiter[0])
			row[width], row[width+1] = strconv.FormatInt(r.Line, 10), string(r.Reason)
			if err := out.Write(row); err != nil {
				return err
			}
			line = r.Line
		}
	}
	out.Flush()
	return out.Error()
}

// fillCells puts the cells of a row into their columns; a row that has no
// cells, or too many, goes into the first as a whole.
func fillCells(into []string, row string, delimiter byte) {
	clear(into)
	cells, _, reason := split(nil, []byte(row), delimiter, true)
	if reason != "" && reason != domain.LineBreak || len(cells) > len(into) {
		into[0] = defuse(row)
		return
	}
	for i, c := range cells {
		into[i] = defuse(string(c))
	}
}

// Template is a file of codes with all columns and no rows.
const Template = "code,issue_start,issue_end,available_from,available_till\r\n"
