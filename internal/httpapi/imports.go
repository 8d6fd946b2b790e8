package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"promopool/internal/domain"
)

// Uploads is what the interface needs to take files in and give refused rows
// back.
type Uploads interface {
	// Receive keeps a file; its import is durable on return. Of a file that
	// cannot be read to its end nothing stays. domain.ErrNotFound,
	// domain.ErrState, domain.ErrGenerated, domain.ErrFileEmpty, domain.ErrFileTooLarge,
	// domain.ErrFileBroken.
	Receive(ctx context.Context, u domain.Upload, file io.Reader) (domain.Import, error)
	// WriteRejected writes the refused rows of an import as CSV.
	WriteRejected(ctx context.Context, task int64, w io.Writer) error
	// WriteFile writes the file of an import as it came. domain.ErrFileGone.
	WriteFile(ctx context.Context, task int64, w io.Writer) error
	// WriteTemplate writes a file to fill in.
	WriteTemplate(w io.Writer, format domain.Format) error
}

// Imports is what the interface needs of the store to tell of imports.
type Imports interface {
	Import(ctx context.Context, task int64) (domain.Import, error)
	// ListImports returns those below a task, the newest first.
	ListImports(ctx context.Context, which domain.ImportFilter, below int64, limit int) ([]domain.Import, error)
	// ImportsOfPool is the same for a pool that must be there: domain.ErrNotFound.
	ImportsOfPool(ctx context.Context, which domain.ImportFilter, below int64, limit int) ([]domain.Import, error)
	// CancelImport ends an import; nothing comes in any more from its return on.
	// Safe to repeat. domain.ErrNotFound; domain.ErrImportEnded: it ended
	// otherwise, as the returned import says.
	CancelImport(ctx context.Context, task int64) (domain.Import, error)
	// Refusals returns refused rows behind a line, in the file's order.
	Refusals(ctx context.Context, task, line int64, limit int) ([]domain.Refusal, error)
}

type importAPI struct {
	api
	uploads Uploads
	imports Imports
}

// ImportRoutes returns what mounts the routes of imports.
func ImportRoutes(uploads Uploads, imports Imports, log zerolog.Logger) func(*http.ServeMux) {
	a := &importAPI{api: api{Deps: Deps{Log: log}}, uploads: uploads, imports: imports}
	return func(mux *http.ServeMux) {
		// An upload and a download last as long as their client needs.
		mux.Handle("POST /v1/pools/{id}/imports", a.plain(a.receive))
		mux.Handle("GET /v1/imports/{task}/rejected.csv", a.plain(a.rejected))
		mux.Handle("GET /v1/imports/{task}/file", a.plain(a.file))
		a.handle(mux, "GET /v1/pools/{id}/imports", a.listOfPool)
		a.handle(mux, "GET /v1/imports", a.list)
		a.handle(mux, "GET /v1/imports/{task}", a.read)
		a.handle(mux, "POST /v1/imports/{task}/cancel", a.cancel)
		a.handle(mux, "GET /v1/import-template.csv", a.template(domain.FormatCSV))
		a.handle(mux, "GET /v1/import-template.xlsx", a.template(domain.FormatXLSX))
	}
}

type importView struct {
	Task            int64                          `json:"task"`
	PoolID          string                         `json:"pool_id"`
	Kind            domain.ImportKind              `json:"kind"`
	FileName        string                         `json:"file_name"`
	Pattern         *string                        `json:"pattern"`
	Alphabet        *string                        `json:"alphabet"`
	Actor           domain.Actor                   `json:"actor"`
	DryRun          bool                           `json:"dry_run"`
	Status          domain.ImportStatus            `json:"status"`
	Error           *string                        `json:"error"`
	Bytes           int64                          `json:"bytes"`
	BytesDone       int64                          `json:"bytes_done"`
	Rows            int64                          `json:"rows"`
	Added           int64                          `json:"added"`
	Moved           int64                          `json:"moved"`
	Unchanged       int64                          `json:"unchanged"`
	Refused         int64                          `json:"refused"`
	RefusedByReason map[domain.RefusalReason]int64 `json:"refused_by_reason"`
	RowsPerSecond   *float64                       `json:"rows_per_second"`
	SecondsLeft     *int64                         `json:"seconds_left"`
	IgnoredColumns  []string                       `json:"ignored_columns"`
	Options         optionsView                    `json:"options"`
	Layout          *layoutView                    `json:"layout"` // null: not looked at yet
	CreatedAt       string                         `json:"created_at"`
	StartedAt       *string                        `json:"started_at"`
	FinishedAt      *string                        `json:"finished_at"`
	FileKept        bool                           `json:"file_kept"`
	FileKeptUntil   *string                        `json:"file_kept_until"`
}

