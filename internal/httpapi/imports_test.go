package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

// dock is where files are handed in.
type dock struct {
	*site
	sql *pgx.Conn
}

const uploadLimit = 4 << 20

func newDock(t *testing.T) *dock {
	t.Helper()
	d := &dock{site: open(t)}
	var err error
	if d.sql, err = pgx.Connect(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.sql.Close(context.Background()) })
	for _, id := range []string{"mugs", "old"} {
		d.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "description": "x", "name": "`+id+`"}`)
	}
	d.Want(200, "POST", "/v1/pools/old/launch", "")
	d.Want(200, "POST", "/v1/pools/old/archive", "")
	return d
}

// Send sends a request, holds the answer against the contract, and returns its
// status and what it says.
func (d *dock) Send(method, path, media string, body io.Reader, header ...string) (int, http.Header, string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.server.URL+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	d.contract.Check(d.t, d.route(), r, b)
	return r.StatusCode, r.Header, string(b)
}

type report struct {
	Task        int64
	Status      string
	Rows, Added int64
	Refused     int64
	FileName    string   `json:"file_name"`
	Ignored     []string `json:"ignored_columns"`
	Refusals    []struct {
		Line          int64
		Reason, Value string
	}
}

// Ended waits for the end of a task.
func (d *dock) Ended(location string) report {
	d.t.Helper()
	for {
		status, _, body := d.Send("GET", location, "", nil)
		var r report
		if err := json.Unmarshal([]byte(body), &r); err != nil || status != 200 {
			d.t.Fatalf("%d %s", status, body)
		}
		if domain.ImportStatus(r.Status).Ended() {
			return r
		}
	}
}

func form(files ...string) (media string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	_ = w.WriteField("comment", "no file")
	for i, f := range files {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file%d"; filename="C:\\codes\\spring %d.csv"`, i, i))
		part, _ := w.CreatePart(h)
		_, _ = part.Write([]byte(f))
	}
	w.Close()
	return w.FormDataContentType(), body
}

func TestUploadForms(t *testing.T) {
	d := newDock(t)
	csv := "code;note\nA1;x\nA1;y\nB2;\n"
	formMedia, formBody := form(strings.ReplaceAll(csv, "A1", "C3"))
	tests := []struct {
		name, media string
		body        io.Reader
		header      []string
		fileName    string
		added       int64
	}{
		{"CSV", "text/csv; charset=UTF-8", strings.NewReader(csv), []string{"Content-Disposition", `attachment; filename="a/spring.csv"`}, "spring.csv", 2},
		{"Pasted", "text/plain", strings.NewReader("P1\nP2\nP3"), nil, "", 3},
		{"Form", formMedia, formBody, nil, "spring 0.csv", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, header, body := d.Send("POST", "/v1/pools/mugs/imports", tt.media, tt.body, tt.header...)
			if status != http.StatusAccepted {
				t.Fatalf("%d %s", status, body)
			}
			r := d.Ended(header.Get("Location"))
			if r.Added != tt.added || r.FileName != tt.fileName {
				t.Errorf("got %+v, want %d of %q", r, tt.added, tt.fileName)
			}
		})
	}
	_, _, body := d.Send("GET", "/v1/pools/mugs/imports?limit=2", "", nil)
	var list struct {
		Items []report
		Next  *string
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 2 || list.Items[0].Task != 3 || list.Next == nil {
		t.Fatalf("list: %s", body)
	}
	_, _, body = d.Send("GET", "/v1/pools/mugs/imports?cursor="+*list.Next, "", nil)
	list.Next = nil
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 1 || list.Items[0].Task != 1 || list.Next != nil {
		t.Fatalf("second page: %s", body)
	}
	r := d.Ended("/v1/imports/1")
	if len(r.Refusals) != 1 || r.Refusals[0].Line != 3 || r.Refusals[0].Reason != "duplicate_in_file" || r.Refusals[0].Value != "A1" {
		t.Errorf("refusals: got %+v", r.Refusals)
	}
	if len(r.Ignored) != 1 || r.Ignored[0] != "note" {
		t.Errorf("ignored: got %q", r.Ignored)
	}
	status, header, body := d.Send("GET", "/v1/imports/1/rejected.csv", "", nil)
	if want := "code;note;line;reason\nA1;y;3;duplicate_in_file\n"; status != 200 || body != want || !strings.HasPrefix(header.Get("Content-Type"), "text/csv") {
		t.Errorf("got %d %q, want %q", status, body, want)
	}
	if status, header, body := d.Send("GET", "/v1/import-template.xlsx", "", nil); status != 200 || !strings.HasPrefix(body, "PK") ||
		!strings.HasSuffix(header.Get("Content-Disposition"), `"codes.xlsx"`) {
		t.Errorf("template: %d %v", status, header)
	}
	if status, _, body := d.Send("GET", "/v1/import-template.csv", "", nil); status != 200 || body != "code,issue_start,issue_end,available_from,available_till\r\n" {
		t.Errorf("template: %d %q", status, body)
	}
}

