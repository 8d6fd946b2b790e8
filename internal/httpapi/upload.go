package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"promopool/internal/domain"
)

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
