package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path"
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
}

// Imports is what the interface needs of the store to tell of imports.
type Imports interface {
	Import(ctx context.Context, task int64) (domain.Import, error)
	// ListImports returns those of a pool below a task, the newest first.
	ListImports(ctx context.Context, pool string, below int64, limit int) ([]domain.Import, error)
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
		a.handle(mux, "GET /v1/pools/{id}/imports", a.list)
		a.handle(mux, "GET /v1/imports/{task}", a.read)
		a.handle(mux, "GET /v1/import-template.csv", a.template)
	}
}

type importView struct {
	Task           int64               `json:"task"`
	PoolID         string              `json:"pool_id"`
	Kind           domain.ImportKind   `json:"kind"`
	FileName       string              `json:"file_name"`
	Pattern        *string             `json:"pattern"`
	Alphabet       *string             `json:"alphabet"`
	Status         domain.ImportStatus `json:"status"`
	Error          *string             `json:"error"`
	Bytes          int64               `json:"bytes"`
	BytesDone      int64               `json:"bytes_done"`
	Rows           int64               `json:"rows"`
	Added          int64               `json:"added"`
	Moved          int64               `json:"moved"`
	Unchanged      int64               `json:"unchanged"`
	Refused        int64               `json:"refused"`
	IgnoredColumns []string            `json:"ignored_columns"`
	CreatedAt      string              `json:"created_at"`
	StartedAt      *string             `json:"started_at"`
	FinishedAt     *string             `json:"finished_at"`
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
		Task: i.Task, PoolID: i.PoolID, Kind: i.Kind, FileName: i.FileName, Status: i.Status,
		Bytes: i.Bytes, BytesDone: i.BytesDone,
		Rows: i.Rows, Added: i.Added, Moved: i.Moved, Unchanged: i.Unchanged, Refused: i.Refused,
		IgnoredColumns: []string{},
		CreatedAt:      domain.EventTime(i.CreatedAt), StartedAt: viewTime(i.StartedAt), FinishedAt: viewTime(i.FinishedAt),
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
	id, err := pathID(r)
	if err != nil {
		return err
	}
	upload, file, err := fileOf(w, r)
	if err != nil {
		return err
	}
	upload.PoolID = id
	// A client that hangs up ends the file, not what is done about it.
	i, err := a.uploads.Receive(context.WithoutCancel(r.Context()), upload, file)
	if err != nil {
		return fileProblem(err)
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/imports/%d", i.Task))
	return answer(w, http.StatusAccepted, viewImport(i))
}

// fileProblem is the problem of a file that was not taken.
func fileProblem(err error) error {
	switch {
	case errors.As(err, new(*Problem)):
		return err
	case errors.Is(err, domain.ErrFileTooLarge):
		return problemOf(tooLarge, err.Error())
	case errors.Is(err, domain.ErrFileEmpty):
		return problemOf(badRequest, "the file is empty: a file of codes has one a line")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemOf(slowBody, fmt.Sprintf("nothing came for %s, so nothing was kept: send the file again", readTimeout))
	case errors.Is(err, domain.ErrFileBroken):
		return problemOf(badRequest, "the upload broke off, so nothing was kept: send the file again")
	case errors.Is(err, domain.ErrState):
		return problemOf(wrongState, "an archived pool takes no codes")
	}
	return err
}

// fileOf finds the one file of a request.
func fileOf(w http.ResponseWriter, r *http.Request) (u domain.Upload, file io.Reader, _ error) {
	const want = "send the header Content-Type: text/csv, text/plain or multipart/form-data, in UTF-8"
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") ||
		r.Header.Get("Content-Encoding") != "" {
		return u, nil, problemOf(badMedia, want)
	}
	u.MediaType = media
	r.Body = &patient{ReadCloser: r.Body, c: http.NewResponseController(w)}
	switch media {
	case "text/csv", "text/plain":
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
			return u, nil, problemOf(badRequest, "the form has no file")
		}
		u.FileName = fileName(part.FileName())
		return u, &onlyFile{form: form, part: part}, nil
	}
	return u, nil, problemOf(badMedia, want)
}

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

// pathTask is the task that the path names.
func pathTask(r *http.Request) (int64, error) {
	task, err := strconv.ParseInt(r.PathValue("task"), 10, 64)
	if err != nil || task < 1 {
		return 0, domain.ErrNotFound
	}
	return task, nil
}

func (a *importAPI) read(w http.ResponseWriter, r *http.Request) error {
	task, err := pathTask(r)
	if err != nil {
		return err
	}
	i, err := a.imports.Import(r.Context(), task)
	if err != nil {
		return err
	}
	refusals, err := a.imports.Refusals(r.Context(), task, 0, 100)
	if err != nil {
		return err
	}
	report := importReport{importView: viewImport(i), Refusals: make([]refusalView, len(refusals))}
	for n, f := range refusals {
		report.Refusals[n] = refusalView{Line: f.Line, Reason: f.Reason, Detail: f.Reason.Detail(), Value: f.Value}
	}
	return answer(w, http.StatusOK, report)
}

func (a *importAPI) list(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	below := int64(math.MaxInt64)
	if p.after != "" {
		if below, err = strconv.ParseInt(p.after, 10, 64); err != nil {
			return problemOf(badRequest, `cursor must be the "next" of the page before`)
		}
	}
	imports, err := a.imports.ListImports(r.Context(), id, below, p.limit+1)
	if err != nil {
		return err
	}
	return listed(w, p, imports, func(i domain.Import) string { return strconv.FormatInt(i.Task, 10) }, viewImport)
}

func (a *importAPI) rejected(w http.ResponseWriter, r *http.Request) error {
	task, err := pathTask(r)
	if err != nil {
		return err
	}
	if _, err := a.imports.Import(r.Context(), task); err != nil {
		return err
	}
	asFile(w, fmt.Sprintf("import-%d-rejected.csv", task))
	if err := a.uploads.WriteRejected(r.Context(), task, w); err != nil {
		if r.Context().Err() == nil {
			a.Log.Warn().Err(err).Int64("task", task).Msg("rejected rows broken off")
		}
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
	return nil
}

func (a *importAPI) template(w http.ResponseWriter, _ *http.Request) error {
	names := make([]string, len(domain.Columns))
	for i, c := range domain.Columns {
		names[i] = string(c)
	}
	asFile(w, "codes.csv")
	_, _ = io.WriteString(w, strings.Join(names, ",")+"\r\n")
	return nil
}

func asFile(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	w.Header().Set("Cache-Control", "no-store")
}
