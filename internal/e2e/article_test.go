package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"promopool/internal/domain"
)

// staff work with a process by HTTP, under a name.
type staff struct {
	t    testing.TB
	base string
	name string
}

// reply is an answer that has been read.
type reply struct {
	*http.Response
	t    testing.TB
	body []byte
}

// Want sends a request and wants the status. Pairs of a header's name and value
// may follow the body.
func (s staff) Want(status int, method, path, body string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Promopool-Actor", s.name)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{Response: resp, t: s.t, body: b}
	if resp.StatusCode != status {
		s.t.Fatalf("%s %s %s: got %s, want %d: %s", method, path, body, resp.Status, status, b)
	}
	return r
}

// Refused wants a problem that names the field, if it is one's, and says what to do.
func (s staff) Refused(status int, kind, field, says, method, path, body string, header ...string) {
	s.t.Helper()
	r := s.Want(status, method, path, body, header...)
	var p struct {
		Type, Title, Detail string
		Errors              []struct{ Field, Detail string }
	}
	r.into(&p)
	if p.Type != "/problems/"+kind || p.Title == "" || !strings.Contains(p.Detail, says) || r.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("%s %s %s: got %s, want %s that says %q", method, path, body, r.body, kind, says)
	}
	if field == "" {
		return
	}
	for _, e := range p.Errors {
		if e.Field == field && strings.Contains(p.Detail, e.Detail) {
			return
		}
	}
	s.t.Errorf("%s %s %s: no word on %s in %s", method, path, body, field, r.body)
}

// Upload sends a file and waits until its task has ended. It returns the report.
func (s staff) Upload(path, mediaType, name, file string) reply {
	s.t.Helper()
	taken := s.Want(http.StatusAccepted, "POST", path, file, "Content-Type", mediaType, "Content-Disposition", `attachment; filename="`+name+`"`)
	task := taken.Header.Get("Location")
	if want := fmt.Sprintf("/v1/imports/%v", taken.get("task")); task != want || taken.get("file_name") != name || taken.get("actor") != s.name {
		s.t.Errorf("upload of %s: got Location %s and %s, want %s", name, task, taken.body, want)
	}
	for {
		r := s.Want(http.StatusOK, "GET", task, "")
		if done, all := r.get("bytes_done").(float64), r.get("bytes").(float64); done > all || all != float64(len(file)) {
			s.t.Errorf("%v of %v bytes are done, want of %d", done, all, len(file))
		}
		if domain.ImportStatus(r.get("status").(string)).Ended() {
			return r
		}
	}
}

func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
}

func (r reply) get(field string) any {
	r.t.Helper()
	var m map[string]any
	r.into(&m)
	return m[field]
}

// shows wants these fields of an answer, of which others may be there.
func (r reply) shows(want map[string]any) {
	r.t.Helper()
	got := map[string]any{}
	for field := range want {
		got[field] = r.get(field)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s %s: %s", r.Request.Method, r.Request.URL.Path, diff)
	}
}

const (
	asCSV   = "text/csv"
	asText  = "text/plain"
	asSheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
)

