package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"promopool/internal/topics"
	"promopool/internal/verify"
)

var errBroken = errors.New("invariants are broken")

func (p *program) verifyCommand() *cobra.Command {
	var brokers []string
	var url, prefix string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the invariants over the topics and the database",
		Long: `verify reads the topics and the database and says of each invariant whether it
holds: that no code went to two requests, that every request is answered, that
stock is exact, and so on. It shares no code with what issues, and writes
nothing but temporary tables. The service may go on meanwhile: what is in flight
is counted, not judged.

It exits 0 when all invariants hold, 1 when one is broken, and 2 when it could
not check.`,
		Example: `  promopool verify --kafka kafka:9092 --database-url postgres://promopool@db/promopool
  promopool verify --json | jq '.checks[] | select(.violations > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "kafka", "database-url"); err != nil {
				return err
			}
			client := topics.Client(brokers)
			defer topics.Close(client)
			progress, clear := p.steps()
			report, err := verify.Run(cmd.Context(), verify.Config{Client: client, Prefix: prefix, DatabaseURL: url, Progress: progress})
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
		},
	}
	f := cmd.Flags()
	kafkaFlag(f, &brokers)
	databaseFlag(f, &url)
	prefixFlag(f, &prefix)
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
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
