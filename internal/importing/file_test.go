package importing

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"

	"promopool/internal/domain"
)

// encoded is text in one of the five encodings.
func encoded(t testing.TB, text, as string) string {
	t.Helper()
	var page *charmap.Charmap
	switch as {
	case "utf-8":
		return text
	case "utf-16le", "utf-16be":
		var b strings.Builder
		for _, u := range utf16.Encode([]rune(text)) {
			if as == "utf-16be" {
				u = u>>8 | u<<8
			}
			b.WriteByte(byte(u))
			b.WriteByte(byte(u >> 8))
		}
		return b.String()
	case "windows-1251":
		page = charmap.Windows1251
	case "windows-1252":
		page = charmap.Windows1252
	}
	s, err := encoding.HTMLEscapeUnsupported(page.NewEncoder()).String(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func codesOf(rows []Row) []string {
	var codes []string
	for _, r := range rows {
		codes = append(codes, r.Code)
	}
	return codes
}

func TestEncodings(t *testing.T) {
	const (
		russian = "Код;code;Примечание\r\n1;ЛЕТО-2026;летняя акция\r\n2;СКИДКА-№5;для друзей\r\n"
		german  = "code;note\r\nGRÜN-1;für Freunde\r\nSTRAßE-2;größer\r\n"
		ascii   = "code;issue_end\r\nA1;2099-01-01\r\nB2;\r\n"
	)
	tests := []struct {
		text string
		want []string
		as   []string
	}{
		{russian, []string{"ЛЕТО-2026", "СКИДКА-№5"}, []string{"utf-8", "utf-16le", "utf-16be", "windows-1251"}},
		{german, []string{"GRÜN-1", "STRAßE-2"}, []string{"utf-8", "utf-16le", "utf-16be", "windows-1252"}},
		{ascii, []string{"A1", "B2"}, []string{"utf-8", "utf-16le", "utf-16be"}},
		{"code\n😀-1\n𝔸2\n", []string{"😀-1", "𝔸2"}, []string{"utf-8", "utf-16le", "utf-16be"}},
	}
	marks := map[string]string{"utf-8": "\xef\xbb\xbf", "utf-16le": "\xff\xfe", "utf-16be": "\xfe\xff"}
	for i, tt := range tests {
		for _, as := range tt.as {
			for _, mark := range slices.Compact([]string{"", marks[as]}) {
				for _, told := range []string{"", as} {
					t.Run(fmt.Sprintf("%d/%s/%t/%s", i, as, mark != "", told), func(t *testing.T) {
						content := mark + encoded(t, tt.text, as)
						p := open(t, textFile(content, domain.ImportOptions{Encoding: told}))
						if diff := cmp.Diff(tt.want, codesOf(parseAll(t, p))); diff != "" {
							t.Error(diff)
						}
						if l := p.Layout(); l.Encoding != as || l.Mark != (mark != "") || l.Delimiter != ";" && i < 3 {
							t.Errorf("got %+v", l)
						}
						if p.Done() != int64(len(content)) {
							t.Errorf("ended at %d of %d bytes", p.Done(), len(content))
						}
					})
				}
			}
		}
	}
}

// What people write in Russian and in Western languages, in the code pages that
// their spreadsheets save.
func TestCodePages(t *testing.T) {
	tests := map[string][]string{
		"windows-1251": {
			"Промокод;Дата начала;Дата окончания\r\nЛЕТО2026;2026-06-01;2026-09-01\r\n",
			"code;примечание\r\nA1;скидка 10 %\r\nB2;\r\n",
			"code\r\nПРИВЕТ-1\r\nVIP-СКИДКА\r\n",
			"code;Кому\r\nA1;Ёлкин\r\nA2;мы и вы\r\n",
			"code,город\nA-1,Москва\nA-2,Київ\n",
			"code;note\r\nSALE;ООО «Ромашка» – договор № 5 от 01.02.2026\r\n",
			strings.Repeat("ABC-123;plain\r\n", 3000) + "X;ещё\r\n",
		},
		"windows-1252": {
			"code;Bemerkung\r\nA1;für Straße und Größe\r\n",
			"code;note\r\nÉTÉ-2026;L'été à la plage\r\nNOËL;déjà vu\r\n",
			"code;nota\r\nVERANO;Año nuevo, ¡qué bien!\r\n",
			"code;nota\r\nA1;Promoção de verão\r\n",
			"code;merknad\r\nA1;Blåbærsyltetøy\r\nA2;Ålesund\r\n",
			"code;note\r\nA1;5 € off – “now”…\r\n",
			"code;note\r\nA1;« 10 % »\r\n",
			"code;note\r\nA1;ÖÄÜ\r\nA2;Müller\r\nA3;Jäger\r\n",
		},
		"": {"code\r\n\xc0-1\r\n\xc1-2\r\n"},
	}
	for want, texts := range tests {
		for _, text := range texts {
			content := text
			if want != "" {
				content = encoded(t, text, want)
			}
			if strings.Contains(content, "&#") {
				t.Fatalf("%q is not in %s", text, want)
			}
			got, err := likeliestEncoding([]byte(content))
			if got != want || (err != nil) != (want == "") {
				t.Errorf("%.60q: got %s, %v, want %s", text, got, err, want)
			}
		}
	}
}

// What is no text in its encoding costs its row, and no other.
func TestNoText(t *testing.T) {
	for name, content := range map[string]string{
		"LoneSurrogate": "c\x00o\x00d\x00e\x00\n\x00A\x00\x00\xd8\n\x00B\x002\x00\n\x00",
		"HalfUnit":      "c\x00o\x00d\x00e\x00\n\x00B\x002\x00\n\x00A",
	} {
		t.Run(name, func(t *testing.T) {
			var refused, taken int
			for _, r := range parseAll(t, open(t, textFile(content, domain.ImportOptions{}))) {
				switch {
				case r.Refused == domain.NotUTF8:
					refused++
				case r.Code == "B2":
					taken++
				}
			}
			if refused != 1 || taken != 1 {
				t.Errorf("got %d refused and %d taken, want one of each", refused, taken)
			}
		})
	}
	// A wrong byte in UTF-8 makes it no other encoding.
	rows := parse(t, "code;note\nA1;é\nA2;ü\nA3;\xe9\n")
	if len(rows) != 3 || rows[2].Refused != domain.NotUTF8 {
		t.Errorf("got %+v", rows)
	}
}

func TestDelimiterTold(t *testing.T) {
	// By looking it is the semicolon, since it stands in all lines.
	const file = "A,1;x\nB;y\n"
	if rows := parse(t, file); rows[0].Refused != domain.BadDate || rows[0].Code != "A,1" {
		t.Errorf("got %+v", rows[0])
	}
	for delimiter, want := range map[string]string{",": "A", ";": "A,1", "|": "A,1;x", "\t": "A,1;x"} {
		p := open(t, textFile(file, domain.ImportOptions{Delimiter: delimiter}))
		if rows := parseAll(t, p); rows[0].Code != want || p.Layout().Delimiter != delimiter {
			t.Errorf("%q: got %+v, want %q", delimiter, rows[0], want)
		}
	}
	p := open(t, textFile("code|issue_end\nA|2099-01-01\n", domain.ImportOptions{}))
	if rows := parseAll(t, p); rows[0].Code != "A" || rows[0].Window.IssueEnd.IsZero() || p.Layout().Delimiter != "|" {
		t.Errorf("pipe: got %+v", rows[0])
	}
}

// Lines that end with a carriage return alone, as old programs write them.
func TestMacLines(t *testing.T) {
	for _, as := range domain.Encodings {
		p := open(t, textFile(encoded(t, "code;note\rA1;x\r\rB2;y\r", as), domain.ImportOptions{Encoding: as}))
		rows := parseAll(t, p)
		if len(rows) != 2 || rows[0].Code != "A1" || rows[1].Code != "B2" || rows[1].Line != 4 || !p.Layout().CR {
			t.Errorf("%s: got %+v", as, rows)
		}
	}
}

func TestZones(t *testing.T) {
	tests := []struct{ zone, text, want string }{
		{"", "2026-07-01 12:00", "2026-07-01T12:00:00Z"},
		{"Europe/Berlin", "2026-07-01 12:00", "2026-07-01T10:00:00Z"},
		{"Europe/Berlin", "2026-01-01T12:00:00.5", "2026-01-01T11:00:00.5Z"},
		{"Europe/Berlin", "2026-07-01", "2026-06-30T22:00:00Z"},
		{"Europe/Berlin", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"},
		{"Europe/Berlin", "2026-07-01 12:00:00-05:00", "2026-07-01T17:00:00Z"},
		{"Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"},
		{"Europe/Berlin", "2026-03-29 02:00", ""}, // clocks go from 2 to 3
		{"Europe/Berlin", "2026-03-29 02:59:59", ""},
		{"Europe/Berlin", "2026-03-29 03:00", "2026-03-29T01:00:00Z"},
		{"Europe/Berlin", "2026-10-25 02:30", "2026-10-25T00:30:00Z"}, // shown twice, the first
		{"Europe/Berlin", "2026-10-25 03:00", "2026-10-25T02:00:00Z"},
		{"America/New_York", "2026-11-01 01:30", "2026-11-01T05:30:00Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"}, // a day that begins at one
		{"America/Sao_Paulo", "2018-11-04 00:30", ""},
		{"Australia/Lord_Howe", "2026-10-04 02:15", ""}, // half an hour
		{"Pacific/Apia", "2011-12-30 12:00", ""},        // a day that never was
		{"Pacific/Kiritimati", "2026-07-01", "2026-06-30T10:00:00Z"},
		{"", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
		{"", "9999-12-31T23:59:59-01:00", ""}, // beyond what RFC 3339 can tell in UTC
		{"America/New_York", "9999-12-31 20:00", ""},
		{"", "0000-12-31", ""},
		{"Europe/Berlin", "0001-01-01", ""},
	}
	for _, tt := range tests {
		zone, err := domain.ImportOptions{TZ: tt.zone}.Zone()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseTime(tt.text, zone)
		if !ok && tt.want != "" || ok && got.Format(time.RFC3339Nano) != tt.want {
			t.Errorf("%s in %q: got %s, %t, want %s", tt.text, tt.zone, got.Format(time.RFC3339Nano), ok, tt.want)
		}
	}
}

func TestList(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
		list       bool
	}{
		{"Lines", "A1\nB2\n\nC3", []string{"A1", "B2", "C3"}, true},
		{"Commas", "A1, B2,C3", []string{"A1", "B2", "C3"}, true},
		{"Mixed", "A1;B2\r\nC3\tD4,E5\r\n", []string{"A1", "B2", "C3", "D4", "E5"}, true},
		{"Header", "code\nA1\nB2\n", []string{"A1", "B2"}, true},
		{"Quoted", "\"A,1\", B2\n\"C;3\"", []string{"A,1", "B2", "C;3"}, true},
		{"QuoteOpen", "\"A1\nB2,C3", []string{"", "B2", "C3"}, true},
		{"Dates", "A1;2099-01-01\nB2;2099-01-01\n", []string{"A1", "B2"}, false},
		{"SomeDates", "A1\nB2;2099-01-01\nC3;\n", []string{"A1", "B2", "C3"}, false},
		{"Columns", "code,note\nA1,x\n", []string{"A1"}, false},
		{"Mac", "A1\rB2;C3", []string{"A1", "B2", "C3"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := textFile(tt.text, domain.ImportOptions{})
			f.MediaType = "text/plain"
			p := open(t, f)
			if diff := cmp.Diff(tt.want, codesOf(parseAll(t, p))); diff != "" {
				t.Error(diff)
			}
			if got := p.Layout().Format == domain.FormatList; got != tt.list {
				t.Errorf("got %+v", p.Layout())
			}
			checkResumed(t, f)
		})
	}
	f := textFile("A,1;B,2", domain.ImportOptions{Delimiter: ";"})
	f.MediaType = "text/plain"
	if got := codesOf(parseAll(t, open(t, f))); !slices.Equal(got, []string{"A,1", "B,2"}) {
		t.Errorf("delimiter told: got %q", got)
	}
}

// A file of refused rows has two columns more, which mean nothing here.
func TestRejectedColumns(t *testing.T) {
	p := open(t, textFile("code;note;line;reason\nA1;x;7;bad_date\n", domain.ImportOptions{}))
	if rows := parseAll(t, p); len(rows) != 1 || rows[0].Code != "A1" {
		t.Errorf("got %+v", rows)
	}
	if got := p.Layout().Ignored(); !slices.Equal(got, []string{"note"}) {
		t.Errorf("ignored: got %q, want note", got)
	}
	var b strings.Builder
	out := newRejected(&b, p.Layout())
	if err := out.write(domain.Refusal{Line: 2, Reason: domain.BadDate, Row: "A1;x;7;bad_date"}); err != nil {
		t.Fatal(err)
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	if want := "code;note;line;reason\nA1;x;2;bad_date\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// A cell that is a formula to a spreadsheet is none in a file of ours, and is what
// it was when that is uploaded.
func TestDefuse(t *testing.T) {
	for _, cell := range []string{"=1+1", "+1", "-20OFF", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x"} {
		if got := Defuse(cell); got != "'"+cell || plain(got) != cell {
			t.Errorf("%q: got %q, and %q back", cell, got, plain(got))
		}
	}
	for _, cell := range []string{"", "'", "A=1", "'A", "\xff=", "1-2"} {
		if got := Defuse(cell); got != cell || plain(got) != cell {
			t.Errorf("%q: got %q, and %q back", cell, got, plain(got))
		}
	}
	p := open(t, textFile("code;=HYPERLINK(1)\nA1;x\n", domain.ImportOptions{}))
	parseAll(t, p)
	var b strings.Builder
	out := newRejected(&b, p.Layout())
	for _, row := range []string{`"=""A";@x`, "-1;+2", "=too;many;columns", `=open"quote;x`, "\t=tab;\r=cr"} {
		if err := out.write(domain.Refusal{Line: 2, Reason: domain.BadDate, Row: row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	wantSafe(t, b.String())
}

// wantSafe checks each cell of a file with semicolons.
func wantSafe(t *testing.T, file string) {
	t.Helper()
	r := csv.NewReader(strings.NewReader(file))
	r.Comma, r.FieldsPerRecord = ';', -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) < 2 {
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

func FuzzText(f *testing.F) {
	for _, text := range []string{"", "code;issue_end\nЛЕТО;2099-01-01\n", "A1,B2;C3\r\n\"x\"\"y\"", "grün\rA1\r", "code,line,reason\n=1,2,x\n"} {
		for _, as := range domain.Encodings {
			f.Add([]byte(encoded(f, text, as)), uint8(0), false)
		}
	}
	f.Add([]byte("A\x00\n\x00\x00\xd8"), uint8(2), true)
	f.Fuzz(func(t *testing.T, content []byte, how uint8, pasted bool) {
		file := textFile(string(content), domain.ImportOptions{})
		if n := int(how) % (len(domain.Encodings) + 1); n > 0 {
			file.Options.Encoding = domain.Encodings[n-1]
		}
		if pasted {
			file.MediaType = "text/plain"
		}
		checkResumed(t, file)
	})
}
