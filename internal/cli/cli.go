// Package cli is the command line: it turns arguments and environment into
// the values that the program's parts are made with, and their errors into one
// line and an exit status. No other package reads flags or the environment.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	done        = 0
	failed      = 1
	misused     = 2
	interrupted = 130
)

// A program is one call of promopool.
type program struct {
	stdout io.Writer
	stderr io.Writer

	logLevel string
	log      zerolog.Logger // made before a command runs

	running bool // arguments and environment were understood
}

// Main runs the command that args name and returns the exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := withSignals(context.Background())
	defer stop()

	p := &program{stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return done
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "promopool: interrupted")
		return interrupted
	}
	fmt.Fprintln(stderr, "promopool:", oneLine(err))
	if usage := (usageError{}); !p.running || errors.As(err, &usage) {
		return misused
	}
	if own := (statusError{}); errors.As(err, &own) {
		return own.status
	}
	return failed
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "promopool",
		Short: "Hands out promo codes: every request gets exactly one",
		Long: `promopool answers every code request on Kafka with exactly one code of the pool
that the request names, and says so on Kafka.

Every flag can be given as an environment variable too, shown in brackets. The
flag wins over the variable, the variable over the default.

completion prints a script by which the Tab key completes commands, flags, and
the pools, campaigns and imports of the server.`,
		Example: `  promopool dev                     # everything, on this machine
  promopool serve --kafka kafka:9092 --database-url postgres://promopool@db/promopool`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.PersistentFlags().StringVar(&p.logLevel, "log-level", "info", "least severe `level` to log: debug, info, warn or error")
	among(root, "log-level", "debug", "info", "warn", "error")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := fromEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
			return err
		}
		var err error
		if p.log, err = newLog(p.stderr, p.logLevel); err != nil {
			return err
		}
		p.running = true
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
	})
	cobra.EnableCommandSorting = false // commands stand in the order of their use
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"servers", "Run it:", []*cobra.Command{p.devCommand(), p.demoCommand(), p.serveCommand(), p.migrateCommand()}},
		{"pools", "Pools and what is in them:", []*cobra.Command{
			p.campaignCommand(), p.poolCommand(),
			p.importCommand(), p.importsCommand(), p.generateCommand(), p.spaceCommand(), p.replenishCommand(),
			p.launchCommand(), p.stockCommand(), p.codeCommand(), p.issueCommand(), p.issuanceCommand(), p.redemptionCommand(), p.customerCommand(), p.staffCommand(),
		}},
		{"events", "Events, proof and figures:", []*cobra.Command{p.requestCommand(), p.redeemCommand(), p.tailCommand(), p.verifyCommand(), p.benchCommand()}},
		{"terminal", "At the terminal:", nil},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.id
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID("terminal")
	root.SetCompletionCommandGroupID("terminal")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	finish(root)
	return root
}

// finish gives every command what all have in common.
func finish(cmd *cobra.Command) {
	if cmd.Example == "" { // cobra's own commands
		cmd.Example = "  " + cmd.CommandPath()
		switch cmd.Name() {
		case "help":
			cmd.Example += " dev"
		case "completion":
			cmd.Example = "  promopool completion bash >/etc/bash_completion.d/promopool\n  promopool completion zsh >\"${fpath[1]}/_promopool\"\n  promopool completion fish >~/.config/fish/completions/promopool.fish"
		}
	}
	nameVariables(cmd.LocalFlags())
	complete(cmd)
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
}

// A usageError is a mistake in the call that only the command could see.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A statusError ends the program with a status of its own.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// required tells which of the flags are empty, in one error.
func required(cmd *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		if cmd.Flag(name).Value.String() == "" || cmd.Flag(name).Value.String() == "[]" {
			missing = append(missing, fmt.Sprintf("--%s (or %s)", name, variable(name)))
		}
	}
	if missing == nil {
		return nil
	}
	return usageError{fmt.Errorf("%s needs %s: see %s --help", cmd.Name(), strings.Join(missing, " and "), cmd.CommandPath())}
}

// oneLine is an error's text without line breaks.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
