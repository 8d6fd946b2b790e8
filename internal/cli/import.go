package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

type importTask struct {
	Task           int64
	PoolID         string `json:"pool_id"`
	Kind           string
	Pattern        string
	Status         string
	Error          string
	Bytes          int64
	BytesDone      int64 `json:"bytes_done"`
	Rows           int64
	Added          int64
	Moved          int64
	Unchanged      int64
	Refused        int64
	IgnoredColumns []string `json:"ignored_columns"`
	StartedAt      string   `json:"started_at"`
	FinishedAt     string   `json:"finished_at"`
	Refusals       []struct {
		Line   int64
		Reason string
		Detail string
		Value  string
	}
}

func (t importTask) ended() bool { return t.Status != "waiting" && t.Status != "running" }

// took is from start to end, 0 when the server does not say.
func (t importTask) took() time.Duration {
	began, err := time.Parse(time.RFC3339, t.StartedAt)
	ended, err2 := time.Parse(time.RFC3339, t.FinishedAt)
	if err != nil || err2 != nil {
		return 0
	}
	return ended.Sub(began)
}

// shownRefusals is how many refused rows the summary lists.
const shownRefusals = 10

func (t importTask) write(w io.Writer) {
	fmt.Fprintf(w, "task\t%d\npool\t%s\nstatus\t%s\n", t.Task, t.PoolID, strings.ReplaceAll(t.Status, "_", " "))
	if t.Pattern != "" {
		fmt.Fprintf(w, "%s of\t%s\n", t.Kind, t.Pattern)
	}
	if t.Error != "" {
		fmt.Fprintf(w, "error\t%s\n", t.Error)
	}
	for _, row := range []struct {
		name  string
		count int64
	}{{"rows", t.Rows}, {"added", t.Added}, {"moved", t.Moved}, {"unchanged", t.Unchanged}, {"refused", t.Refused}} {
		if row.count > 0 || row.name == "rows" || row.name == "added" {
			fmt.Fprintf(w, "%s\t%d\n", row.name, row.count)
		}
	}
	if took := t.took(); took > 0 && t.ended() && t.Pattern == "" {
		fmt.Fprintf(w, "took\t%.1f s, %.0f rows/s\n", took.Seconds(), float64(t.Rows)/took.Seconds())
	}
	if len(t.IgnoredColumns) > 0 {
		fmt.Fprintf(w, "ignored columns\t%s\n", strings.Join(t.IgnoredColumns, ", "))
	}
	if len(t.Refusals) == 0 {
		return
	}
	fmt.Fprintf(w, "\nLINE\tREASON\tVALUE\n")
	for _, r := range t.Refusals[:min(len(t.Refusals), shownRefusals)] {
		fmt.Fprintf(w, "%d\t%s\t%q\n", r.Line, r.Reason, r.Value)
	}
	if t.Refused > shownRefusals {
		fmt.Fprintf(w, "…\tall %d: --rejected FILE, or GET /v1/imports/%d/rejected.csv\n", t.Refused, t.Task)
	}
}

// importFlags are those of promopool import.
type importFlags struct {
	remote
	noWait   bool
	strict   bool
	rejected string
}

func (p *program) importCommand() *cobra.Command {
	var c importFlags
	cmd := &cobra.Command{
		Use:   "import POOL FILE",
		Short: "Fill a pool from a file of codes",
		Long: `import uploads FILE ("-": standard input) and follows the task until every row is
in the pool or refused. The file is CSV in UTF-8, separated by commas or
semicolons, with a code in each row and up to four dates, in UTC: issue_start,
issue_end, available_from, available_till. With a header the columns may stand in
any order, without one in this. The first codes can be issued while the rest
loads, and once the upload is through the server goes on without this command.

It exits 0 when some rows were refused, unless --strict is given.`,
		Example: `  promopool import beach codes.csv
  promopool import beach codes.csv --rejected refused.csv --strict
  zcat codes.csv.gz | promopool import beach - --no-wait`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.importFile(cmd.Context(), &c, args[0], args[1])
		},
	}
	f := cmd.Flags()
	c.flags(f)
	f.BoolVar(&c.noWait, "no-wait", false, "return when the server has the file")
	f.BoolVar(&c.strict, "strict", false, "exit 1 when a row was refused")
	f.StringVar(&c.rejected, "rejected", "", "write refused rows to this `file`, which can be corrected and imported")
	return cmd
}

