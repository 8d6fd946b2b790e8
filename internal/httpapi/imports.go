package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

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
