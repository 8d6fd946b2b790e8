package importing

import (
	"archive/zip"
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"promopool/internal/domain"
)

// Bounds of a workbook, which is a ZIP of XML and can promise a lot in few
// bytes. A sheet of the most rows that there can be (1,048,576) with the five
// columns has about 300 MiB.
const (
	maxDirectory  = 2 << 20   // bytes read to list what the ZIP has, which is kept in memory
	maxEntries    = 4096      // in it: workbooks have some dozens
	maxSheetBytes = 2 << 30   // uncompressed; read as a stream
	maxTextBytes  = 1 << 30   // of all texts of a workbook; spooled to disk
	maxPartBytes  = 64 << 20  // of any other part: styles are the largest
	maxRatio      = 200       // uncompressed to compressed: sheets have 10 to 60, deflate can do 1,032
	freeOfRatio   = 1 << 20   // bytes of a part that may be compressed as well as it can be
	maxToken      = 1 << 20   // bytes of a tag or a text in XML
	maxStyles     = 1 << 17   // Excel takes 65,490
	maxSheets     = 1024      // kept in memory
	maxRows       = 1_048_576 // of a sheet
	maxCell       = maxRaw    // bytes of a cell's text: no code and no date is as long
)

var (
	errHuge     = fmt.Errorf("%w: unpacked, the workbook would be far larger than a file of codes can be", ErrFile)
	errDamaged  = fmt.Errorf("%w: the workbook is damaged, save it anew as .xlsx", ErrFile)
	errNoSheet  = fmt.Errorf("%w: the workbook has no sheet with cells", ErrFile)
	errNotThere = fmt.Errorf("%w: the workbook has no such sheet", ErrFile)
)

// watched tells the errors of reading a file from those that the file's content
// makes, and how far the file was read.
type watched struct {
	r     io.ReaderAt
	left  int64 // bytes that may be read; below 0: any
	until int64 // end of what was read last
	err   error
}

func (w *watched) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 { // as a made-up directory may ask for
		return 0, errDamaged
	}
	if w.left >= 0 {
		if w.left -= int64(len(p)); w.left < 0 {
			return 0, errHuge
		}
	}
	n, err := w.r.ReadAt(p, offset)
	w.until = offset + int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// fault is err, as the file's fault if it is. What XML and ZIP say is left out:
// it may quote the file.
func (w *watched) fault(err error) error {
	switch {
	case w.err != nil:
		return w.err
	case err == nil || errors.Is(err, ErrFile) || errors.Is(err, errSpool):
		return err
	}
	return errDamaged
}

// workbook is what must be known of an XLSX file to read one of its sheets.
type workbook struct {
	file     *watched
	size     int64
	parts    map[string]*zip.File // by lower-case name
	sheets   []sheet
	from1904 bool
	styles   []numberForm // by a cell's style
	texts    *texts
}

type sheet struct {
	name   string
	part   string
	hidden bool
}

func openWorkbook(f File) (*workbook, error) {
	w := &workbook{file: &watched{r: f.Bytes, left: maxDirectory}, size: f.Size, parts: make(map[string]*zip.File), texts: newTexts()}
	if err := w.read(f.Size); err != nil {
		w.texts.close()
		return nil, w.file.fault(err)
	}
	return w, nil
}

