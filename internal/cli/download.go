package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// download writes what a path answers with into a file, whole or not at all, or
// to standard output where name is "-". counter sees it pass too.
func (p *program) download(ctx context.Context, r *remote, path, name string, counter io.Writer) error {
	req, err := r.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return r.unreachable(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		b, _ := io.ReadAll(answer.Body)
		return problemIn(answer, b)
	}
	from := io.TeeReader(answer.Body, counter)
	if name == "-" {
		if _, err := io.Copy(p.stdout, from); err != nil {
			return brokenOff(ctx, "what was printed is a part", err)
		}
		return nil
	}
	part := name + ".part"
	file, err := os.Create(part)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if err = errors.Join(err, file.Close()); err != nil {
		return brokenOff(ctx, "nothing was written", errors.Join(err, os.Remove(part)))
	}
	return os.Rename(part, name)
}

func brokenOff(ctx context.Context, left string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("the download broke off, %s: %w: try again", left, err)
}

// lines counts the lines of a CSV file; a line break in quotes ends none.
type lines struct {
	n      int64
	quoted bool
	seen   func(n int64)
}

func (l *lines) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '"':
			l.quoted = !l.quoted
		case c == '\n' && !l.quoted:
			l.n++
		}
	}
	l.seen(l.n)
	return len(b), nil
}
