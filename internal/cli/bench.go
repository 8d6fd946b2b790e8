package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"promopool/internal/bench"
)

func (p *program) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure, beside the limits and the baseline",
		Example: "  promopool bench issue\n  promopool bench plans",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.benchIssueCommand(), p.benchPlansCommand(), p.benchImportCommand(), p.benchGenerateCommand(), p.benchRedeemCommand(), p.benchStartCommand(),
		p.benchHistoryCommand(), p.benchPoolsCommand(), p.benchScaleCommand(), p.benchMemoryCommand())
	return cmd
}

func (p *program) benchIssueCommand() *cobra.Command {
	var c bench.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Measure issuing",
		Long: `issue measures in one run, in interleaved rounds on the same servers:

  a   the limit: the same events passed from topic to topic, with no database
  b   the limit: the same issuances inserted, with no Kafka
  c   the consumer that everybody writes: per message UPDATE … SKIP LOCKED, a
      write and a commit
  c'  the same after honest tuning: a random start, batches to Kafka
  c'' the same with a statement for 500 messages
  s   Benthos with its SQL processor and the statement of c, where --stream-processor
      tells its path (make bin/benthos)
  d   promopool serve, from request to outcome readable, and its latency: of
      lone requests, at a tenth, at half and at the whole of that rate
  e   the same from a scarce pool, whose codes are taken in the transactions

Without --kafka and --database-url it starts servers of its own, which share
the machine with what is measured. It makes a database and topics with names of
their own, and removes them. Progress goes to standard error.`,
		Example: `  promopool bench issue
  promopool bench issue --real-kafka --rounds 9
  promopool bench issue --kafka kafka:9092 --database-url postgres://promopool@db/postgres --json
  promopool bench issue --only a,b,d --requests 1000000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Progress = p.stderr
			report, err := bench.Run(cmd.Context(), c)
			if err != nil {
				return err
			}
			if asJSON {
				return report.WriteJSON(p.stdout)
			}
			return report.WriteTable(p.stdout)
		},
	}
	f := cmd.Flags()
	kafkaFlag(f, &c.Kafka)
	databaseFlag(f, &c.DatabaseURL)
	f.BoolVar(&c.RealKafka, "real-kafka", false, "start an Apache Kafka (needs Java, and Maven the first time) instead of the embedded broker")
	f.IntVar(&c.Rounds, "rounds", 5, "`number` of rounds")
	f.IntVar(&c.Requests, "requests", 300_000, "`number` of requests in the backlog of a round")
	f.DurationVar(&c.Linger, "linger", 5*time.Millisecond, "how long the load generator gathers requests to one partition; `duration`")
	f.StringSliceVar(&c.Only, "only", nil, "`measures` wanted, of a, b, c, c', c'', s, d, and with d e and latency (default all)")
	f.StringVar(&c.StreamProcessor, "stream-processor", "", "`path` of a Benthos 4 (default none)")
	f.StringVar(&c.MetricsDir, "metrics-dir", "", "`folder` for what the service's /metrics say after each measure (default nowhere)")
	f.BoolVar(&asJSON, "json", false, "report as JSON")
	return cmd
}

func (p *program) benchPlansCommand() *cobra.Command {
	var c bench.PlansConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plans",
		Short: "Measure what wrong statistics cost the database",
		Long: `plans does the same work on databases of a PostgreSQL of its own that hold the
same rows, but whose planner was told the truth in one and something else in the
others: statistics of other pools, of empty tables, none at all. It ends with
status 1 when a work falls below half its rate anywhere.`,
		Example: `  promopool bench plans
  promopool bench plans --rounds 11 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Progress = p.stderr
			report, err := bench.Plans(cmd.Context(), c)
			if err != nil {
				return err
			}
			write := report.WriteTable
			if asJSON {
				write = report.WriteJSON
			}
			if err := write(p.stdout); err != nil {
				return err
			}
			if ratio, where := report.Worst(); ratio < 0.5 {
				return fmt.Errorf("below half its rate: %.2f: %s", ratio, where)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Rounds, "rounds", 5, "`number` of rounds")
	f.BoolVar(&asJSON, "json", false, "report as JSON")
	return cmd
}