// optionsView is what the upload said, null where it said nothing.
type optionsView struct {
	TZ        *string `json:"tz"`
	Encoding  *string `json:"encoding"`
	Delimiter *string `json:"delimiter"`
	Sheet     *string `json:"sheet"`
}

// layoutView is how the file was understood.
type layoutView struct {
	Format    domain.Format `json:"format"`
	Encoding  *string       `json:"encoding"`   // null: a spreadsheet
	Delimiter *string       `json:"delimiter"`  // null: a spreadsheet, or a list
	Sheet     *string       `json:"sheet"`      // null: no spreadsheet
	HeaderRow *int64        `json:"header_row"` // null: there is no header
	Columns   []columnView  `json:"columns"`
}

type columnView struct {
	Name    *string        `json:"name"`    // null: there is no header
	Meaning *domain.Column `json:"meaning"` // null: ignored
}

func viewLayout(l *domain.Layout) *layoutView {
	if l == nil {
		return nil
	}
	v := &layoutView{
		Format: l.Format, Encoding: zeroNull(l.Encoding), Sheet: zeroNull(l.Sheet), HeaderRow: zeroNull(l.HeaderRow),
		Columns: make([]columnView, len(l.Columns)),
	}
	if v.Format == "" { // kept by an earlier release, which read nothing else
		v.Format, v.Encoding = domain.FormatCSV, zeroNull("utf-8")
	}
	if v.Format == domain.FormatCSV {
		v.Delimiter = zeroNull(l.Delimiter)
	}
	for i, c := range l.Columns {
		v.Columns[i].Meaning = zeroNull(c)
		if l.Header != nil {
			v.Columns[i].Name = &l.Header[i]
		}
	}
	return v
}

