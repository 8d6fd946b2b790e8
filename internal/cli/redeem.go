package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"promopool/internal/load"
	"promopool/internal/topics"
)

// redeemFlags are those of promopool redeem.
type redeemFlags struct {
	loadFlags
	pool     string
	codes    []string
	key      string
	idPrefix string
}

func (p *program) redeemCommand() *cobra.Command {
	var c redeemFlags
	cmd := &cobra.Command{
		Use:   "redeem [FILE]",
		Short: "Publish redemption requests",
		Long: `redeem publishes redemption requests from FILE ("-": standard input) or as many as
--count says, and returns when the brokers have acknowledged all of them. It
exits 1 when one was not acknowledged or, with --wait, not answered. To redeem one
code and see the answer take promopool code redeem.

A file holds a JSON object a line, as in redemption.requested, or CSV with a
header that names code and may name redemption_id, pool_id, customer_id, order_id,
occurred_at and context. What names no pool is for that of --pool; what has no
redemption_id gets one.`,
		Example: `  promopool redeem --kafka kafka:9092 --pool summer-sale redemptions.csv --wait
  promopool redeem --kafka kafka:9092 --pool welcome --code HELLO --count 10000 --key redemption`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "kafka"); err != nil {
				return err
			}
			return p.redeem(cmd.Context(), &c, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.pool, "pool", "", "`id` of the pool")
	f.StringSliceVar(&c.codes, "code", nil, "`code` to redeem, or several, which take turns")
	c.flags(f, "redemptions")
	f.StringVar(&c.key, "key", "code", "record `key`: code, redemption, or fixed:VALUE, which puts all on one partition")
	f.StringVar(&c.idPrefix, "redemption-id-prefix", "", "what made-up redemption ids begin with; a time-ordered UUID follows")
	return cmd
}

func (p *program) redeem(ctx context.Context, c *redeemFlags, args []string) error {
	r := load.Redemptions{Pool: c.pool, Count: c.count, Codes: c.codes, IDs: load.NewIDs(c.idPrefix)}
	closeFile, err := c.open(args, &r)
	if err != nil {
		return usageError{err}
	}
	defer closeFile()
	names := topics.Named(c.prefix)
	s, err := p.publishAll(ctx, &c.loadFlags, names.RedemptionRequests, names.RedemptionOutcomes, &r.IDs, r.Messages())
	if s == nil {
		return err
	}
	if printed := p.printRedeemed(s, c.asJSON); err == nil {
		err = printed
	}
	return s.judge(err, "redemptions")
}

// open says where redemptions come from.
func (c *redeemFlags) open(args []string, r *load.Redemptions) (closeFile func(), err error) {
	closeFile = func() {}
	if r.Key, err = load.ParseRedemptionKeying(c.key); err != nil {
		return closeFile, err
	}
	switch {
	case len(args) == 1 && (c.count > 0 || len(c.codes) > 0):
		return closeFile, errors.New("redeem takes a file, or --code and --count, not both")
	case len(args) == 0 && c.count <= 0:
		return closeFile, errors.New("redeem needs a file or --count: see promopool redeem --help")
	case len(args) == 0 && (c.pool == "" || len(c.codes) == 0):
		return closeFile, errors.New("redeem --count needs --pool and --code: see promopool redeem --help")
	case len(args) == 0:
		return closeFile, nil
	case args[0] == "-":
		r.In = os.Stdin
		return closeFile, nil
	}
	file, err := os.Open(args[0])
	if err != nil {
		return closeFile, err
	}
	r.In = file
	return func() { file.Close() }, nil
}

// redeemed is what redeem prints as JSON.
type redeemed struct {
	load.Published
	PerSecond float64           `json:"per_second"`
	Outcomes  *redeemedOutcomes `json:"outcomes,omitempty"`
}

type redeemedOutcomes struct {
	Expected int64            `json:"expected"`
	Redeemed int64            `json:"redeemed"`
	Rejected map[string]int64 `json:"rejected"` // by reason
	Repeated int64            `json:"repeated"` // answers beyond those expected
	Missing  int64            `json:"missing"`
	P50      time.Duration    `json:"p50_ns"`
	P99      time.Duration    `json:"p99_ns"`
	Max      time.Duration    `json:"max_ns"`
}

func (p *program) printRedeemed(s *summary, asJSON bool) error {
	if !asJSON {
		return p.printSummary(s, "redeemed", false)
	}
	out := redeemed{Published: s.Published, PerSecond: s.PerSecond}
	if r := s.Outcomes; r != nil {
		out.Outcomes = &redeemedOutcomes{r.Expected, r.Issued, r.Rejected, r.Repeated, r.Missing, r.P50, r.P99, r.Max}
	}
	return writeJSON(p.stdout, out)
}