func (p *program) importFile(ctx context.Context, c *importFlags, pool, name string) error {
	b, err := p.upload(ctx, c, pool, name)
	if isProblem(err, "not-found") {
		return about("pool", pool, err)
	}
	if err != nil {
		return err
	}
	if c.noWait {
		return show(p, &c.remote, b, func(w io.Writer, t importTask) { t.write(w) })
	}
	t, b, err := p.follow(ctx, c, b)
	if err != nil {
		return err
	}
	if err := show(p, &c.remote, b, func(w io.Writer, t importTask) { t.write(w) }); err != nil {
		return err
	}
	if c.rejected != "" {
		if err := c.saveRejected(ctx, t); err != nil {
			return err
		}
	}
	switch {
	case t.Status == "failed" || t.Status == "cancelled":
		return fmt.Errorf("import %d %s: %s", t.Task, t.Status, t.Error)
	case t.Refused > 0 && c.strict:
		return fmt.Errorf("import %d: %d of %d rows were refused", t.Task, t.Refused, t.Rows)
	}
	return nil
}

// upload streams the file up and returns the task as the server answers.
func (p *program) upload(ctx context.Context, c *importFlags, pool, name string) (json.RawMessage, error) {
	file, size := os.Stdin, int64(-1)
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, usageError{err}
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	bar := p.meter(size, "uploading", progressbar.OptionShowBytes(true))
	defer bar.Finish() //nolint:errcheck // a picture
	req, err := c.request(ctx, http.MethodPost, pathTo("pools", pool, "imports"), nil)
	if err != nil {
		return nil, err
	}
	counted := progressbar.NewReader(file, bar)
	req.Body, req.ContentLength = io.NopCloser(&counted), size
	if size == 0 { // to net/http that means unknown
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "text/csv; charset=utf-8")
	if name != "-" {
		req.Header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": filepath.Base(name)}))
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if answer.StatusCode >= 300 {
		return nil, problemIn(answer, b)
	}
	return b, nil
}

// followTick is how often the server is asked how far it is.
const followTick = 250 * time.Millisecond

// follow asks until the task has ended. A server that is away for a while does
// not end it: the task goes on.
func (p *program) follow(ctx context.Context, c *importFlags, b json.RawMessage) (t importTask, _ json.RawMessage, _ error) {
	if err := json.Unmarshal(b, &t); err != nil {
		return t, nil, fmt.Errorf("answer of %s: %w", c.server, err)
	}
	bar := p.meter(t.Bytes, "importing")
	defer bar.Finish() //nolint:errcheck // a picture
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	path := pathTo("imports", strconv.FormatInt(t.Task, 10))
	away := false
	for {
		answer, err := c.do(ctx, http.MethodGet, path, nil)
		refused := (*problem)(nil)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintf(p.stderr, "the server goes on with import %d\n", t.Task)
			return t, nil, ctx.Err()
		case err != nil && errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
			return t, nil, err
		case err != nil && !away:
			fmt.Fprintln(p.stderr, "promopool:", oneLine(err))
			away = true
		case err == nil:
			away = false
			if err := json.Unmarshal(answer, &t); err != nil {
				return t, nil, fmt.Errorf("answer of %s: %w", c.server, err)
			}
			bar.Describe(fmt.Sprintf("importing: %d added, %d refused", t.Added, t.Refused))
			_ = bar.Set64(t.BytesDone)
			if t.ended() {
				return t, answer, nil
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// meter shows progress where a person watches standard error.
func (p *program) meter(total int64, what string, more ...progressbar.Option) *progressbar.ProgressBar {
	out := io.Discard
	if terminal(p.stderr) {
		out = p.stderr
	}
	return progressbar.NewOptions64(total, append([]progressbar.Option{
		progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(),
	}, more...)...)
}

// saveRejected downloads the refused rows. A file is written only when there
// are some, and whole or not at all.
func (c *importFlags) saveRejected(ctx context.Context, t importTask) error {
	if t.Refused == 0 {
		return nil
	}
	req, err := c.request(ctx, http.MethodGet, pathTo("imports", strconv.FormatInt(t.Task, 10), "rejected.csv"), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		b, _ := io.ReadAll(answer.Body)
		return problemIn(answer, b)
	}
	part := c.rejected + ".part"
	file, err := os.Create(part)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, answer.Body)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("--rejected: %w", err), os.Remove(part))
	}
	return os.Rename(part, c.rejected)
}