// TestArticle walks through what the help article says of making and filling a
// pool, as staff see it by HTTP, and ends with a request on Kafka. The same walk
// at a terminal is internal/cli/testdata/script/article.txtar.
func TestArticle(t *testing.T) {
	w := newWorld(t)
	anna := staff{t: t, base: w.Serve().http, name: "anna"}
	boris := staff{t: t, base: w.Serve().http, name: "Борис"} // on another process

	// A campaign, and the pool in it. The id is made of the name, and editable.
	campaign := anna.Want(201, "POST", "/v1/campaigns", `{"name": "Summer 2026"}`)
	campaign.shows(map[string]any{"id": "summer-2026", "name": "Summer 2026"})
	made := anna.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer-2026", "name": "Été 2026: -20 %"}`)
	made.shows(map[string]any{
		"id": "ete-2026-20", "state": "draft", "description": "", "parameter_name": "promo_code", "notify": false, "notify_below": nil,
		"check_issued": false, "validity": nil, "multi_use": false, "processing": "internal", "issue_start": nil, "issue_end": nil, "version": 1.0,
	})
	anna.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer-2026", "name": "Été 2026: -20 %"}`).shows(map[string]any{"id": "ete-2026-20-2"})
	anna.Refused(422, "invalid-settings", "campaign_id", "create it first", "POST", "/v1/pools", `{"campaign_id": "winter", "name": "x"}`)
	anna.Refused(422, "invalid-settings", "id", "a-z, 0-9 and -", "PATCH", "/v1/pools/ete-2026-20", `{"id": "Été"}`)
	anna.Refused(409, "id-taken", "", "choose another", "PATCH", "/v1/pools/ete-2026-20", `{"id": "ete-2026-20-2"}`)
	anna.Want(200, "PATCH", "/v1/pools/ete-2026-20", `{"id": "beach"}`).shows(map[string]any{"id": "beach", "version": 2.0})
	const pool = "/v1/pools/beach"
	set := func(patch string, shows map[string]any) {
		t.Helper()
		anna.Want(200, "PATCH", pool, patch).shows(shows)
	}
	refuse := func(patch, field, says string) {
		t.Helper()
		anna.Refused(422, "invalid-settings", field, says, "PATCH", pool, patch)
	}

	// The settings, in the article's order.
	refuse(`{"parameter_name": "9 lives"}`, "parameter_name", "letters, digits and _")
	set(`{"parameter_name": "sun_code"}`, map[string]any{"parameter_name": "sun_code"})
	refuse(`{"notify": true}`, "notify", "needs notify_below")
	refuse(`{"notify_below": 0}`, "notify_below", "above 0")
	set(`{"notify_below": 2}`, map[string]any{"notify_below": 2.0, "notify": true})
	set(`{"notify": false}`, map[string]any{"notify_below": 2.0, "notify": false})
	refuse(`{"check_issued": true}`, "validity", "such as P30D, or null for no limit")
	set(`{"check_issued": true, "validity": "P30D"}`, map[string]any{"check_issued": true, "validity": "P30D"})
	refuse(`{"multi_use": true}`, "multi_use", "switch one off")
	set(`{"check_issued": false, "multi_use": true}`, map[string]any{"check_issued": false, "multi_use": true})
	refuse(`{"check_issued": true, "validity": "P30D"}`, "check_issued", "switch one off")
	refuse(`{"notify": true}`, "notify_below", "switch one off")
	set(`{"multi_use": false, "check_issued": true, "validity": "P30D", "notify": true}`, map[string]any{"multi_use": false, "check_issued": true, "notify": true})
	refuse(`{"processing": "nobody"}`, "processing", `"internal" or "external"`)
	set(`{"processing": "external"}`, map[string]any{"processing": "external"})
	set(`{"processing": null}`, map[string]any{"processing": "internal"})
	refuse(`{"issue_end": "next week"}`, "issue_end", "2026-07-01T00:00:00Z")
	refuse(`{"issue_start": "2100-01-01T00:00:00Z", "issue_end": "2026-01-01T00:00:00Z"}`, "issue_end", "later than issue_start")
	set(`{"issue_start": "2020-01-01T00:00:00Z", "issue_end": "2100-01-01T01:00:00+01:00"}`,
		map[string]any{"issue_start": "2020-01-01T00:00:00Z", "issue_end": "2100-01-01T00:00:00Z"})
	refuse(`{"colour": "red"}`, "colour", "the fields are campaign_id, check_issued")
	// Two who edit at once: the second is told, and nothing is lost.
	tag := boris.Want(200, "GET", pool, "").Header.Get("ETag")
	set(`{"name": "Beach"}`, map[string]any{"name": "Beach"})
	boris.Refused(412, "stale", "", "read it again", "PATCH", pool, `{"name": "Strand"}`, "If-Match", tag)

	// The template, filled in; first a look at what would become of it.
	template := anna.Want(200, "GET", "/v1/import-template.csv", "")
	if got := template.Header.Get("Content-Disposition"); got != `attachment; filename="codes.csv"` {
		t.Errorf("got %s", got)
	}
	file := string(template.body) + "c0de-1,2026-01-01,2099-01-01,,\r\nc0de-2,,,,\r\nc0de-3,,2099-06-01 12:30,,\r\n" +
		"c0de-1,,,,\r\n,,,,x\r\nc0de-4,soon,,,\r\nc0de-5,2099-02-01,2099-01-01,,\r\n"
	report := map[string]any{
		"status": "completed_with_refusals", "rows": 7.0, "added": 3.0, "moved": 0.0, "unchanged": 0.0, "refused": 4.0, "kind": "file",
		"refused_by_reason": map[string]any{"duplicate_in_file": 1.0, "empty_code": 1.0, "bad_date": 1.0, "end_before_start": 1.0},
	}
	dry := anna.Upload(pool+"/imports?dry_run=true", asCSV, "sun.csv", file)
	dry.shows(report)
	dry.shows(map[string]any{"dry_run": true, "task": 1.0})
	anna.Want(200, "GET", pool+"/stock", "").shows(map[string]any{"total": 0.0})

	// The file: its task, its report, the refused rows put right and sent again.
	sent := anna.Upload(pool+"/imports", asCSV, "sun.csv", file)
	sent.shows(report)
	sent.shows(map[string]any{"dry_run": false, "task": 2.0, "bytes": float64(len(file)), "bytes_done": float64(len(file)), "seconds_left": 0.0})
	var refusals struct {
		Refusals []struct {
			Line                  int
			Reason, Detail, Value string
		}
	}
	sent.into(&refusals)
	var told []string
	for _, r := range refusals.Refusals {
		told = append(told, fmt.Sprintf("%d %s %q", r.Line, r.Reason, r.Value))
		if r.Detail == "" {
			t.Errorf("line %d is refused without a word", r.Line)
		}
	}
	if diff := cmp.Diff([]string{`5 duplicate_in_file "c0de-1"`, `6 empty_code ""`, `7 bad_date "soon"`, `8 end_before_start "2099-02-01 – 2099-01-01"`}, told); diff != "" {
		t.Error(diff)
	}
	anna.Want(200, "GET", pool+"/stock", "").shows(map[string]any{"total": 3.0, "available": 3.0})
	if got := anna.Want(200, "GET", "/v1/imports/2/file", ""); string(got.body) != file {
		t.Errorf("got the file back as %q", got.body)
	}
	rejected := anna.Want(200, "GET", "/v1/imports/2/rejected.csv", "")
	rows, err := csv.NewReader(bytes.NewReader(rejected.body)).ReadAll()
	if err != nil || len(rows) != 5 || !slices.Equal(rows[0][5:], []string{"line", "reason"}) {
		t.Fatalf("got %s, %v", rejected.body, err)
	}
	rows[1][0], rows[2][0], rows[2][4], rows[3][1], rows[4][1] = "c0de-6", "c0de-7", "", "2026-07-01", "2026-02-01"
	var fixed bytes.Buffer
	if err := csv.NewWriter(&fixed).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	anna.Upload(pool+"/imports", asCSV, "fixed.csv", fixed.String()).shows(map[string]any{
		"status": "completed", "added": 4.0, "refused": 0.0, "refused_by_reason": map[string]any{}, "ignored_columns": []any{},
	})

	// The workbook, the text box, and dates extended by a second upload.
	book, err := excelize.OpenReader(bytes.NewReader(anna.Want(200, "GET", "/v1/import-template.xlsx", "").body))
	if err != nil {
		t.Fatal(err)
	}
	for cell, value := range map[string]any{"A2": "c0de-00123", "A3": "c0de-1E5", "C3": time.Date(2099, 3, 1, 18, 0, 0, 0, time.UTC)} {
		if err := book.SetCellValue("Codes", cell, value); err != nil {
			t.Fatal(err)
		}
	}
	var workbook bytes.Buffer
	if err := book.Write(&workbook); err != nil {
		t.Fatal(err)
	}
	anna.Upload(pool+"/imports", asSheet, "sun.xlsx", workbook.String()).shows(map[string]any{"status": "completed", "added": 2.0})
	anna.Want(200, "GET", pool+"/codes/c0de-1E5", "").shows(map[string]any{"issue_end": "2099-03-01T18:00:00Z", "state": "available"})
	boris.Upload(pool+"/imports", asText, "", "c0de-8, c0de-9;c0de-10\n\nc0de-11").shows(map[string]any{"status": "completed", "added": 4.0, "refused": 0.0})
	anna.Upload(pool+"/imports", asCSV, "longer.csv", "code;issue_end\nc0de-3;2099-12-31\nc0de-2;\n").shows(map[string]any{"moved": 1.0, "unchanged": 1.0, "added": 0.0})
	anna.Want(200, "GET", pool+"/codes/c0de-3", "").shows(map[string]any{"issue_end": "2099-12-31T00:00:00Z"})

	// Generation is closed after an upload, and the other way round.
	anna.Refused(409, "filled-otherwise", "", "make another pool", "POST", pool+"/generate", `{"count": 10}`)
	const made2 = "/v1/pools/ete-2026-20-2"
	anna.Want(200, "GET", made2+"/space?pattern=c0de-%23%23%23%23%23%23%23%23&count=1000", "").shows(map[string]any{"made": 0.0, "refused": nil})
	anna.Refused(422, "guessable", "pattern", "Take more random characters", "POST", made2+"/generate", `{"count": 1000, "pattern": "99999"}`)
	anna.Want(202, "POST", made2+"/generate", `{"count": 1000, "pattern": "c0de-########"}`).
		shows(map[string]any{"kind": "generation", "status": "completed", "added": 1000.0, "actor": "anna"})
	anna.Refused(409, "filled-otherwise", "", "make another pool", "POST", made2+"/imports", "c0de-12\n", "Content-Type", asCSV)

	// Launch asks for a description, and freezes.
	anna.Refused(409, "not-launchable", "description", "say what the codes are for", "POST", pool+"/launch", "")
	set(`{"description": "Twenty percent off sun cream"}`, map[string]any{"state": "draft"})
	anna.Refused(409, "wrong-state", "", "a draft can be launched", "POST", pool+"/archive", "")
	launched := boris.Want(200, "POST", pool+"/launch", "")
	launched.shows(map[string]any{"state": "active", "archived_at": nil})
	for field, value := range map[string]string{"id": `"shore"`, "campaign_id": `"other"`, "parameter_name": `"p"`, "multi_use": "true"} {
		refuse(fmt.Sprintf(`{%q: %s}`, field, value), field, "frozen since the pool was launched: make another pool")
	}
	refuse(`{"description": ""}`, "description", "cannot be emptied")
	anna.Refused(409, "wrong-state", "", "a draft can be launched or deleted", "DELETE", pool, "")
	anna.Refused(409, "in-use", "", "delete or move its pools first", "DELETE", "/v1/campaigns/summer-2026", "")

	// One asks for a code. Staff see which it got; it keeps the dates that were told.
	w.Send(ask{pool: "beach", request: "r/1", customer: "c-1"}, ask{pool: "ete-2026-20-2", request: "r/1", customer: "c-1"})
	outcomes := w.reader(w.names.Outcomes).Answers(2, 20*time.Second)
	slices.SortFunc(outcomes, func(a, b answer) int { return strings.Compare(a.PoolID, b.PoolID) })
	got, draft := outcomes[0], outcomes[1]
	if draft.Reason != "pool_not_active" {
		t.Errorf("the draft answered %s", draft.Value)
	}
	issuance := anna.Want(200, "GET", pool+"/issuances/r%2F1", "")
	if string(bytes.TrimSpace(issuance.body)) != string(got.Value) {
		t.Errorf("got %s on Kafka and %s by HTTP", got.Value, issuance.body)
	}
	issuance.shows(map[string]any{"code": got.Code, "customer_id": "c-1", "parameter_name": "sun_code", "campaign_id": "summer-2026"})
	from, err1 := time.Parse(time.RFC3339, issuance.get("issued_at").(string))
	until, err2 := time.Parse(time.RFC3339, issuance.get("valid_until").(string))
	if err1 != nil || err2 != nil || !until.Equal(from.AddDate(0, 0, 30)) {
		t.Errorf("valid until %v, issued at %v", until, from)
	}
	anna.Want(200, "GET", pool+"/codes/"+got.Code, "").shows(map[string]any{"state": "issued"})
	anna.Want(200, "GET", pool+"/stock", "").shows(map[string]any{"total": 13.0, "issued": 1.0, "available": 12.0})
	anna.Upload(pool+"/imports", asCSV, "late.csv", "code,issue_end\n"+got.Code+",2099-12-30\n").
		shows(map[string]any{"refused_by_reason": map[string]any{"already_issued": 1.0}})
	export := anna.Want(200, "GET", pool+"/codes.csv?state=issued", "")
	if lines, err := csv.NewReader(bytes.NewReader(export.body)).ReadAll(); err != nil || len(lines) != 2 || lines[1][0] != got.Code || lines[1][7] != "c-1" {
		t.Errorf("got %s, %v", export.body, err)
	}
	if all := anna.Want(200, "GET", pool+"/codes.csv", ""); bytes.Count(all.body, []byte("\n")) != 14 {
		t.Errorf("got %s", all.body)
	}

	// Whatever was done is told, with who did it, and page by page.
	type entry struct {
		Actor, Action string
		Changes       map[string]struct{ From, To any }
	}
	entries := everything[entry](anna, pool+"/history")
	if len(entries) != 14 {
		t.Errorf("%d changes, want 14", len(entries))
	}
	first, last := entries[len(entries)-1], entries[0]
	if first.Action != "pool.created" || first.Actor != "anna" || last.Action != "pool.launched" || last.Actor != "Борис" || last.Changes["state"].To != "active" {
		t.Errorf("got %v … %v", first, last)
	}
	for _, want := range []struct {
		field    string
		from, to any
	}{
		{"id", "ete-2026-20", "beach"}, {"parameter_name", "promo_code", "sun_code"}, {"notify_below", nil, 2.0}, {"validity", nil, "P30D"},
		{"multi_use", false, true}, {"multi_use", true, false}, {"processing", "internal", "external"}, {"issue_end", nil, "2100-01-01T00:00:00Z"},
		{"name", "Été 2026: -20 %", "Beach"}, {"description", "", "Twenty percent off sun cream"},
	} {
		if !slices.ContainsFunc(entries, func(e entry) bool {
			c, ok := e.Changes[want.field]
			return ok && c.From == want.from && c.To == want.to
		}) {
			t.Errorf("the history does not tell of %v", want)
		}
	}
	if some := everything[entry](anna, pool+"/history?actor=%D0%91%D0%BE%D1%80%D0%B8%D1%81"); len(some) != 1 || some[0].Action != "pool.launched" {
		t.Errorf("Борис did %v", some)
	}
	type task struct {
		Task     int64
		Actor    string
		FileName string `json:"file_name"`
		Status   string
	}
	tasks := everything[task](anna, pool+"/imports")
	if len(tasks) != 7 || tasks[0].FileName != "late.csv" || tasks[2].Actor != "Борис" || tasks[6].Task != 1 {
		t.Errorf("got %v", tasks)
	}
	for filter, want := range map[string]int{
		"status=completed_with_refusals": 3, "kind=generation": 1, "kind=file": 7, "pool_id=beach": 7, "actor=anna": 7, "actor=anna&kind=file&pool_id=beach": 6,
	} {
		if some := everything[task](anna, "/v1/imports?"+filter); len(some) != want {
			t.Errorf("%s: got %v, want %d", filter, some, want)
		}
	}

	// The end: nothing is issued any more, what was issued is known.
	anna.Want(200, "POST", pool+"/archive", "").shows(map[string]any{"state": "archived"})
	anna.Refused(409, "wrong-state", "", "make another pool", "POST", pool+"/imports", "c0de-13\n", "Content-Type", asCSV)
	late := w.reader(w.names.Outcomes)
	w.Send(ask{pool: "beach", request: "r/2", customer: "c-1"}, ask{pool: "beach", request: "r/1", customer: "c-1"})
	for _, a := range late.Answers(4, 20*time.Second) {
		if a.RequestID == "r/2" && a.Reason != "pool_not_active" || a.RequestID == "r/1" && a.PoolID == "beach" && a.Code != got.Code {
			t.Errorf("got %s", a.Value)
		}
	}
	anna.Want(204, "DELETE", made2, "")
	w.Verify()
}

// everything reads a list in pages of two.
func everything[T any](s staff, path string) []T {
	s.t.Helper()
	var all []T
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	for cursor := ""; ; {
		var page struct {
			Items []T
			Next  *string
		}
		s.Want(200, "GET", path+join+"limit=2"+cursor, "").into(&page)
		if all = append(all, page.Items...); page.Next == nil {
			return all
		}
		cursor = "&cursor=" + *page.Next
	}
}