func (w *workbook) read(size int64) error {
	z, err := zip.NewReader(w.file, size)
	if err != nil {
		return err
	}
	w.file.left = -1
	if len(z.File) > maxEntries {
		return errHuge
	}
	for _, part := range z.File {
		w.parts[partName("", part.Name)] = part
	}
	root, err := w.relations("")
	if err != nil {
		return err
	}
	book := ""
	for _, r := range root {
		if r.is("officeDocument") {
			book = r.target
		}
	}
	if w.parts[book] == nil {
		return errNoWorkbook
	}
	related, err := w.relations(book)
	if err != nil {
		return err
	}
	if err := w.readBook(book, related); err != nil {
		return err
	}
	for _, r := range related {
		switch {
		case r.is("styles"):
			err = w.readStyles(r.target)
		case r.is("sharedStrings"):
			err = w.readTexts(r.target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// relation is a link from one part of a workbook to another.
type relation struct{ kind, target string }

// is compares with the last word of the kind: it stands behind two prefixes.
func (r relation) is(kind string) bool { return path.Base(r.kind) == kind }

// relations are the links of a part, by their ids.
func (w *workbook) relations(of string) (map[string]relation, error) {
	all := make(map[string]relation)
	err := w.walk(path.Join(path.Dir(of), "_rels", path.Base("/"+of)+".rels"), func(t xml.StartElement) error {
		if t.Name.Local == "Relationship" && len(all) < maxEntries {
			all[attribute(t, "Id")] = relation{kind: attribute(t, "Type"), target: partName(path.Dir(of), attribute(t, "Target"))}
		}
		return nil
	})
	return all, err
}

// partName is the key of the part that a name means in a folder.
func partName(folder, name string) string {
	name = strings.ReplaceAll(name, `\`, "/")
	if !strings.HasPrefix(name, "/") {
		name = path.Join("/", folder, name)
	}
	return strings.ToLower(strings.TrimPrefix(path.Clean(name), "/"))
}

func (w *workbook) readBook(book string, related map[string]relation) error {
	err := w.walk(book, func(t xml.StartElement) error {
		switch t.Name.Local {
		case "workbookPr":
			w.from1904 = truth(attribute(t, "date1904"))
		case "sheet":
			r := related[attribute(t, "id")]
			if len(w.sheets) < maxSheets && r.is("worksheet") { // the others are charts
				state := attribute(t, "state")
				w.sheets = append(w.sheets, sheet{name: attribute(t, "name"), part: r.target, hidden: state != "" && state != "visible"})
			}
		}
		return nil
	})
	if err == nil && len(w.sheets) == 0 {
		return errNoSheet
	}
	return err
}

func truth(s string) bool { return s == "1" || s == "true" }

// find returns the sheet that is meant: by its name, as spreadsheets compare
// them, or its number from 1. Without a word it is the first that is shown.
func (w *workbook) find(want string) (sheet, error) {
	if want == "" {
		for _, s := range w.sheets {
			if !s.hidden {
				return s, nil
			}
		}
		return w.sheets[0], nil
	}
	for _, s := range w.sheets {
		if strings.EqualFold(s.name, want) {
			return s, nil
		}
	}
	if n, err := strconv.Atoi(want); err == nil && n >= 1 && n <= len(w.sheets) {
		return w.sheets[n-1], nil
	}
	var names []string
	for _, s := range w.sheets[:min(len(w.sheets), 20)] {
		names = append(names, strconv.Quote(keep(s.name, maxValue)))
	}
	return sheet{}, fmt.Errorf("%w as %q, it has %s", errNotThere, keep(want, maxValue), strings.Join(names, ", "))
}

func (w *workbook) readStyles(part string) error {
	codes := make(map[string]string)
	in := false // the list of what cells refer to
	return w.walk(part, func(t xml.StartElement) error {
		switch t.Name.Local {
		case "numFmt":
			if len(codes) < maxStyles {
				codes[attribute(t, "numFmtId")] = attribute(t, "formatCode")
			}
		case "cellXfs":
			in = true
		case "cellStyles", "dxfs", "cellStyleXfs":
			in = false
		case "xf":
			if in && len(w.styles) < maxStyles {
				id := attribute(t, "numFmtId")
				code, ok := codes[id]
				w.styles = append(w.styles, numberFormOf(id, code, ok))
			}
		}
		return nil
	})
}

func (w *workbook) readTexts(part string) error {
	var text []byte
	return w.visit(part, maxTextBytes, func(t *tokens, e xml.StartElement) (err error) {
		if e.Name.Local != "si" {
			return nil
		}
		if text, err = t.richText(text[:0], "si"); err != nil {
			return err
		}
		return w.texts.add(text)
	})
}

// walk calls do for each start of an element of a part, if there is one.
func (w *workbook) walk(part string, do func(xml.StartElement) error) error {
	return w.visit(part, maxPartBytes, func(_ *tokens, e xml.StartElement) error { return do(e) })
}

// visit is walk for what reads on by itself, in a part of at most so many bytes.
func (w *workbook) visit(part string, limit uint64, do func(*tokens, xml.StartElement) error) error {
	t, err := w.tokens(part, limit)
	if t == nil {
		return err
	}
	for {
		token, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e, ok := token.(xml.StartElement); ok {
			if err := do(t, e); err != nil {
				return err
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// tokens reads a part as XML; nil: there is none.
func (w *workbook) tokens(part string, limit uint64) (*tokens, error) {
	p := w.parts[part]
	if p == nil {
		return nil, nil
	}
	// The ZIP's reader holds the part to the size that is declared.
	if p.UncompressedSize64 > limit || p.UncompressedSize64 > freeOfRatio && p.UncompressedSize64/maxRatio > p.CompressedSize64 {
		return nil, errHuge
	}
	r, err := p.Open()
	if err != nil {
		return nil, err
	}
	t := &tokens{in: bufio.NewReaderSize(r, 64<<10)}
	t.xml = xml.NewDecoder(t)
	return t, nil
}

// tokens are those of XML, each of bounded size, and none is kept: how deep
// they are nested costs nothing.
type tokens struct {
	in   *bufio.Reader
	xml  *xml.Decoder
	left int
}

func (t *tokens) next() (xml.Token, error) {
	t.left = maxToken
	return t.xml.RawToken()
}

// ReadByte is what the decoder reads by.
func (t *tokens) ReadByte() (byte, error) {
	if t.left--; t.left < 0 {
		return 0, errHuge
	}
	return t.in.ReadByte()
}

// Read makes tokens an io.Reader, which the decoder asks for and does not use.
func (t *tokens) Read(p []byte) (int, error) { return t.in.Read(p) }

// richText appends the text of an element up to its end, without what is
// written above it to say how it is pronounced (rPh).
func (t *tokens) richText(text []byte, element string) ([]byte, error) {
	in, aside := false, false
	from := len(text)
	for {
		token, err := t.next()
		if err != nil {
			return text, noEOF(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			in = in || e.Name.Local == "t"
			aside = aside || e.Name.Local == "rPh"
		case xml.EndElement:
			switch e.Name.Local {
			case "t":
				in = false
			case "rPh":
				aside = false
			case element:
				return append(text[:from], unescape(text[from:])...), nil
			}
		case xml.CharData:
			if in && !aside {
				text = appendCell(text, e)
			}
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// openSheet reads a sheet of a workbook as text.
func (f File) openSheet(form domain.Layout) (source, error) {
	w, err := openWorkbook(f)
	if err != nil {
		return source{}, err
	}
	want := f.Options.Sheet
	if form.Sheet != "" { // found before
		want = form.Sheet
	}
	s, err := w.find(want)
	if err != nil {
		w.texts.close()
		return source{}, err
	}
	form.Sheet = s.name
	text, err := w.open(s)
	if err != nil {
		w.texts.close()
		return source{}, w.file.fault(err)
	}
	return source{text: text, form: form, done: text.marks.at, fromStart: true, close: w.texts.close}, nil
}
