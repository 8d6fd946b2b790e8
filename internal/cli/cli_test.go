package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp holds every command to what all promise.
func TestHelp(t *testing.T) {
	root := (&program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).root()
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "/"), func(t *testing.T) {
			help := cmd.UsageString()
			if cmd.Parent() == root && cmd.GroupID == "" {
				t.Errorf("%s is in no group", cmd.Name())
			}
			if !strings.Contains(help, "Examples:\n  promopool") {
				t.Errorf("no example in\n%s", help)
			}
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if hasVariable(f) && strings.Count(help, "["+variable(f.Name)+"]") != 1 {
					t.Errorf("--%s: no %s in\n%s", f.Name, variable(f.Name), help)
				}
			})
		})
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(root)
}

// TestExamples holds what the help and the pages show of the command line
// against what it takes.
func TestExamples(t *testing.T) {
	newRoot := func() *cobra.Command { return (&program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).root() }
	var lines []string
	var read func(*cobra.Command)
	read = func(cmd *cobra.Command) {
		lines = append(lines, strings.Split(cmd.Example, "\n")...)
		for _, sub := range cmd.Commands() {
			read(sub)
		}
	}
	read(newRoot())
	for _, page := range []string{"README.md", "docs/operations.md", "docs/architecture.md", "docker-compose.yml"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(string(text), "\n")...)
	}
	call := regexp.MustCompile(`^#?\s{2,}(?:\w+=\S+ |.*\| |docker compose exec )*(?:bin/|promopool )?promopool( [^|>#]*)`)
	seen := 0
	for _, line := range lines {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seen++
		root := newRoot()
		cmd, rest, err := root.Find(shellWords(m[1]))
		if err == nil {
			cmd.InitDefaultHelpFlag()
			err = cmd.ParseFlags(rest)
		}
		if err == nil && !cmd.Flags().Changed("help") {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if seen < 90 {
		t.Errorf("%d examples seen, want 90 or more", seen)
	}
}

// shellWords splits a line as a shell does, quotes taken off.
func shellWords(line string) []string {
	var words []string
	for _, w := range regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"'])+`).FindAllString(line, -1) {
		words = append(words, strings.NewReplacer(`"`, "", "'", "").Replace(w))
	}
	return words
}

func TestFromEnvironment(t *testing.T) {
	tests := []struct {
		name, arg, env string
		want           int
		wrong          string
	}{
		{name: "Default", want: 12},
		{name: "Environment", env: "7", want: 7},
		{name: "FlagWins", arg: "--partitions=3", env: "7", want: 3},
		{name: "EmptyIsNone", env: "", want: 12},
		{name: "Wrong", env: "many", wrong: "PROMOPOOL_PARTITIONS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			got := flags.Int("partitions", 12, "")
			if err := flags.Parse([]string{tt.arg}); err != nil {
				t.Fatal(err)
			}
			err := fromEnvironment(flags, func(name string) (string, bool) {
				return map[string]string{"PROMOPOOL_PARTITIONS": tt.env}[name], true
			})
			if err == nil && *got != tt.want {
				t.Errorf("got %d, want %d", *got, tt.want)
			}
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("got %v, want an error that names %q", err, tt.wrong)
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	got := oneLine(errors.Join(syscall.ENOENT, errors.New("choose another\r\nfolder")))
	if want := "no such file or directory; choose another; folder"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
