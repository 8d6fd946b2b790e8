package httpapi_test

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Raw sends bytes and reads one answer. As a client would it ends its side only
// when the answer is here.
func (s *site) Raw(request string) reply {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	r, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{Response: r, t: s.t, body: b}
}

// wantQuiet: nothing that was asked is ours to mend, and no code is in the log.
func (s *site) wantQuiet(secrets ...string) {
	s.t.Helper()
	log := s.log.String()
	for _, bad := range append(secrets, `"level":"error"`, "panic") {
		if at := strings.Index(log, bad); at >= 0 {
			s.t.Errorf("the log has %q: %.300s", bad, log[max(0, at-200):])
		}
	}
}

// TestHostile: what nobody means is refused for a reason, and changes nothing.
func TestHostile(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"}`)
	const secret = "TOP7SECRET"
	s.Fill("beach", 1, secret, "B")
	long := strings.Repeat("%61", 20_000)
	cursor := base64.RawURLEncoding.EncodeToString
	create := func(fields string) string { return `{"campaign_id": "summer", "name": "x"` + fields + `}` }
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		kind                     string
	}{
		{name: "Traversal", path: "/v1/pools/../../etc/passwd", status: 404, kind: "no-such-endpoint"},
		{name: "TraversalToRoute", path: "/v1/campaigns/../pools/beach", status: 404, kind: "no-such-endpoint"},
		{name: "TraversalPost", method: "POST", path: "/v1/pools/x/../beach/launch", status: 404, kind: "no-such-endpoint"},
		{name: "DoubleSlash", path: "//v1/pools", status: 404, kind: "no-such-endpoint"},
		{name: "SlashesInCode", path: "/v1/pools/beach/codes/" + secret + "//" + secret, status: 404, kind: "no-such-endpoint"},
		{name: "EmptyID", path: "/v1/pools//stock", status: 404, kind: "no-such-endpoint"},
		{name: "NoCode", path: "/v1/pools/beach/codes/", status: 404, kind: "no-such-endpoint"},
		{name: "TrailingSlash", path: "/v1/pools/", status: 404, kind: "no-such-endpoint"},
		{name: "EncodedDots", path: "/v1/pools/%2e%2e/stock", status: 404, kind: "not-found"},
		{name: "EncodedTraversal", path: "/v1/pools/..%2f..%2fetc%2fpasswd/stock", status: 404, kind: "not-found"},
		{name: "EncodedSlash", path: "/v1/pools/beach%2Fstock", status: 404, kind: "not-found"},
		{name: "NULInID", path: "/v1/pools/beach%00/stock", status: 404, kind: "not-found"},
		{name: "LineBreakInID", path: "/v1/campaigns/summer%0a", status: 404, kind: "not-found"},
		{name: "CaseOfID", path: "/v1/pools/BEACH", status: 404, kind: "not-found"},
		{name: "LongID", path: "/v1/pools/" + long, status: 404, kind: "not-found"},
		{name: "CodeOfDots", path: "/v1/pools/beach/codes/%2e%2e%2f%2e%2e", status: 404, kind: "not-found"},
		{name: "OverlongUTF8", path: "/v1/pools/beach/codes/%c0%af", status: 404, kind: "not-found"},
		{name: "Surrogate", path: "/v1/pools/beach/codes/%ed%a0%80", status: 404, kind: "not-found"},
		{name: "BeyondUnicode", path: "/v1/pools/beach/issuances/%f4%90%80%80", status: 404, kind: "not-found"},
		{name: "LongCode", path: "/v1/pools/beach/codes/" + secret + long, status: 404, kind: "not-found"},
		{name: "LongRequest", path: "/v1/pools/beach/issuances/" + long, status: 404, kind: "not-found"},
		{name: "SQL", path: "/v1/pools/beach/codes/" + secret + "'%3B%20DROP%20TABLE%20codes%3B--", status: 404, kind: "not-found"},
		{name: "TaskBeyond", path: "/v1/imports/9223372036854775808", status: 404, kind: "not-found"},
		{name: "TaskBelow", path: "/v1/imports/-9223372036854775809", status: 404, kind: "not-found"},
		{name: "TaskMost", path: "/v1/imports/9223372036854775807/file", status: 404, kind: "not-found"},
		{name: "TaskExponent", method: "POST", path: "/v1/imports/1e3/cancel", status: 404, kind: "not-found"},
		{name: "TaskArabic", path: "/v1/imports/%D9%A1/rejected.csv", status: 404, kind: "not-found"},

		{name: "LimitTwice", path: "/v1/pools?limit=1&limit=1", status: 400, kind: "bad-request"},
		{name: "LimitNegative", path: "/v1/campaigns?limit=-1", status: 400, kind: "bad-request"},
		{name: "LimitBeyond", path: "/v1/imports?limit=18446744073709551617", status: 400, kind: "bad-request"},
		{name: "LimitFraction", path: "/v1/pools/beach/imports?limit=1.0", status: 400, kind: "bad-request"},
		{name: "LimitHex", path: "/v1/pools/beach/history?limit=0x10", status: 400, kind: "bad-request"},
		{name: "EmptyFilter", path: "/v1/pools?campaign_id=", status: 400, kind: "bad-request"},
		{name: "EmptyPool", path: "/v1/imports?pool_id=", status: 400, kind: "bad-request"},
		{name: "EmptyLimit", path: "/v1/pools/beach/imports?limit=", status: 400, kind: "bad-request"},
		{name: "EmptyState", path: "/v1/pools/beach/codes.csv?state=", status: 400, kind: "bad-request"},
		{name: "EmptyDryRun", method: "POST", path: "/v1/pools/beach/imports?dry_run=", body: secret, header: []string{"Content-Type", "text/csv"}, status: 422, kind: "invalid-settings"},
		{name: "CursorOfPools", path: "/v1/imports?cursor=" + cursor([]byte("beach")), status: 400, kind: "bad-request"},
		{name: "CursorBeyond", path: "/v1/pools/beach/history?cursor=" + cursor([]byte("9223372036854775808")), status: 400, kind: "bad-request"},
		{name: "CursorNegative", path: "/v1/imports?cursor=" + cursor([]byte("-5")), status: 400, kind: "bad-request"},
		{name: "CursorNUL", path: "/v1/pools?cursor=" + cursor([]byte("a\x00")), status: 400, kind: "bad-request"},
		{name: "CursorPadded", path: "/v1/pools?cursor=" + base64.URLEncoding.EncodeToString([]byte("a")), status: 400, kind: "bad-request"},
		{name: "CountBeyond", path: "/v1/pools/beach/space?count=9223372036854775808", status: 400, kind: "bad-request"},
		{name: "LengthNegative", path: "/v1/pools/beach/space?length=-5", status: 422, kind: "invalid-settings"},
		{name: "OddsInfinite", path: "/v1/pools/beach/space?max_guess_odds=Inf", status: 400, kind: "bad-request"},
		{name: "QueryEscape", path: "/v1/pools?q=%zz", status: 400, kind: "bad-request"},
		{name: "QuerySurrogate", path: "/v1/pools?q=%ed%a0%80", status: 400, kind: "bad-request"},

		{name: "NaN", method: "POST", path: "/v1/pools", body: create(`, "notify_below": NaN`), status: 400, kind: "bad-request"},
		{name: "HugeNumber", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 1` + strings.Repeat("0", 100_000)), status: 422, kind: "invalid-settings"},
		{name: "Beyond", method: "POST", path: "/v1/pools", body: create(`, "notify_below": 9223372036854775808`), status: 422, kind: "invalid-settings"},
		{name: "OddsOverflow", method: "POST", path: "/v1/pools/beach/generate", body: `{"count": 1, "max_guess_odds": 1e400}`, status: 422, kind: "invalid-settings"},
		{name: "OddsUnderflow", method: "POST", path: "/v1/pools/beach/generate", body: `{"count": 1, "max_guess_odds": 1e-400}`, status: 422, kind: "invalid-settings"},
		{name: "NestedTwice", method: "POST", path: "/v1/pools", body: create(`, "replenish": {"below": 1, "below": 2}`), status: 422, kind: "invalid-settings"},
		{name: "Deep", method: "POST", path: "/v1/pools", body: create(`, "replenish": ` + strings.Repeat(`{"below":`, 50_000) + "1" + strings.Repeat("}", 50_000)), status: 400, kind: "bad-request"},
		{name: "LoneSurrogate", method: "POST", path: "/v1/pools", body: create(`, "description": "\\\ud800"`), status: 400, kind: "bad-request"},
		{name: "SurrogateTwice", method: "POST", path: "/v1/pools", body: create(`, "description": "\udbff\udbff\udfff"`), status: 400, kind: "bad-request"},
		{name: "SurrogateField", method: "POST", path: "/v1/pools", body: create(`, "\uDC00": 1`), status: 400, kind: "bad-request"},
		{name: "ManyFields", method: "POST", path: "/v1/campaigns", body: `{` + strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 60_000 {
				if !yield(fmt.Sprintf(`"f%d":0`, i)) {
					return
				}
			}
		}), ",") + `}`, status: 400, kind: "bad-request"},
		{name: "Mark", method: "POST", path: "/v1/pools", body: "\ufeff" + create(""), status: 400, kind: "bad-request"},
		{name: "UTF16", method: "POST", path: "/v1/pools", body: "{\x00}\x00", status: 400, kind: "bad-request"},
		{name: "Charset", method: "POST", path: "/v1/pools", body: create(""), header: []string{"Content-Type", "application/json; charset=iso-8859-1"}, status: 415, kind: "unsupported-media-type"},
		{name: "Coded", method: "POST", path: "/v1/pools", body: create(""), header: []string{"Content-Encoding", "gzip"}, status: 415, kind: "unsupported-media-type"},
		{name: "CodedFile", method: "POST", path: "/v1/pools/beach/imports", body: secret, header: []string{"Content-Type", "text/csv", "Content-Encoding", "br"}, status: 415, kind: "unsupported-media-type"},
		{name: "NoBoundary", method: "POST", path: "/v1/pools/beach/imports", body: secret, header: []string{"Content-Type", "multipart/form-data"}, status: 400, kind: "bad-request"},
		{name: "NoForm", method: "POST", path: "/v1/pools/beach/imports", body: secret, header: []string{"Content-Type", "multipart/form-data; boundary=x"}, status: 400, kind: "bad-request"},
		{name: "ZoneOfFile", method: "POST", path: "/v1/pools/beach/imports?tz=..%2f..%2f..%2fetc%2fpasswd", body: secret, header: []string{"Content-Type", "text/csv"}, status: 422, kind: "invalid-settings"},
		{name: "ZoneNUL", method: "POST", path: "/v1/pools/beach/imports?tz=UTC%00", body: secret, header: []string{"Content-Type", "text/csv"}, status: 422, kind: "invalid-settings"},
		{name: "Tags", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"If-Match", `"1", "2"`}, status: 400, kind: "bad-request"},
		{name: "EmptyTag", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"If-Match", ""}, status: 400, kind: "bad-request"},
		{name: "PlusTag", method: "PATCH", path: "/v1/pools/beach", body: `{"name": "y"}`, header: []string{"If-Match", `"+1"`}, status: 412, kind: "stale"},
		{name: "ZeroTag", method: "DELETE", path: "/v1/pools/beach", header: []string{"If-Match", `"01"`}, status: 412, kind: "stale"},
		{name: "BareTag", method: "DELETE", path: "/v1/pools/beach", header: []string{"If-Match", `1`}, status: 412, kind: "stale"},
		{name: "KeyNotUTF8", method: "POST", path: "/v1/pools/beach/generate", body: `{"count": 1}`, header: []string{"Idempotency-Key", "\xff"}, status: 400, kind: "bad-request"},
		{name: "YearZero", method: "POST", path: "/v1/pools/beach/generate", body: `{"count": 1, "issue_start": "0000-01-01T00:00:00Z"}`, status: 422, kind: "invalid-settings"},
		{name: "YearBeyond", method: "POST", path: "/v1/pools/beach/generate", body: `{"count": 1, "issue_end": "9999-12-31T23:00:00-14:00"}`, status: 422, kind: "invalid-settings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			if tt.method == "" {
				tt.method = "GET"
			}
			if tt.body != "" && !slices.Contains(tt.header, "Content-Type") {
				tt.header = append(tt.header, "Content-Type", "application/json")
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n", tt.method, tt.path, len(tt.body))
			for i := 0; i < len(tt.header); i += 2 {
				fmt.Fprintf(&b, "%s: %s\r\n", tt.header[i], tt.header[i+1])
			}
			r := s.Raw(b.String() + "\r\n" + tt.body)
			s.contract.Check(t, s.route(), r.Response, r.body)
			if r.StatusCode != tt.status || r.Get("type") != "/problems/"+tt.kind {
				t.Errorf("got %s %.300s", r.Status, r.body)
			}
			if len(r.body) > 10_000 {
				t.Errorf("got %d bytes of problem", len(r.body))
			}
		})
	}
	s.t = t
	for name, request := range map[string]string{
		"twice the key":     "POST /v1/pools/beach/generate HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"count\": 1}",
		"two tags":          "DELETE /v1/pools/beach HTTP/1.1\r\nHost: x\r\nIf-Match: \"1\"\r\nIf-Match: \"2\"\r\n\r\n",
		"broken chunks":     "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}",
		"two lengths":       "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"no host":           "GET /v1/pools HTTP/1.1\r\n\r\n",
		"NUL in a header":   "GET /v1/pools HTTP/1.1\r\nHost: x\r\nPromopool-Actor: a\x00b\r\n\r\n",
		"NUL in the target": "GET /v1/pools/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if r := s.Raw(request); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s %s", name, r.Status, r.body)
		}
	}
	if r := s.Raw("GET /v1/pools HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n"); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: got %s", r.Status)
	}
	const chunked = "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n"
	if r := s.Raw(chunked + "1\r\n{\r\n27\r\n\"campaign_id\":\"summer\",\"name\":\"Chunks\"}\r\n0\r\n\r\n"); r.StatusCode != http.StatusCreated {
		t.Errorf("chunks: got %s %s", r.Status, r.body)
	}
	if got := s.Want(201, "POST", "/v1/pools", create(`, "description": "\\ud800\ud83d\ude00"`)).Get("description"); got != `\ud800😀` {
		t.Errorf("a pair: got %v", got)
	}
	if got := s.Want(200, "GET", "/v1/pools/beach", ""); got.Get("version") != 1.0 {
		t.Errorf("got %s", got.body)
	}
	s.wantQuiet(secret)
}

// TestHostileFiles: whatever bytes are sent as a file, its task ends, and what
// comes out of it is safe to open.
func TestHostileFiles(t *testing.T) {
	d := newDock(t)
	for name, file := range map[string]string{
		"NULInHeader":  "code;x\x00y\n;TOP7SECRET\n",
		"NULs":         "\x00\x00\n\x00\n",
		"BrokenText":   "code;\xff\n\xc0\xaf;\n\xed\xa0\x80;TOP7SECRET\n",
		"Marks":        "\ufeff\ufeffcode;x\n\ufeff;TOP7SECRET\n",
		"Columns":      strings.Repeat(";", 10_000),
		"Header":       "code" + strings.Repeat(";code", 300) + "\n",
		"Quotes":       strings.Repeat(`"`, 100_001),
		"OneLine":      strings.Repeat("TOP7SECRET", 100_000),
		"ZIP":          "PK\x03\x04" + strings.Repeat("\x00", 100),
		"Formulas":     "code;=HYPERLINK(1)\n;=1+1\n;-1\n;+1\n;@A1\n\"\t=1\n\",\";x\n=TOP7SECRET;\n=TOP7SECRET;\n-20OFF;\n+A;\n@A;\n＝A;\n",
		"FormulaDates": "code;issue_end\nA;=NOW()\nB;-1\nC;0001-01-01\nD;9999-12-31T23:59:59-14:00\n",
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			for _, options := range []string{"?encoding=utf-8", ""} {
				status, header, body := d.Send("POST", "/v1/pools/mugs/imports"+options, "text/csv", strings.NewReader(file))
				if status != http.StatusAccepted {
					t.Fatalf("%d %s", status, body)
				}
				task := header.Get("Location")
				if r := d.Ended(task); name == "NULInHeader" && r.Refused != 1 {
					t.Errorf("got %+v", r)
				}
				_, _, rejected := d.Send("GET", task+"/rejected.csv", "", nil)
				heading, _, _ := strings.Cut(rejected, "\n")
				wantSafe(t, rejected, strings.TrimSuffix(heading, "reason"))
			}
		})
	}
	d.t = t
	_, _, codes := d.Send("GET", "/v1/pools/mugs/codes.csv", "", nil)
	wantSafe(t, codes, ",")
	for _, code := range []string{"'=TOP7SECRET", "'-20OFF", "'+A", "'@A", "'＝A"} {
		if !strings.Contains(codes, "\n"+code+",") {
			t.Errorf("no %s in %s", code, codes)
		}
	}
	d.wantQuiet("TOP7SECRET")
}

