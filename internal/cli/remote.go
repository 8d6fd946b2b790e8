package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"promopool/internal/domain"
)

// remote is the HTTP interface of a running promopool, as commands use it.
type remote struct {
	server    string
	tokenFile string
	actor     string
	asJSON    bool
}

func (r *remote) flags(f *pflag.FlagSet) {
	r.serverFlags(f)
	f.BoolVar(&r.asJSON, "json", false, "print what the server answers, as JSON")
}

// serverFlags are those of commands whose answer is a file.
func (r *remote) serverFlags(f *pflag.FlagSet) {
	f.StringVar(&r.server, "server", "http://127.0.0.1:8080", "`URL` of a running promopool")
	f.StringVar(&r.tokenFile, "token-file", "", "`file` with the bearer token to send (default none)")
	f.StringVar(&r.actor, "actor", "", "`name` under which a change is remembered (default the operating system's user)")
}

// remoteTimeout is longer than the server takes for its longest answer.
const remoteTimeout = 30 * time.Second

// do asks and returns the answer's body. Pairs of a header's name and value may
// follow.
func (r *remote) do(ctx context.Context, method, path string, body any, header ...string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	req, err := r.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, r.unreachable(ctx, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, r.unreachable(ctx, err)
	}
	if answer.StatusCode >= 300 {
		return nil, problemIn(answer, b)
	}
	return b, nil
}

func (r *remote) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	base := strings.TrimRight(r.server, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, content)
	if err != nil {
		return nil, usageError{fmt.Errorf("--server: %w", err)}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := r.sign(req); err != nil {
		return nil, err
	}
	return req, r.authorize(req)
}

// sign says who acts. Where nobody was named and the system knows no user, or
// one whose name no header can hold, the server hears of none.
func (r *remote) sign(req *http.Request) error {
	name := r.actor
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	who, err := domain.ParseActor(name)
	switch {
	case err == nil:
		req.Header.Set("Promopool-Actor", string(who))
	case r.actor != "":
		return usageError{fmt.Errorf("--actor %w", err)}
	}
	return nil
}

// authorize adds the token, read anew for each request since tokens are
// replaced while a watch goes on.
func (r *remote) authorize(req *http.Request) error {
	if r.tokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(r.tokenFile)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}

// unreachable says where no promopool answered, without the path asked for.
func (r *remote) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("no answer from %s: %w: is promopool running there? --server names another place", r.server, err)
}

// A problem is an answer that is no success (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

// Error is the problem in a line, with what to do.
func (p *problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("the server answered %d %s", p.Status, p.Title)
	}
	return p.Detail
}

func problemIn(r *http.Response, body []byte) error {
	p := &problem{Status: r.StatusCode, Title: http.StatusText(r.StatusCode)}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/problem+json") {
		_ = json.Unmarshal(body, p) // what can't be read leaves the status
	}
	if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%w: --token-file names the file with your token", p)
	}
	return p
}

// told is an error in other words.
type told struct {
	words string
	error
}

func (t told) Error() string { return t.words }
func (t told) Unwrap() error { return t.error }

// isProblem reports whether the server answered with this type of problem.
func isProblem(err error, typ string) bool {
	var p *problem
	return errors.As(err, &p) && p.Type == "/problems/"+typ
}

// pathTo is a path of /v1, each part escaped. Dots are too: "." and ".." would
// be taken for steps in it.
func pathTo(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, part := range parts {
		part = url.PathEscape(part)
		if strings.Trim(part, ".") == "" {
			part = strings.ReplaceAll(part, ".", "%2E")
		}
		b.WriteString("/" + part)
	}
	return b.String()
}

// asking makes a query of the values that were given.
func asking(values map[string]string) url.Values {
	query := url.Values{}
	for name, value := range values {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// list reads all pages of a list.
func (r *remote) list(ctx context.Context, path string, query url.Values) ([]json.RawMessage, error) {
	query.Set("limit", "1000")
	all := []json.RawMessage{}
	for {
		b, err := r.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []json.RawMessage
			Next  *string
		}
		if err := json.Unmarshal(b, &page); err != nil {
			return nil, fmt.Errorf("answer of %s: %w", r.server, err)
		}
		if all = append(all, page.Items...); page.Next == nil {
			return all, nil
		}
		query.Set("cursor", *page.Next)
	}
}

// show prints an answer: as it came with --json, else as text makes it.
func show[T any](p *program, r *remote, answer json.RawMessage, text func(io.Writer, T)) error {
	if r.asJSON {
		return writeJSON(p.stdout, answer)
	}
	var t T
	if err := json.Unmarshal(answer, &t); err != nil {
		return fmt.Errorf("answer of %s: %w", r.server, err)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	text(w, t)
	return w.Flush()
}

// showAll prints a list, as a table with a heading or as one array.
func showAll[T any](p *program, r *remote, items []json.RawMessage, heading string, row func(io.Writer, T)) error {
	all, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return show(p, r, all, func(w io.Writer, list []T) {
		fmt.Fprintln(w, heading)
		for _, t := range list {
			row(w, t)
		}
	})
}

// localTime is a time of an answer as people here read it; "-" where there is none.
func localTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}
