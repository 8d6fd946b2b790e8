package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"promopool/internal/topics"
	"promopool/internal/verify"
)

var errBroken = errors.New("invariants are broken")

// audit is the flags of verify.
type audit struct {
	brokers     []string
	url, prefix string
	asJSON      bool
	watch       bool
	interval    time.Duration
	metricsAddr string
}

func (p *program) verifyCommand() *cobra.Command {
	var a audit
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the invariants over the topics and the database",
		Long: `verify reads the topics and the database and says of each invariant whether it
holds: that no code went to two requests, that every request is answered, that
stock is exact, and so on. It shares no code with what issues, and writes
nothing but temporary tables. The service may go on meanwhile: what is in flight
is counted, not judged.

It exits 0 when all invariants hold, 1 when one is broken, and 2 when it could
not check.

With --watch it goes on until SIGINT or SIGTERM: a line a round, each violation
told once, and with --metrics-addr counted for Prometheus. Each round is a whole
audit. It then exits 1 if anything was ever found, else 0; a round that could not
check is logged, and the next one tries again.`,
		Example: `  promopool verify --kafka kafka:9092 --database-url postgres://promopool@db/promopool
  promopool verify --json | jq '.checks[] | select(.violations > 0)'
  promopool verify --watch --interval 5m --metrics-addr :9091`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "kafka", "database-url"); err != nil {
				return err
			}
			if !a.watch && (cmd.Flags().Changed("interval") || a.metricsAddr != "") {
				return usageError{errors.New("--interval and --metrics-addr are for --watch")}
			}
			if a.interval <= 0 {
				return usageError{errors.New("--interval must be longer than nothing")}
			}
			client := topics.Client(a.brokers)
			defer topics.Close(client)
			c := verify.Config{Client: client, Prefix: a.prefix, DatabaseURL: a.url}
			if a.watch {
				return p.watch(cmd.Context(), c, a)
			}
			return p.audit(cmd.Context(), c, a.asJSON)
		},
	}
	f := cmd.Flags()
	kafkaFlag(f, &a.brokers)
	databaseFlag(f, &a.url)
	prefixFlag(f, &a.prefix)
	f.BoolVar(&a.asJSON, "json", false, "print the report as JSON; with --watch one a line")
	f.BoolVar(&a.watch, "watch", false, "check again and again until SIGINT or SIGTERM")
	f.DurationVar(&a.interval, "interval", time.Minute, "`time` from the beginning of a round to that of the next")
	f.StringVar(&a.metricsAddr, "metrics-addr", "", "`host:port` at which --watch serves /metrics (default nowhere)")
	return cmd
}

// audit checks once.
func (p *program) audit(ctx context.Context, c verify.Config, asJSON bool) error {
	progress, clear := p.steps()
	c.Progress = progress
	report, err := verify.Run(ctx, c)
	clear()
	if err != nil {
		return statusError{misused, fmt.Errorf("verify: %w", err)}
	}
	if asJSON {
		err = writeJSON(p.stdout, report)
	} else {
		err = report.WriteText(p.stdout)
	}
	if err != nil {
		return err
	}
	if !report.Holds() {
		return errBroken
	}
	return nil
}

// watch checks until ctx is done.
func (p *program) watch(ctx context.Context, c verify.Config, a audit) error {
	registry := prometheus.NewRegistry()
	if a.metricsAddr != "" {
		l, err := net.Listen("tcp", a.metricsAddr)
		if err != nil {
			return statusError{misused, fmt.Errorf("verify: %w", err)}
		}
		mux := http.NewServeMux()
		mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		server := http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(l) }()
		defer server.Close() //nolint:errcheck // its end is the process's
		p.log.Info().Str("http", "http://"+l.Addr().String()).Msg("serving metrics")
	}
	each := func(r verify.Round) {
		var err error
		switch {
		case r.Err != nil:
			p.log.Warn().Err(r.Err).Msg("audit, retrying")
			return
		case a.asJSON:
			err = json.NewEncoder(p.stdout).Encode(r)
		default:
			err = r.WriteText(p.stdout)
		}
		if err != nil {
			p.log.Error().Err(err).Msg("print the round")
		}
	}
	if verify.NewWatch(c, each, registry).Run(ctx, a.interval) {
		return errBroken
	}
	return nil
}

func prefixFlag(f *pflag.FlagSet, prefix *string) {
	f.StringVar(prefix, "topic-prefix", "promo.", "what the names of topics and consumer groups begin with")
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// steps shows what is going on where a person watches standard error, on one
// line that clear takes away.
func (p *program) steps() (progress func(step string), clear func()) {
	if !terminal(p.stderr) {
		return func(string) {}, func() {}
	}
	const eraseLine = "\r\x1b[K"
	return func(step string) { fmt.Fprint(p.stderr, eraseLine, step, " …") }, func() { fmt.Fprint(p.stderr, eraseLine) }
}

// terminal reports whether a person may be looking at w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