// wantSafe checks that no cell of a file is a formula to a spreadsheet. upTo ends
// with what stands between its cells.
func wantSafe(t *testing.T, file, upTo string) {
	t.Helper()
	r := csv.NewReader(strings.NewReader(file))
	r.Comma = rune(upTo[len(upTo)-1])
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatal(err, file)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("%q is a formula", cell)
			}
		}
	}
}

// TestMethods: HEAD is GET without a body, and Allow has what the contract has.
func TestMethods(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "beach", "description": "d"}`)
	file := s.Want(202, "POST", "/v1/pools/beach/imports", "TOP7SECRET\n", "Content-Type", "text/csv")
	for s.Want(200, "GET", file.Header.Get("Location"), "").Get("status") != "completed" {
	}
	fill := strings.NewReplacer("campaigns/{id}", "campaigns/summer", "{id}", "beach", "{task}", "1", "{code}", "TOP7SECRET", "{request_id}", "none")
	allowed := map[string][]string{}
	for op := range s.contract.operations() {
		method, path, _ := strings.Cut(op, " ")
		allowed[path] = append(allowed[path], method)
	}
	for path, methods := range allowed {
		at := fill.Replace(path)
		if slices.Contains(methods, "GET") {
			methods = append(methods, "HEAD")
			get, head := s.Want(s.Do("GET", at, "").StatusCode, "GET", at, ""), s.Do("HEAD", at, "")
			if head.StatusCode != get.StatusCode || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") || len(head.body) > 0 {
				t.Errorf("HEAD %s: got %s %v, GET %s", at, head.Status, head.Header, get.Status)
			}
		}
		slices.Sort(methods)
		for _, method := range []string{"OPTIONS", "TRACE", "CONNECT", "PUT", "POST", "PATCH", "DELETE", "NONSENSE"} {
			if slices.Contains(methods, method) {
				continue
			}
			r := s.Raw(method + " " + at + " HTTP/1.1\r\nHost: x\r\n\r\n")
			if got := strings.Split(r.Header.Get("Allow"), ", "); r.StatusCode != http.StatusMethodNotAllowed || !slices.Equal(got, methods) {
				t.Errorf("%s %s: got %s, Allow %v, want %v", method, at, r.Status, got, methods)
			}
			if r.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: got %v", method, at, r.Header)
			}
		}
	}
	s.wantQuiet("TOP7SECRET")
}
