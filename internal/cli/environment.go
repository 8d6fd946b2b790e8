package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "PROMOPOOL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// hasVariable leaves out the flags that ask for something instead of setting it.
func hasVariable(f *pflag.Flag) bool { return f.Name != "help" && f.Name != "version" }

// fromEnvironment sets the flags that were not given from their variables. An
// empty variable counts as none, as Compose files make them.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var wrong error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !hasVariable(f) || wrong != nil {
			return
		}
		name := variable(f.Name)
		if value, _ := lookup(name); value != "" {
			if err := flags.Set(f.Name, value); err != nil {
				wrong = fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
	})
	return wrong
}

// nameVariables shows each flag's variable in its help.
func nameVariables(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if name := "[" + variable(f.Name) + "]"; hasVariable(f) && !strings.Contains(f.Usage, name) {
			f.Usage += " " + name
		}
	})
}
