package cli

import (
	"cmp"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"promopool/internal/app"
	"promopool/internal/guesses"
	"promopool/internal/issuing"
)

func (p *program) serveCommand() *cobra.Command {
	var c app.Config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `serve answers code requests until SIGTERM; it then finishes the batch in hand and
hands its partitions to the other processes. Any number of them may run.

The database's schema must be up to date: run migrate first.`,
		Example: `  promopool serve --kafka kafka-1:9092,kafka-2:9092 --database-url postgres://promopool@db/promopool
  PROMOPOOL_KAFKA=kafka:9092 PROMOPOOL_DATABASE_URL=postgres://promopool@db/promopool promopool serve`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "kafka", "database-url"); err != nil {
				return err
			}
			c.Log = p.log
			limitMemory(c.BufferBytes)
			return untilSignal(cmd.Context(), app.Run(cmd.Context(), c, func(httpAddr string) {
				p.log.Info().Str("http", "http://"+httpAddr).Msg("serving")
			}))
		},
	}
	f := cmd.Flags()
	kafkaFlag(f, &c.Kafka)
	databaseFlag(f, &c.DatabaseURL)
	f.StringVar(&c.HTTPAddr, "http-addr", "127.0.0.1:8080", "`host:port` of the HTTP interface; port 0 is a free one")
	serviceFlags(f, &c)
	return cmd
}

// work is the memory in bytes that a process needs beside the codes taken ahead, at
// full speed and while files are imported.
const work = 136 << 20

// limitMemory has the garbage collector work more before the process takes more than
// that; what is in use is never refused. GOMEMLIMIT says otherwise.
func limitMemory(ahead int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(work + cmp.Or(ahead, issuing.DefaultBudget))
	}
}

func kafkaFlag(f *pflag.FlagSet, brokers *[]string) {
	f.StringSliceVar(brokers, "kafka", nil, "`host:port` of brokers, separated by commas")
}

func databaseFlag(f *pflag.FlagSet, url *string) {
	f.StringVar(url, "database-url", "", "`URL` of the database, as postgres://user@host:port/database")
}

// serviceFlags are those that dev and serve share.
func serviceFlags(f *pflag.FlagSet, c *app.Config) {
	f.Int64Var(&c.MaxUploadBytes, "max-upload-bytes", 1<<30, "`bytes` that a file of codes may have")
	f.Int64Var(&c.BufferBytes, "buffer-bytes", issuing.DefaultBudget, "`bytes` of memory for codes that are taken ahead")
	f.DurationVar(&c.KeepUploads, "keep-uploads", 30*24*time.Hour, "`time` for which a file of codes can be downloaded again; 0: not at all")
	c.GuessLimits = guesses.DefaultLimits()
	f.Var((*limitFlag)(&c.GuessLimits.Caller), "guess-limit-caller", "`tries` to redeem or check a code that may fail of a caller, a minute and at once")
	f.Var((*limitFlag)(&c.GuessLimits.Pool), "guess-limit-pool", "`tries` that may fail at a pool, of all callers together")
	f.StringVar(&c.PublicURL, "public-url", "", "`URL` at which staff reach the HTTP interface, for links in notices (default the address that it listens on)")
	f.StringVar(&c.TopicPrefix, "topic-prefix", "promo.", "what the names of topics and consumer groups begin with")
	f.IntVar(&c.Partitions, "partitions", 12, "`number` of partitions of the topics created because they are absent")
}
