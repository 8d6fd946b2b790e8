package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"promopool/internal/domain"
)

type importTask struct {
	Task           int64
	PoolID         string `json:"pool_id"`
	FileName       string `json:"file_name"`
	Actor          string
	DryRun         bool `json:"dry_run"`
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
	RefusedBy      map[string]int64 `json:"refused_by_reason"`
	RowsPerSecond  *float64         `json:"rows_per_second"`
	SecondsLeft    *int64           `json:"seconds_left"`
	IgnoredColumns []string         `json:"ignored_columns"`
	Layout         *importLayout
	CreatedAt      string `json:"created_at"`
	StartedAt      string `json:"started_at"`
	FinishedAt     string `json:"finished_at"`
	FileKept       bool   `json:"file_kept"`
	FileKeptUntil  string `json:"file_kept_until"`
	Refusals       []struct {
		Line   int64
		Reason string
		Detail string
		Value  string
	}
}

// importLayout is how the server understood a file.
type importLayout struct {
	Format    string
	Encoding  string
	Delimiter string
	Sheet     string
	HeaderRow int64 `json:"header_row"`
}

// delimiterNames are delimiters as people say them.
var delimiterNames = map[string]string{",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}

// String is the layout in a line.
func (l importLayout) String() string {
	parts := []string{l.Format}
	if l.Sheet != "" {
		parts = append(parts, fmt.Sprintf("sheet %q", l.Sheet))
	}
	if l.Encoding != "" {
		parts = append(parts, l.Encoding)
	}
	if l.Delimiter != "" {
		parts = append(parts, delimiterNames[l.Delimiter])
	}
	header := "no header"
	if l.HeaderRow > 0 {
		header = fmt.Sprintf("header in line %d", l.HeaderRow)
	}
	return strings.Join(append(parts, header), ", ")
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

// pace is the rate and the time left, as far as they are known.
func (t importTask) pace() string {
	var text string
	if t.RowsPerSecond != nil {
		text = fmt.Sprintf(", %.0f rows/s", *t.RowsPerSecond)
	}
	if t.SecondsLeft != nil && !t.ended() {
		text += fmt.Sprintf(", %s left", time.Duration(*t.SecondsLeft)*time.Second)
	}
	return text
}

// shownRefusals is how many refused rows the summary lists.
const shownRefusals = 10

func (t importTask) write(w io.Writer) {
	fmt.Fprintf(w, "task\t%d\npool\t%s\nstatus\t%s\nby\t%s\n", t.Task, t.PoolID, statusText(t.Status), t.Actor)
	if t.Pattern != "" {
		fmt.Fprintf(w, "%s of\t%s\n", t.Kind, t.Pattern)
	}
	if t.FileName != "" {
		fmt.Fprintf(w, "file\t%s\n", t.FileName)
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
	for _, reason := range slices.Sorted(maps.Keys(t.RefusedBy)) {
		fmt.Fprintf(w, "  %s\t%d\n", reason, t.RefusedBy[reason])
	}
	switch {
	case !t.ended():
		fmt.Fprintf(w, "done\t%d of %d bytes%s\n", t.BytesDone, t.Bytes, t.pace())
	case t.took() > 0 && t.Pattern == "":
		fmt.Fprintf(w, "took\t%.1f s%s\n", t.took().Seconds(), t.pace())
	}
	if t.FileKept && t.FileKeptUntil != "" {
		fmt.Fprintf(w, "file kept until\t%s\n", localTime(t.FileKeptUntil))
	}
	if t.Layout != nil {
		fmt.Fprintf(w, "read as\t%s\n", t.Layout)
	}
	if t.DryRun {
		fmt.Fprintf(w, "dry run\tnothing was filled\n")
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
		fmt.Fprintf(w, "…\tall %d: promopool imports rejected %d\n", t.Refused, t.Task)
	}
}

// importFlags are those of promopool import.
type importFlags struct {
	remote
	noWait   bool
	strict   bool
	rejected string
	template string
	pasted   bool

	tz, encoding, delimiter, sheet string
	dryRun                         bool
}

// query is what the upload says of the file.
func (c *importFlags) query() string {
	q := asking(map[string]string{"tz": c.tz, "encoding": c.encoding, "delimiter": c.delimiter, "sheet": c.sheet})
	if c.dryRun {
		q.Set("dry_run", "true")
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (p *program) importCommand() *cobra.Command {
	var c importFlags
	cmd := &cobra.Command{
		Use:   "import POOL FILE",
		Short: "Fill a pool from a file of codes",
		Long: `import uploads FILE ("-": standard input) and follows the task until every row is
in the pool or refused. The file is CSV, XLSX or text with a code in each row and
up to four dates: issue_start, issue_end, available_from, available_till. With a
header the columns may stand in any order, without one in this. How the file is
encoded and separated is found by looking, unless it is said. In pasted text and
in a .txt file several codes may stand in a line. The first codes can be issued
while the rest loads, and once the upload is through the server goes on without
this command: promopool imports show --follow tells how far it is, and promopool
imports cancel ends it.

--dry-run reads the whole file, tells what would become of each row, and fills
nothing. --template writes a file to fill in.

It exits 0 when some rows were refused, unless --strict is given.`,
		Example: `  promopool import beach codes.csv
  promopool import beach codes.xlsx --sheet Codes --tz Europe/Berlin --dry-run
  promopool import beach codes.csv --rejected refused.csv --strict
  zcat codes.csv.gz | promopool import beach - --no-wait
  echo "SUN-1, SUN-2; SUN-3" | promopool import beach - --pasted
  promopool import --template xlsx > codes.xlsx`,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.template != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.template != "" {
				return p.importTemplate(cmd.Context(), &c)
			}
			return p.importFile(cmd.Context(), &c, args[0], args[1])
		},
	}
	f := cmd.Flags()
	c.flags(f)
	f.BoolVar(&c.noWait, "no-wait", false, "return when the server has the file")
	f.BoolVar(&c.strict, "strict", false, "exit 1 when a row was refused")
	f.StringVar(&c.rejected, "rejected", "", "write refused rows to this `file`, which can be corrected and imported")
	f.BoolVar(&c.dryRun, "dry-run", false, "tell what would become of each row, and fill nothing")
	f.BoolVar(&c.pasted, "pasted", false, "read FILE as pasted text, in which several codes may stand in a line (a .txt file always is)")
	f.StringVar(&c.tz, "tz", "", "time `zone` of dates that name none, such as Europe/Berlin (default UTC)")
	f.StringVar(&c.encoding, "encoding", "", "utf-8, utf-16le, utf-16be, windows-1251 or windows-1252 (default by looking)")
	f.StringVar(&c.delimiter, "delimiter", "", "comma, semicolon, tab or pipe (default by looking)")
	f.StringVar(&c.sheet, "sheet", "", "`name` or number of a workbook's sheet (default the first)")
	f.StringVar(&c.template, "template", "", "write an empty file to standard output instead: csv or xlsx")
	among(cmd, "encoding", domain.Encodings...)
	among(cmd, "delimiter", "comma", "semicolon", "tab", "pipe")
	among(cmd, "template", domain.FormatCSV, domain.FormatXLSX)
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
	t, err := p.showToEnd(ctx, &c.remote, b)
	if c.rejected != "" && t.Refused > 0 {
		err = errors.Join(err, p.saveRejected(ctx, c, t))
	}
	if err == nil && t.Refused > 0 && c.strict {
		err = fmt.Errorf("import %d: %d of %d rows were refused", t.Task, t.Refused, t.Rows)
	}
	return err
}

// showToEnd follows a task and prints what became of it. The error says that it
// did not come to its end.
func (p *program) showToEnd(ctx context.Context, r *remote, b json.RawMessage) (importTask, error) {
	t, b, err := p.follow(ctx, r, b)
	if err != nil {
		return importTask{}, err
	}
	if err := show(p, r, b, func(w io.Writer, t importTask) { t.write(w) }); err != nil {
		return t, err
	}
	switch t.Status {
	case "failed":
		return t, fmt.Errorf("import %d failed: %s", t.Task, t.Error)
	case "cancelled":
		return t, fmt.Errorf("import %d was cancelled: what was added until then stays", t.Task)
	}
	return t, nil
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
	req, err := c.request(ctx, http.MethodPost, pathTo("pools", pool, "imports")+c.query(), nil)
	if err != nil {
		return nil, err
	}
	head := bufio.NewReader(file)
	media, err := mediaOf(name, head, c.pasted)
	if err != nil {
		return nil, err
	}
	counted := progressbar.NewReader(head, bar)
	req.Body, req.ContentLength = io.NopCloser(&counted), size
	if size == 0 { // to net/http that means unknown
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", media)
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

// mediaOf is the media type of a file by its first bytes, its name and what is
// said of it.
func mediaOf(name string, file *bufio.Reader, pasted bool) (string, error) {
	head, err := file.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	ext := strings.ToLower(filepath.Ext(name))
	switch {
	case string(head) == "PK\x03\x04", ext == ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", nil
	case pasted, ext == ".txt":
		return "text/plain", nil
	}
	return "text/csv", nil
}

// importTemplate writes a file to fill in to standard output.
func (p *program) importTemplate(ctx context.Context, c *importFlags) error {
	if c.template != "csv" && c.template != "xlsx" {
		return usageError{fmt.Errorf("--template %s: must be csv or xlsx", c.template)}
	}
	if c.template == "xlsx" && terminal(p.stdout) {
		return usageError{errors.New("--template xlsx is no text: send it to a file, > codes.xlsx")}
	}
	file, err := c.do(ctx, http.MethodGet, pathTo("import-template."+c.template), nil)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(file)
	return err
}

// followTick is how often the server is asked how far it is.
const followTick = 250 * time.Millisecond

// follow asks until the task has ended. A server that is away for a while does
// not end it: the task goes on.
func (p *program) follow(ctx context.Context, r *remote, b json.RawMessage) (t importTask, _ json.RawMessage, _ error) {
	if err := json.Unmarshal(b, &t); err != nil {
		return t, nil, fmt.Errorf("answer of %s: %w", r.server, err)
	}
	bar := p.meter(t.Bytes, "importing")
	defer bar.Finish() //nolint:errcheck // a picture
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	path := pathTo("imports", strconv.FormatInt(t.Task, 10))
	away := false
	for {
		answer, err := r.do(ctx, http.MethodGet, path, nil)
		refused := (*problem)(nil)
		switch {
		case ctx.Err() != nil:
			fmt.Fprintf(p.stderr, "the server goes on with import %d: promopool imports show %d --follow tells how far it is, promopool imports cancel %d ends it\n", t.Task, t.Task, t.Task)
			return t, nil, ctx.Err()
		case err != nil && errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
			return t, nil, err
		case err != nil && !away:
			fmt.Fprintln(p.stderr, "promopool:", oneLine(err))
			away = true
		case err == nil:
			away = false
			if err := json.Unmarshal(answer, &t); err != nil {
				return t, nil, fmt.Errorf("answer of %s: %w", r.server, err)
			}
			doing := "importing"
			if t.DryRun {
				doing = "rehearsing"
			}
			bar.Describe(fmt.Sprintf("%s: %d added, %d refused%s", doing, t.Added, t.Refused, t.pace()))
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

// saveRejected downloads the refused rows.
func (p *program) saveRejected(ctx context.Context, c *importFlags, t importTask) error {
	err := p.download(ctx, &c.remote, pathTo("imports", strconv.FormatInt(t.Task, 10), "rejected.csv"), c.rejected, io.Discard)
	if err != nil {
		return fmt.Errorf("--rejected: %w", err)
	}
	return nil
}
