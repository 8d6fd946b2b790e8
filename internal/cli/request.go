package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"promopool/internal/load"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// loadFlags are those of commands that publish requests.
type loadFlags struct {
	brokers     []string
	prefix      string
	count       int
	rate        float64
	concurrency int
	wait        bool
	timeout     time.Duration
	asJSON      bool
}

func (c *loadFlags) flags(f *pflag.FlagSet, what string) {
	kafkaFlag(f, &c.brokers)
	prefixFlag(f, &c.prefix)
	f.IntVar(&c.count, "count", 0, "`number` of "+what+" to make up")
	f.Float64Var(&c.rate, "rate", 0, "`"+what+"` a second; 0: as fast as possible")
	f.IntVar(&c.concurrency, "concurrency", 0, "`batches` on their way at once; 0: one a partition")
	f.BoolVar(&c.wait, "wait", false, "wait until each has its outcome, and say how long that took")
	f.DurationVar(&c.timeout, "wait-timeout", time.Minute, "how long to wait after the last was published")
	f.BoolVar(&c.asJSON, "json", false, "print the summary as JSON")
}

// requestFlags are those of promopool request.
type requestFlags struct {
	loadFlags
	pools     []string
	customers int
	key       string
	idPrefix  string
}

func (p *program) requestCommand() *cobra.Command {
	var c requestFlags
	cmd := &cobra.Command{
		Use:   "request [FILE]",
		Short: "Publish code requests",
		Long: `request publishes code requests from FILE ("-": standard input) or as many as
--count says, and returns when the brokers have acknowledged all of them. It
exits 1 when one was not acknowledged or, with --wait, not answered.

A file holds a JSON object a line, as in code.requested, or CSV with a header
that names customer_id and may name request_id, pool_id, expires_at and context.
What names no pool is for that of --pool; what has no request_id gets one.

--rate is kept whatever the answers do: a request that cannot be sent when it is
due counts as late from then on.`,
		Example: `  promopool request --kafka kafka:9092 --pool summer-sale --count 1000 --wait
  promopool request --kafka kafka:9092 --pool summer-sale --count 60000 --rate 1000 --key request
  promopool request --kafka kafka:9092 requests.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "kafka"); err != nil {
				return err
			}
			return p.request(cmd.Context(), &c, args)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.pools, "pool", nil, "`id` of the pool, or several, which take turns")
	c.flags(f, "requests")
	f.IntVar(&c.customers, "customers", 1000, "`number` of customers that take turns")
	f.StringVar(&c.key, "key", "customer", "record `key`: customer, request, or fixed:VALUE, which puts all on one partition")
	f.StringVar(&c.idPrefix, "request-id-prefix", "", "what made-up request ids begin with; a time-ordered UUID follows")
	return cmd
}

// summary is what request prints.
type summary struct {
	load.Published
	PerSecond float64      `json:"per_second"`
	Outcomes  *load.Result `json:"outcomes,omitempty"`
}

func (p *program) request(ctx context.Context, c *requestFlags, args []string) error {
	ids := load.NewIDs(c.idPrefix)
	messages, closeFile, err := c.messages(args, ids)
	if err != nil {
		return usageError{err}
	}
	defer closeFile()
	names := topics.Named(c.prefix)
	s, err := p.publishAll(ctx, &c.loadFlags, names.Requests, names.Outcomes, &ids, messages)
	if s == nil {
		return err
	}
	if printed := p.printSummary(s, "issued", c.asJSON); err == nil {
		err = printed
	}
	return s.judge(err, "requests")
}

// publishAll publishes messages and, where that is asked for, waits for their
// outcomes. The summary says what became of it; nil: nothing was published.
func (p *program) publishAll(ctx context.Context, c *loadFlags, to, outcomes string, ids *load.IDs, messages iter.Seq2[load.Message, error]) (*summary, error) {
	client := topics.Client(c.brokers)
	defer topics.Close(client)
	t, err := topics.Describe(ctx, client, to)
	if err != nil {
		return nil, err
	}
	target := load.Target{
		Producer: producer.New(client, map[string]int{t.Name: t.MaxMessageBytes}, zerolog.Nop(), prometheus.NewRegistry()),
		Topic:    t.Name, Partitions: t.Partitions,
	}
	bar := p.bar(c.count, "published")
	pace := load.Pace{Rate: c.rate, Concurrency: c.concurrency, Acked: func(n int) { _ = bar.Add(n) }}

	s := new(summary)
	g, gctx := errgroup.WithContext(ctx)
	waiting, stopWaiting := context.WithCancel(gctx)
	defer stopWaiting()
	var collector *load.Collector
	if c.wait {
		if collector, err = load.Collect(ctx, client, outcomes, ids); err != nil {
			return nil, err
		}
		pace.Due = collector.Expect
		g.Go(func() error {
			r, err := collector.Run(waiting)
			s.Outcomes = &r
			return err
		})
	}
	s.Published, err = load.Publish(gctx, target, pace, messages)
	s.PerSecond = s.Rate()
	_ = bar.Finish()
	if collector != nil {
		collector.Sent()
		if err != nil {
			stopWaiting()
		}
		time.AfterFunc(c.timeout, stopWaiting)
	}
	if waited := g.Wait(); err == nil {
		err = waited
	}
	return s, err
}

// judge returns why the load did not succeed.
func (s *summary) judge(err error, what string) error {
	switch {
	case err != nil:
		return fmt.Errorf("%d of %d %s acknowledged: %w", s.Acked, s.Requests, what, err)
	case s.Acked < s.Requests:
		return fmt.Errorf("%d of %d %s were not acknowledged: too large for the topic", s.Requests-s.Acked, s.Requests, what)
	case s.Outcomes != nil && s.Outcomes.Missing > 0:
		return fmt.Errorf("%d of %d %s were not answered in time", s.Outcomes.Missing, s.Requests, what)
	}
	return nil
}

// messages opens where requests come from.
func (c *requestFlags) messages(args []string, ids load.IDs) (messages iter.Seq2[load.Message, error], closeFile func(), err error) {
	key, err := load.ParseKeyRule(c.key)
	switch {
	case err != nil:
		return nil, nil, err
	case len(args) == 1 && c.count > 0:
		return nil, nil, errors.New("request takes a file or --count, not both")
	case len(args) == 0 && c.count <= 0:
		return nil, nil, errors.New("request needs a file or --count: see promopool request --help")
	case len(args) == 0 && len(c.pools) == 0:
		return nil, nil, errors.New("request --count needs --pool: see promopool request --help")
	case len(args) == 0:
		g := load.Generator{Pools: c.pools, Count: c.count, Customers: c.customers, Key: key, IDs: ids}
		return g.Messages(), func() {}, nil
	case len(c.pools) > 1:
		return nil, nil, errors.New("request with a file takes one --pool at most")
	}
	f := load.File{In: os.Stdin, Pool: strings.Join(c.pools, ""), Key: key, IDs: ids}
	closeFile = func() {}
	if args[0] != "-" {
		opened, err := os.Open(args[0])
		if err != nil {
			return nil, nil, err
		}
		f.In, closeFile = opened, func() { opened.Close() }
	}
	return f.Messages(), closeFile, nil
}

// bar shows how many of so many are done; 0 or less: nobody knows of how many.
func (p *program) bar(total int, what string) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return p.meter(int64(total), what, progressbar.OptionShowCount(), progressbar.OptionShowIts())
}

// printSummary names what became of those that were not rejected.
func (p *program) printSummary(s *summary, accepted string, asJSON bool) error {
	if asJSON {
		return writeJSON(p.stdout, s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "published  %d of %d acknowledged in %.1f s, %.0f/s\n", s.Acked, s.Requests, s.Took.Seconds(), s.PerSecond)
	if r := s.Outcomes; r != nil {
		fmt.Fprintf(&b, "%-10s %d\n", accepted, r.Issued)
		for _, reason := range slices.Sorted(maps.Keys(r.Rejected)) {
			fmt.Fprintf(&b, "rejected   %d %s\n", r.Rejected[reason], reason)
		}
		if r.Missing > 0 {
			fmt.Fprintf(&b, "missing    %d\n", r.Missing)
		}
		fmt.Fprintf(&b, "latency    p50 %s, p99 %s, max %s\n", millis(r.P50), millis(r.P99), millis(r.Max))
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