// What an upload says of its file, and what was found out about it.
func TestUploadOptions(t *testing.T) {
	d := newDock(t)
	type layout struct {
		Format    string
		Encoding  string
		Delimiter string
		HeaderRow int64 `json:"header_row"`
		Columns   []struct{ Name, Meaning string }
	}
	type task struct {
		report
		DryRun  bool `json:"dry_run"`
		Options struct{ TZ, Encoding, Delimiter, Sheet string }
		Layout  layout
	}
	send := func(query, media, body string) (i task) {
		t.Helper()
		status, header, answer := d.Send("POST", "/v1/pools/mugs/imports"+query, media, strings.NewReader(body))
		if status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
		d.Ended(header.Get("Location"))
		_, _, answer = d.Send("GET", header.Get("Location"), "", nil)
		if err := json.Unmarshal([]byte(answer), &i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	i := send("?tz=Europe/Berlin&encoding=windows-1251&delimiter=semicolon&sheet=2&dry_run=true", "text/csv", "Code;\xcd\xe0\xe7\xe2;Issue Start\nA1;;2026-03-29 02:30\nA2;;\n")
	if !i.DryRun || i.Options.TZ != "Europe/Berlin" || i.Options.Delimiter != ";" || i.Options.Sheet != "2" {
		t.Errorf("options: got %+v", i)
	}
	if len(i.Refusals) != 1 || i.Refusals[0].Reason != "bad_date" || i.Added != 1 {
		t.Errorf("an hour that was skipped: got %+v", i)
	}
	if l := i.Layout; l.Format != "csv" || l.Encoding != "windows-1251" || l.Delimiter != ";" || l.HeaderRow != 1 || len(l.Columns) != 3 || l.Columns[1].Name != "Назв" || l.Columns[2].Meaning != "issue_start" {
		t.Errorf("layout: got %+v", l)
	}
	if n := d.count("SELECT count(*) FROM codes"); n != 0 {
		t.Errorf("a dry run left %d codes", n)
	}
	i = send("", "text/csv; charset=windows-1252", "\xc4-1\n\xd6-2\n")
	if i.Added != 2 || i.Options.Encoding != "windows-1252" || i.Layout.HeaderRow != 0 {
		t.Errorf("charset: got %+v", i)
	}
	i = send("", "text/plain; charset=utf-8", "P1, P2;P3\nP4")
	if i.Added != 4 || i.Layout.Format != "list" || i.Layout.Delimiter != "" {
		t.Errorf("pasted: got %+v", i)
	}
	_, _, book := d.Send("GET", "/v1/import-template.xlsx", "", nil)
	media, body := form(book)
	if i = send("", media, strings.ReplaceAll(body.String(), ".csv", ".xlsx")); i.Status != "completed" || i.Layout.Format != "xlsx" || i.FileName != "spring 0.xlsx" {
		t.Errorf("workbook in a form: got %+v", i)
	}
	if i = send("", "text/csv", "PK\x03\x04 no workbook"); i.Status != "failed" {
		t.Errorf("no workbook: got %+v", i)
	}
	if i = send("", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "A1\n"); i.Status != "failed" {
		t.Errorf("text as a workbook: got %+v", i)
	}
}

func TestUploadRefused(t *testing.T) {
	d := newDock(t)
	twoMedia, two := form("A\n", "B\n")
	noneMedia, none := form()
	cutMedia, cut := form(strings.Repeat("A\n", 1<<20))
	cut.Truncate(1 << 20)
	large := strings.Repeat("0123456\n", uploadLimit/8+1)
	tests := []struct {
		name, path, media string
		body              io.Reader
		status            int
		detail            string
	}{
		{"NoPool", "/v1/pools/cups/imports", "text/csv", strings.NewReader("A\n"), 404, ""},
		{"Archived", "/v1/pools/old/imports", "text/csv", strings.NewReader("A\n"), 409, "archived"},
		{"Empty", "/v1/pools/mugs/imports", "text/csv", strings.NewReader(""), 400, "empty"},
		{"JSON", "/v1/pools/mugs/imports", "application/json", strings.NewReader("{}"), 415, "text/csv"},
		{"Charset", "/v1/pools/mugs/imports", "text/csv; charset=koi8-r", strings.NewReader("A\n"), 415, "windows-1251"},
		{"Zone", "/v1/pools/mugs/imports?tz=Berlin", "text/csv", strings.NewReader("A\n"), 422, `"field":"tz"`},
		{"ServerZone", "/v1/pools/mugs/imports?tz=Local", "text/csv", strings.NewReader("A\n"), 422, `"field":"tz"`},
		{"Encoding", "/v1/pools/mugs/imports?encoding=koi8-r", "text/csv", strings.NewReader("A\n"), 422, `"field":"encoding"`},
		{"Delimiter", "/v1/pools/mugs/imports?delimiter=x", "text/csv", strings.NewReader("A\n"), 422, `"field":"delimiter"`},
		{"Semicolon", "/v1/pools/mugs/imports?delimiter=;", "text/csv", strings.NewReader("A\n"), 400, "%3B"},
		{"Sheet", "/v1/pools/mugs/imports?sheet=" + strings.Repeat("x", 201), "text/csv", strings.NewReader("A\n"), 422, `"field":"sheet"`},
		{"DryRun", "/v1/pools/mugs/imports?dry_run=yes", "text/csv", strings.NewReader("A\n"), 422, `"field":"dry_run"`},
		{"Misspelt", "/v1/pools/mugs/imports?dryrun=true&dry_run=true&dry_run=false", "text/csv", strings.NewReader("A\n"), 422, `"field":"dryrun"`},
		{"NoFile", "/v1/pools/mugs/imports", noneMedia, none, 400, "no file"},
		{"TwoFiles", "/v1/pools/mugs/imports", twoMedia, two, 400, "more than one"},
		{"CutForm", "/v1/pools/mugs/imports", cutMedia, cut, 400, "broke off"},
		{"DeclaredTooLarge", "/v1/pools/mugs/imports", "text/csv", strings.NewReader(large), 413, "at most"},
		{"TooLarge", "/v1/pools/mugs/imports", "text/csv", struct{ io.Reader }{strings.NewReader(large)}, 413, "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, _, body := d.Send("POST", tt.path, tt.media, tt.body)
			if status != tt.status || !strings.Contains(body, tt.detail) {
				t.Errorf("got %d %s, want %d about %q", status, body, tt.status, tt.detail)
			}
		})
	}
	for _, path := range []string{"/v1/imports/99", "/v1/imports/x", "/v1/imports/99/rejected.csv", "/v1/pools/cups/imports"} {
		if status, _, body := d.Send("GET", path, "", nil); status != 404 || !strings.Contains(body, "/problems/") {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
	d.wantNothing()
}

// A client that hangs up in the middle leaves nothing behind.
func TestUploadHangsUp(t *testing.T) {
	d := newDock(t)
	conn, err := net.Dial("tcp", d.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/pools/mugs/imports HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 3000000\r\n\r\n%s", strings.Repeat("A\n", 1<<20))
	for d.count("SELECT count(*) FROM import_parts") == 0 {
	}
	conn.Close()
	d.wantNothing()
}

func (d *dock) count(query string) (n int) {
	d.t.Helper()
	if err := d.sql.QueryRow(context.Background(), query).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *dock) wantNothing() {
	d.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for d.count("SELECT (SELECT count(*) FROM imports) + (SELECT count(*) FROM import_parts)") > 0 {
		if time.Now().After(deadline) {
			d.t.Fatal("something is left of uploads that were refused")
		}
	}
}

// taskReport is what a task says of itself beside its counts.
type taskReport struct {
	report
	Actor           string
	RefusedByReason map[string]int64 `json:"refused_by_reason"`
	RowsPerSecond   *float64         `json:"rows_per_second"`
	SecondsLeft     *int64           `json:"seconds_left"`
	FileKept        bool             `json:"file_kept"`
	FileKeptUntil   *time.Time       `json:"file_kept_until"`
	FinishedAt      *time.Time       `json:"finished_at"`
}

func (d *dock) read(location string) (r taskReport) {
	d.t.Helper()
	status, _, body := d.Send("GET", location, "", nil)
	if err := json.Unmarshal([]byte(body), &r); err != nil || status != 200 {
		d.t.Fatalf("%d %s", status, body)
	}
	return r
}

func TestImportTold(t *testing.T) {
	d := newDock(t)
	_, header, _ := d.Send("POST", "/v1/pools/mugs/imports", "text/csv", strings.NewReader("code;x\nA;\nA;\n;y\nA;\n"), "Promopool-Actor", " Зоя ")
	d.Ended(header.Get("Location"))
	r := d.read(header.Get("Location"))
	if r.Actor != "Зоя" || len(r.RefusedByReason) != 2 || r.RefusedByReason["duplicate_in_file"] != 2 || r.RefusedByReason["empty_code"] != 1 {
		t.Errorf("got %+v", r)
	}
	if r.RowsPerSecond == nil || *r.RowsPerSecond <= 0 || r.SecondsLeft == nil || *r.SecondsLeft != 0 {
		t.Errorf("got %v rows/s, %v s left", r.RowsPerSecond, r.SecondsLeft)
	}
	if !r.FileKept || r.FileKeptUntil == nil || !r.FileKeptUntil.Equal(r.FinishedAt.Add(time.Hour)) {
		t.Errorf("got the file kept %t until %v", r.FileKept, r.FileKeptUntil)
	}
}

func TestImportCancelled(t *testing.T) {
	d := newDock(t)
	_, header, _ := d.Send("POST", "/v1/pools/mugs/imports", "text/csv", strings.NewReader(strings.Repeat("A\n", uploadLimit/2)))
	location := header.Get("Location")
	for range 2 {
		status, _, body := d.Send("POST", location+"/cancel", "", nil)
		if status != 200 || !strings.Contains(body, `"status":"cancelled"`) {
			t.Errorf("got %d %s", status, body)
		}
	}
	_, header, _ = d.Send("POST", "/v1/pools/mugs/imports", "text/csv", strings.NewReader("NEXT\n"))
	next := d.Ended(header.Get("Location"))
	if next.Added != 1 {
		t.Errorf("got %+v", next)
	}
	status, _, body := d.Send("POST", header.Get("Location")+"/cancel", "", nil)
	if status != 409 || !strings.Contains(body, "/problems/import-ended") || !strings.Contains(body, "is completed") {
		t.Errorf("got %d %s", status, body)
	}
	if r := d.read(location); r.Status != "cancelled" || r.Rows >= uploadLimit/2 {
		t.Errorf("got %+v", r)
	}
}

func TestImportsListed(t *testing.T) {
	d := newDock(t)
	d.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "cups"}`)
	for _, up := range [][2]string{{"mugs", "A\n"}, {"cups", "A\n"}, {"mugs", "B\nB\n"}} {
		_, header, _ := d.Send("POST", "/v1/pools/"+up[0]+"/imports", "text/csv", strings.NewReader(up[1]))
		d.Ended(header.Get("Location"))
	}
	d.Want(200, "PATCH", "/v1/pools/mugs", `{"id": "jugs"}`)
	d.Want(204, "DELETE", "/v1/pools/cups", "")
	for query, want := range map[string][]int64{
		"":                                    {3, 2, 1},
		"?pool_id=jugs":                       {3, 1},
		"?pool_id=mugs":                       {},
		"?pool_id=cups":                       {2}, // as it was called
		"?status=completed":                   {2, 1},
		"?status=completed_with_refusals":     {3},
		"?status=running":                     {},
		"?status=completed&pool_id=jugs":      {1},
		"?limit=1":                            {3},
		"?limit=1&cursor=Mw":                  {2},
		"?limit=2&cursor=Mw&status=completed": {2, 1},
	} {
		status, _, body := d.Send("GET", "/v1/imports"+query, "", nil)
		var list struct {
			Items []report
			Next  *string
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		got := []int64{}
		for _, i := range list.Items {
			got = append(got, i.Task)
		}
		if !slices.Equal(got, want) || (list.Next != nil) != strings.HasPrefix(query, "?limit=1") {
			t.Errorf("%q: got %v, next %v, want %v", query, got, list.Next, want)
		}
	}
	if status, _, body := d.Send("GET", "/v1/pools/jugs/imports?status=completed", "", nil); status != 200 || strings.Count(body, `"task"`) != 1 {
		t.Errorf("got %d %s", status, body)
	}
}

func TestImportFile(t *testing.T) {
	d := newDock(t)
	page := new(bytes.Buffer)
	w := multipart.NewWriter(page)
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", `form-data; name="file"; filename="x.html"`)
	h.Set("Content-Type", "text/html")
	part, _ := w.CreatePart(h)
	_, _ = part.Write([]byte("<script>alert(1)</script>\n"))
	w.Close()
	formMedia, formBody := form("A\n")
	large := strings.Repeat("0123456\n", uploadLimit/8)
	for _, tt := range []struct {
		name, media string
		body        io.Reader
		disposition string
		wantMedia   string
		wantName    string
		want        string
	}{
		{"Named", "text/csv", strings.NewReader("A;b\r\n"), `attachment; filename*=UTF-8''%D0%BA%D0%BE%D0%B4%D1%8B.csv`, "text/csv", `attachment; filename*=utf-8''%D0%BA%D0%BE%D0%B4%D1%8B.csv`, "A;b\r\n"},
		{"Pasted", "text/plain", strings.NewReader("A"), "", "text/plain", "attachment; filename=import-2.csv", "A"},
		{"Form", formMedia, formBody, "", "application/octet-stream", `attachment; filename="spring 0.csv"`, "A\n"},
		{"Page", w.FormDataContentType(), page, "", "application/octet-stream", "attachment; filename=x.html", "<script>alert(1)</script>\n"},
		{"Large", "text/csv", strings.NewReader(large), "", "text/csv", "attachment; filename=import-5.csv", large},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, header, body := d.Send("POST", "/v1/pools/mugs/imports", tt.media, tt.body, "Content-Disposition", tt.disposition)
			location := header.Get("Location")
			if location == "" {
				t.Fatal(body)
			}
			status, header, body := d.Send("GET", location+"/file", "", nil)
			if status != 200 || body != tt.want {
				t.Errorf("got %d and %d bytes, want %d", status, len(body), len(tt.want))
			}
			if got := header.Get("Content-Type"); got != tt.wantMedia {
				t.Errorf("got %q, want %q", got, tt.wantMedia)
			}
			if got := header.Get("Content-Disposition"); got != tt.wantName {
				t.Errorf("got %q, want %q", got, tt.wantName)
			}
		})
	}
	d.Ended("/v1/imports/2")
	if _, err := d.sql.Exec(t.Context(), `UPDATE imports SET finished_at = finished_at - interval '1 hour' WHERE task = 2`); err != nil {
		t.Fatal(err)
	}
	if err := d.store.SweepImports(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	r := d.read("/v1/imports/2")
	status, _, body := d.Send("GET", "/v1/imports/2/file", "", nil)
	if status != 410 || !strings.Contains(body, "/problems/gone") || r.FileKept || !strings.Contains(body, domain.EventTime(*r.FileKeptUntil)) {
		t.Errorf("got %d %s, kept until %v", status, body, r.FileKeptUntil)
	}
}

// A client that hangs up ends the export.
func TestExportHangsUp(t *testing.T) {
	d := newDock(t)
	if _, err := d.sql.Exec(t.Context(), `WITH n AS MATERIALIZED (SELECT nextval('lot_numbers')::int AS lot),
		c AS (INSERT INTO codes (pool, lot, seq, code) SELECT p.pool, n.lot, s, 'code-' || s FROM n, pools p, generate_series(0, 199999) s WHERE p.id = 'mugs')
		SELECT add_lot(p.pool, n.lot, 200000, NULL, NULL, NULL, NULL, NULL) FROM n, pools p WHERE p.id = 'mugs'`); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, d.server.URL+"/v1/pools/mugs/codes.csv", nil)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.Header.Get("Content-Disposition") != `attachment; filename="codes-mugs.csv"` {
		t.Errorf("got %v", r.Header)
	}
	if _, err := io.ReadFull(r.Body, make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	hangUp()
	d.server.Close() // waits for the request
}