// zeroNull is nil for the zero value.
func zeroNull[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

type importReport struct {
	importView
	Refusals []refusalView `json:"refusals"` // the first hundred
}

type refusalView struct {
	Line   int64                `json:"line"`
	Reason domain.RefusalReason `json:"reason"`
	Detail string               `json:"detail"`
	Value  string               `json:"value"`
}

func viewImport(i domain.Import) importView {
	v := importView{
		Task: i.Task, PoolID: i.PoolID, Kind: i.Kind, FileName: i.FileName, Actor: i.Actor, Status: i.Status,
		Bytes: i.Bytes, BytesDone: i.BytesDone,
		Rows: i.Rows, Added: i.Added, Moved: i.Moved, Unchanged: i.Unchanged, Refused: i.Refused,
		RefusedByReason: map[domain.RefusalReason]int64{},
		DryRun:          i.Options.DryRun, IgnoredColumns: []string{}, Layout: viewLayout(i.Layout),
		Options: optionsView{
			TZ: zeroNull(i.Options.TZ), Encoding: zeroNull(i.Options.Encoding), Delimiter: zeroNull(i.Options.Delimiter), Sheet: zeroNull(i.Options.Sheet),
		},
		CreatedAt: domain.EventTime(i.CreatedAt), StartedAt: viewTime(i.StartedAt), FinishedAt: viewTime(i.FinishedAt),
		FileKept: i.FileKept, FileKeptUntil: viewTime(i.KeptUntil),
	}
	maps.Copy(v.RefusedByReason, i.Reasons)
	if rate, ok := i.RowsPerSecond(); ok {
		rate = math.Round(rate)
		v.RowsPerSecond = &rate
	}
	if left, ok := i.Left(); ok {
		seconds := int64(math.Ceil(left.Seconds()))
		v.SecondsLeft = &seconds
	}
	if i.Error != "" {
		v.Error = &i.Error
	}
	if i.Pattern != "" {
		v.Pattern, v.Alphabet = &i.Pattern, &i.Alphabet
	}
	if i.Layout != nil {
		v.IgnoredColumns = append(v.IgnoredColumns, i.Layout.Ignored()...)
	}
	return v
}

func (a *importAPI) receive(w http.ResponseWriter, r *http.Request) error {
	id, actor, err := changeOf(r)
	if err != nil {
		return err
	}
	options, err := optionsOf(r)
	if err != nil {
		return err
	}
	upload, file, err := fileOf(w, r)
	if err != nil {
		return err
	}
	upload.PoolID, upload.Actor = id, actor
	if options.Encoding == "" {
		options.Encoding = upload.Options.Encoding // as the header says
	}
	upload.Options = options
	// A client that hangs up ends the file, not what is done about it.
	i, err := a.uploads.Receive(context.WithoutCancel(r.Context()), upload, file)
	if err != nil {
		return fileProblem(err)
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/imports/%d", i.Task))
	return answer(w, http.StatusAccepted, viewImport(i))
}

const archivedTakesNone = "an archived pool takes no codes: make another pool"

// fileProblem is the problem of a file that was not taken.
func fileProblem(err error) error {
	switch {
	case errors.As(err, new(*Problem)):
		return err
	case errors.Is(err, domain.ErrFileTooLarge):
		return problemOf(tooLarge, err.Error()+": send it in parts")
	case errors.Is(err, domain.ErrFileEmpty):
		return problemOf(badRequest, "the file is empty: a file of codes has one a line")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemOf(slowBody, fmt.Sprintf("nothing came for %s, so nothing was kept: send the file again", readTimeout))
	case errors.Is(err, domain.ErrFileBroken):
		return problemOf(badRequest, "the upload broke off, so nothing was kept: send the file again")
	case errors.Is(err, domain.ErrState):
		return problemOf(wrongState, archivedTakesNone)
	}
	return err
}

// delimiterNames are those that need no escaping in a query.
var delimiterNames = map[string]string{"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}

// optionsOf reads the query of an upload. What it does not know is refused: a
// dry run that was misspelt would fill the pool.
func optionsOf(r *http.Request) (o domain.ImportOptions, _ error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return o, problemOf(badRequest, "the query cannot be read: write delimiter=semicolon, or %3B")
	}
	into := map[string]*string{"tz": &o.TZ, "encoding": &o.Encoding, "delimiter": &o.Delimiter, "sheet": &o.Sheet, "dry_run": new(string)}
	var wrong []domain.Problem
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch place, ok := into[name]; {
		case !ok:
			wrong = append(wrong, domain.Problem{Field: name, Detail: "is not known, the options are " + strings.Join(slices.Sorted(maps.Keys(into)), ", ")})
		case len(query[name]) > 1:
			wrong = append(wrong, domain.Problem{Field: name, Detail: "is there twice"})
		case query.Get(name) == "":
			wrong = append(wrong, domain.Problem{Field: name, Detail: "is empty: leave it out, or say which"})
		default:
			*place = query.Get(name)
		}
	}
	if named, ok := delimiterNames[o.Delimiter]; ok {
		o.Delimiter = named
	}
	switch *into["dry_run"] {
	case "true":
		o.DryRun = true
	case "", "false":
	default:
		wrong = append(wrong, domain.Problem{Field: "dry_run", Detail: "must be true or false"})
	}
	var broken *domain.Invalid
	if errors.As(o.Check(), &broken) {
		wrong = append(wrong, broken.Problems...)
	}
	if wrong != nil {
		return o, &domain.Invalid{Problems: wrong}
	}
	return o, nil
}

const mediaXLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// charsetOf is the encoding that a charset means; "" is found by looking, as it
// is for what programs say of any text.
func charsetOf(charset string) (encoding string, ok bool) {
	switch s := strings.ToLower(charset); {
	case s == "" || s == "utf-8" || s == "us-ascii" || s == "utf-16":
		return "", true
	case slices.Contains(domain.Encodings, s):
		return s, true
	}
	return "", false
}

// fileOf finds the one file of a request.
func fileOf(w http.ResponseWriter, r *http.Request) (u domain.Upload, file io.Reader, _ error) {
	want := "send the header Content-Type: text/csv, text/plain, " + mediaXLSX + " or multipart/form-data, as charset one of " + strings.Join(domain.Encodings, ", ")
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding, known := charsetOf(params["charset"])
	if err != nil || !known || isCoded(r) {
		return u, nil, problemOf(badMedia, want)
	}
	u.MediaType, u.Options.Encoding = media, encoding
	r.Body = &patient{ReadCloser: r.Body, c: http.NewResponseController(w)}
	switch media {
	case "text/csv", "text/plain", mediaXLSX:
		_, disposition, _ := mime.ParseMediaType(r.Header.Get("Content-Disposition"))
		u.FileName = fileName(disposition["filename"])
		u.Size = r.ContentLength
		return u, r.Body, nil
	case "multipart/form-data":
		form, err := r.MultipartReader()
		if err != nil {
			return u, nil, problemOf(badRequest, "the body is no form: "+err.Error())
		}
		part, err := nextFile(form)
		if err != nil {
			return u, nil, err
		}
		if part == nil {
			return u, nil, problemOf(badRequest, "the form has no file: send it as a part with a file name")
		}
		u.FileName = fileName(part.FileName())
		if u.MediaType, _, err = mime.ParseMediaType(part.Header.Get("Content-Type")); err != nil || len(u.MediaType) > maxMedia {
			u.MediaType = "" // known by its bytes, if by anything
		}
		if strings.EqualFold(path.Ext(u.FileName), ".xlsx") {
			u.MediaType = mediaXLSX
		}
		return u, &onlyFile{form: form, part: part}, nil
	}
	return u, nil, problemOf(badMedia, want)
}

// maxMedia bounds what is kept of a media type, in bytes.
const maxMedia = 200

// readTimeout is how long an upload may stand still.
const readTimeout = time.Minute

// patient is a body whose sender may take its time but not sleep.
type patient struct {
	io.ReadCloser
	c *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.c.SetReadDeadline(time.Now().Add(readTimeout)) // where there is no connection there is no waiting
	n, err := p.ReadCloser.Read(b)
	if errors.Is(err, io.EOF) {
		_ = p.c.SetReadDeadline(time.Time{})
	}
	return n, err
}

// onlyFile is a file of a form that must have no other.
type onlyFile struct {
	form *multipart.Reader
	part *multipart.Part
}

func (f *onlyFile) Read(b []byte) (int, error) {
	n, err := f.part.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	next, err := nextFile(f.form)
	switch {
	case err != nil:
		return n, err
	case next != nil:
		return n, problemOf(badRequest, "the form has more than one file: send them one by one")
	}
	return n, io.EOF
}

// nextFile passes over fields that are no files; nil: there is no file any more.
func nextFile(form *multipart.Reader) (*multipart.Part, error) {
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, fileProblem(fmt.Errorf("%w: %w", domain.ErrFileBroken, err))
		}
		if part.FileName() != "" {
			return part, nil
		}
	}
}

