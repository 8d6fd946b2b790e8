package cli

import (
	"context"

	"github.com/spf13/cobra"

	"promopool/internal/bench"
)

// measures makes a command of a measure on servers: its flags, which are c's, and
// its report.
func (p *program) measures(cmd *cobra.Command, c *bench.Config, measure func(context.Context) (*bench.Figures, error)) {
	var asJSON bool
	cmd.Args = cobra.NoArgs
	cmd.Long += `

Without --kafka and --database-url it starts servers of its own, which share
the machine with what is measured. It makes a database and topics with names of
their own, and removes them. Progress goes to standard error.`
	f := cmd.Flags()
	kafkaFlag(f, &c.Kafka)
	databaseFlag(f, &c.DatabaseURL)
	f.BoolVar(&c.RealKafka, "real-kafka", false, "start an Apache Kafka (needs Java, and Maven the first time) instead of the embedded broker")
	f.BoolVar(&asJSON, "json", false, "report as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c.Progress = p.stderr
		figures, err := measure(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return figures.WriteJSON(p.stdout)
		}
		return figures.WriteTable(p.stdout)
	}
}

func roundsFlag(cmd *cobra.Command, c *bench.Config) {
	cmd.Flags().IntVar(&c.Rounds, "rounds", 5, "`number` of rounds")
}

func (p *program) benchImportCommand() *cobra.Command {
	var c bench.ImportConfig
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Measure filling a pool from a file",
		Long: `import uploads a file of codes, one a line, over HTTP to promopool serve, which
imports it into an active pool that is empty. In the same round the same rows go
by one COPY, over one connection as the import has, into an empty table with the
columns and indexes of the table of codes; which of both is first changes from
round to round. Rates count from the first byte of the upload to the end of the
task. Meanwhile codes of the pool are asked for over Kafka every 20 ms.`,
		Example: `  promopool bench import
  promopool bench import --codes 10000000 --rounds 5 --real-kafka`,
	}
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Import(ctx, c) })
	roundsFlag(cmd, &c.Config)
	cmd.Flags().IntVar(&c.Codes, "codes", 1_000_000, "`number` of codes in the file")
	return cmd
}

func (p *program) benchGenerateCommand() *cobra.Command {
	var c bench.GenerateConfig
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Measure generating codes",
		Long: `generate has promopool serve generate codes for an active pool that is empty, and
then asks for one over Kafka. Times count from the request over HTTP.`,
		Example: `  promopool bench generate
  promopool bench generate --codes 1000000 --json`,
	}
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Generate(ctx, c) })
	roundsFlag(cmd, &c.Config)
	cmd.Flags().Int64Var(&c.Codes, "codes", 1_000_000_000, "`number` of codes to generate")
	return cmd
}

func (p *program) benchRedeemCommand() *cobra.Command {
	var c bench.RedeemConfig
	cmd := &cobra.Command{
		Use:   "redeem",
		Short: "Measure redemptions, over Kafka and over HTTP",
		Long: `redeem has promopool serve issue a backlog of requests and redeem what was issued,
in each round: a half from a backlog of redemptions on Kafka, a quarter over HTTP
as fast as it goes, and a quarter over HTTP at half of that rate. There each is
sent when it is due, whatever became of those before, and its time counts from
then. Rates over Kafka are of the middle 80 % of the backlog.`,
		Example: `  promopool bench redeem
  promopool bench redeem --real-kafka --connections 32`,
	}
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Redeem(ctx, c) })
	roundsFlag(cmd, &c.Config)
	cmd.Flags().IntVar(&c.Requests, "requests", 300_000, "`number` of codes that a round issues and redeems")
	cmd.Flags().IntVar(&c.Connections, "connections", 64, "`number` of connections over HTTP")
	return cmd
}

func (p *program) benchStartCommand() *cobra.Command {
	var c bench.StartConfig
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Measure how long promopool serve takes until it is ready",
		Long: `start measures from the start of a process of promopool serve until its /readyz
says that it is ready, with 1, 1,000 and --pools active pools in the database.`,
		Example: `  promopool bench start
  promopool bench start --pools 10000 --rounds 11`,
	}
	p.measures(cmd, &c.Config, func(ctx context.Context) (*bench.Figures, error) { return bench.Start(ctx, c) })
	roundsFlag(cmd, &c.Config)
	cmd.Flags().IntVar(&c.Pools, "pools", 100_000, "`number` of pools at most")
	return cmd
}
