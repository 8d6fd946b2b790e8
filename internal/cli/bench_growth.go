package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"promopool/internal/bench"
)

// backlogFlags are those that measures of issuing share. requests is the backlog
// that they have by default.
func backlogFlags(f *pflag.FlagSet, c *bench.Config, requests int) {
	c.Linger = 5 * time.Millisecond
	f.IntVar(&c.Requests, "requests", requests, "`number` of requests in the backlog of a measure")
}

func (p *program) benchHistoryCommand() *cobra.Command {
	var c bench.HistoryConfig
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Measure issuing on a store with old issuances",
		Long: `history measures the rate at which promopool serve answers a backlog, on a store
that is empty, and beside it on one with millions of old issuances:

  other    they are in other pools
  ordered  they are in the same pool, their request ids in the order of time (UUIDv7)
  random   they are in the same pool, their request ids random, and so are the new ones

A round measures each once, on the same servers, and its ratios are to the empty
store of the same round. Several --millions are stages, in which the same store
grows. A million takes some 400 MB of disk, twice where random is measured beside
others.`,
		Example: `  promopool bench history
  promopool bench history --real-kafka --millions 1,10,30 --only other,ordered
  promopool bench history --real-kafka --millions 30 --only random --json`,
	}
	f := cmd.Flags()
	backlogFlags(f, &c.Config, 300_000)
	f.Float64SliceVar(&c.Millions, "millions", []float64{1}, "`millions` of old issuances, by stage")
	f.StringSliceVar(&c.Only, "only", nil, "`measures` wanted, of other, ordered and random (default all)")
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.History(ctx, c) })
	roundsFlag(cmd, &c.Config)
	return cmd
}

func (p *program) benchPoolsCommand() *cobra.Command {
	var c bench.PoolsConfig
	cmd := &cobra.Command{
		Use:   "pools",
		Short: "Measure issuing from many pools",
		Long: `pools measures the rate at which promopool serve answers a backlog that asks for
one pool, for --hot pools, and for as many of --pools in all with
--subscriptions of staff. Requests are spread evenly, at random: every partition
has requests for every pool. It also tells how long it takes from the start of
the process to the first outcome.

A round measures each once, on the same servers, and its ratios are to the one
pool of the same round.`,
		Example: `  promopool bench pools
  promopool bench pools --real-kafka --hot 1000 --pools 100000 --subscriptions 10000 --json`,
	}
	f := cmd.Flags()
	backlogFlags(f, &c.Config, 300_000)
	f.IntVar(&c.Hot, "hot", 1000, "`number` of pools that are asked for")
	f.IntVar(&c.All, "pools", 100_000, "`number` of pools in all")
	f.IntVar(&c.Subscriptions, "subscriptions", 10_000, "`number` of subscriptions to pools")
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Pools(ctx, c) })
	roundsFlag(cmd, &c.Config)
	return cmd
}

func (p *program) benchScaleCommand() *cobra.Command {
	var c bench.Config
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure several processes beside one",
		Long: `scale measures the rate at which 1, 2 and 4 processes of promopool serve on this
machine answer a backlog together, from when each has its partitions.

Then, under a steady load of a third of the rate of one process: the longest time
in which no outcome of some partition came, while nothing happens, while a second
process joins and while it leaves (SIGTERM).`,
		Example: `  promopool bench scale
  promopool bench scale --real-kafka --requests 1000000 --json`,
	}
	backlogFlags(cmd.Flags(), &c, 600_000)
	p.measures(cmd, &c, func(ctx context.Context) (*bench.Figures, error) { return bench.Scale(ctx, c) })
	roundsFlag(cmd, &c)
	return cmd
}

func (p *program) benchMemoryCommand() *cobra.Command {
	var c bench.MemoryConfig
	cmd := &cobra.Command{
		Use:   "memory",
		Short: "Measure the memory of the service at full speed",
		Long: `memory has promopool serve answer requests as fast as it can for --duration, a
backlog always before it, and looks every second at what the process has resident:
the most, the last, and from three minutes on the slope since the second minute.
Codes are generated, so that they take no disk.

The topics are told to keep about 100 MB a partition; a broker of others looks for
that every five minutes by default, in which a request takes it about 750 bytes.
When the database passes --disk-gb, what was issued by then is thrown away.`,
		Example: `  promopool bench memory
  promopool bench memory --real-kafka --duration 10m --json`,
	}
	f := cmd.Flags()
	backlogFlags(f, &c.Config, 400_000)
	f.DurationVar(&c.Duration, "duration", time.Minute, "how long; `duration`")
	f.Int64Var(&c.DiskGB, "disk-gb", 15, "`size` that the database may have")
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Memory(ctx, c) })
	return cmd
}