// fileName is what a client calls its file, fit to be shown.
func fileName(s string) string {
	s = path.Base(strings.ReplaceAll(s, `\`, "/"))
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	if s == "." || s == "/" {
		return ""
	}
	return s
}

// importOf is the import that the path names.
func (a *importAPI) importOf(r *http.Request) (domain.Import, error) {
	task, err := pathTask(r)
	if err != nil {
		return domain.Import{}, err
	}
	i, err := a.imports.Import(r.Context(), task)
	return i, noSuchImport(err)
}

func noSuchImport(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return problemOf(notFound, "there is no import of this number: /v1/imports lists all")
	}
	return err
}

func pathTask(r *http.Request) (int64, error) {
	task, err := strconv.ParseInt(r.PathValue("task"), 10, 64)
	if err != nil || task < 1 {
		return 0, noSuchImport(domain.ErrNotFound)
	}
	return task, nil
}

func (a *importAPI) read(w http.ResponseWriter, r *http.Request) error {
	i, err := a.importOf(r)
	if err != nil {
		return err
	}
	refusals, err := a.imports.Refusals(r.Context(), i.Task, 0, 100)
	if err != nil {
		return err
	}
	report := importReport{importView: viewImport(i), Refusals: make([]refusalView, len(refusals))}
	for n, f := range refusals {
		report.Refusals[n] = refusalView{Line: f.Line, Reason: f.Reason, Detail: f.Reason.Detail(), Value: f.Value}
	}
	return answer(w, http.StatusOK, report)
}

// list answers with a page of all imports.
func (a *importAPI) list(w http.ResponseWriter, r *http.Request) error {
	p, which, err := importPage(r, "pool_id")
	if err != nil {
		return err
	}
	if which.PoolID = p.query.Get("pool_id"); which.PoolID != "" && domain.CheckID(which.PoolID) != nil {
		return wrongParameter("pool_id", "must be the id of a pool")
	}
	return listImports(w, r, p, which, a.imports.ListImports)
}

func (a *importAPI) listOfPool(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	p, which, err := importPage(r)
	if err != nil {
		return err
	}
	which.PoolID = id
	return listImports(w, r, p, which, a.imports.ImportsOfPool)
}

// importPage is the page of imports that a request asks for.
func importPage(r *http.Request, filters ...string) (p page, which domain.ImportFilter, err error) {
	if p, err = pageOf(r, append([]string{"status", "kind", "actor"}, filters...)...); err != nil {
		return p, which, err
	}
	if which.Status = domain.ImportStatus(p.query.Get("status")); which.Status != "" && !slices.Contains(domain.ImportStatuses, which.Status) {
		return p, which, wrongParameter("status", "must be "+oneOf(domain.ImportStatuses))
	}
	if which.Kind = domain.ImportKind(p.query.Get("kind")); which.Kind != "" && !slices.Contains(domain.ImportKinds, which.Kind) {
		return p, which, wrongParameter("kind", "must be "+oneOf(domain.ImportKinds))
	}
	which.Actor, err = p.actor()
	return p, which, err
}

func listImports(w http.ResponseWriter, r *http.Request, p page, which domain.ImportFilter,
	read func(ctx context.Context, which domain.ImportFilter, below int64, limit int) ([]domain.Import, error),
) error {
	below, err := p.below()
	if err != nil {
		return err
	}
	imports, err := read(r.Context(), which, below, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, imports, func(i domain.Import) string { return strconv.FormatInt(i.Task, 10) }, viewImport)
}

func (a *importAPI) cancel(w http.ResponseWriter, r *http.Request) error {
	task, err := pathTask(r)
	if err != nil {
		return noSuchImport(err)
	}
	i, err := a.imports.CancelImport(r.Context(), task)
	if errors.Is(err, domain.ErrImportEnded) {
		return problemOf(importEnded, fmt.Sprintf("import %d is %s: there is nothing left to cancel, what was added stays", task, strings.ReplaceAll(string(i.Status), "_", " ")))
	}
	if err != nil {
		return noSuchImport(err)
	}
	return answer(w, http.StatusOK, viewImport(i))
}

// servable are the media types that a file is given back as. Any other could be
// a page that acts in the name of who opens it.
var servable = []string{"text/csv", "text/plain", mediaXLSX}

func (a *importAPI) file(w http.ResponseWriter, r *http.Request) error {
	i, err := a.importOf(r)
	if err != nil {
		return err
	}
	if i.Kind != domain.FromFile {
		return problemOf(notFound, fmt.Sprintf("task %d has no file: its codes were generated", i.Task))
	}
	if !i.FileKept {
		return problemOf(gone, fmt.Sprintf("the file of import %d was kept until %s: ask whoever uploaded it, %s", i.Task, domain.EventTime(i.KeptUntil), i.Actor))
	}
	name, media := i.FileName, i.MediaType
	if name == "" {
		name = fmt.Sprintf("import-%d.csv", i.Task)
	}
	if !slices.Contains(servable, media) {
		media = "application/octet-stream"
	}
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Length", strconv.FormatInt(i.Bytes, 10))
	h.Set("Cache-Control", "no-store")
	return a.stream(w, r, func(out io.Writer) error { return a.uploads.WriteFile(r.Context(), i.Task, out) })
}

func (a *importAPI) rejected(w http.ResponseWriter, r *http.Request) error {
	i, err := a.importOf(r)
	if err != nil {
		return err
	}
	asFile(w, fmt.Sprintf("import-%d-rejected.csv", i.Task))
	return a.stream(w, r, func(out io.Writer) error { return a.uploads.WriteRejected(r.Context(), i.Task, out) })
}

func (a *importAPI) template(format domain.Format) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		var file bytes.Buffer
		if err := a.uploads.WriteTemplate(&file, format); err != nil {
			return err
		}
		asFile(w, "codes."+string(format))
		if format == domain.FormatXLSX {
			w.Header().Set("Content-Type", mediaXLSX)
		}
		_, _ = file.WriteTo(w)
		return nil
	}
}
