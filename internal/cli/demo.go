package cli

import (
	"os"

	"github.com/spf13/cobra"

	"promopool/internal/demo"
)

func (p *program) demoCommand() *cobra.Command {
	c := demo.Config{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a file of codes, a crash, and the proof, in half a minute",
		Long: `demo starts Kafka, PostgreSQL and two processes of the service on this machine,
loads a file of codes, publishes requests, kills a process half way, asks again,
sells a small pool out, and lets the auditor count. It tells what it does, and
ends by itself with a list of what was shown.

It exits 0 when every check held, and leaves nothing behind. When one did not,
it says which, and where the log of the service is.`,
		Example: `  promopool demo
  promopool demo --codes 500000 --requests 200000
  NO_COLOR=1 promopool demo > demo.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Program, err = os.Executable(); err != nil {
				return err
			}
			if err := c.Check(); err != nil {
				return usageError{err}
			}
			c.Out, c.Terminal = p.stdout, terminal(p.stdout) && os.Getenv("TERM") != "dumb"
			c.Color = c.Terminal && os.Getenv("NO_COLOR") == ""
			return demo.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Codes, "codes", 100_000, "`number` of codes in the file")
	f.IntVar(&c.Requests, "requests", 50_000, "`number` of requests, of which a tenth are repeats")
	return cmd
}
