package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"promopool/internal/domain"
)

// entry is one change of a pool or a campaign.
type entry struct {
	At      string
	Actor   string
	Action  string
	Changes map[string]struct{ From, To json.RawMessage }
}

// write prints a line for each field that changed; only the first says when and
// by whom.
func (e entry) write(w io.Writer) {
	when := fmt.Sprintf("%s\t%s\t%s", localTime(e.At), e.Actor, e.Action)
	for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
		c := e.Changes[field]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", when, field, shownValue(c.From), shownValue(c.To))
		when = "\t\t"
	}
	if len(e.Changes) == 0 {
		fmt.Fprintf(w, "%s\t\t\t\n", when)
	}
}

// shownValue is a value as the history prints it: JSON, so that a line stays a
// line, and no longer than a description needs to be known by.
func shownValue(v json.RawMessage) string {
	text := []rune(string(v))
	switch {
	case string(v) == "null":
		return "-"
	case len(text) > 60:
		return string(text[:59]) + "…"
	}
	return string(text)
}

// historyCommand completes a command that prints the history of one of a kind.
func (p *program) historyCommand(kind string, cmd *cobra.Command) *cobra.Command {
	var r remote
	var by, action, field string
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := asking(map[string]string{"actor": by, "action": action, "field": field})
		items, err := r.list(cmd.Context(), pathTo(kind, args[0], "history"), query)
		if err != nil {
			return about(strings.TrimSuffix(kind, "s"), args[0], err)
		}
		return showAll(p, &r, items, "WHEN\tWHO\tWHAT\tFIELD\tFROM\tTO", func(w io.Writer, e entry) { e.write(w) })
	}
	f := cmd.Flags()
	r.flags(f)
	f.StringVar(&by, "by", "", "only what this `name` has done")
	f.StringVar(&action, "action", "", "only this `action`, such as "+strings.TrimSuffix(kind, "s")+".created")
	f.StringVar(&field, "field", "", "only changes of this `field`, such as name")
	var actions []domain.Action
	for _, a := range domain.Actions {
		if strings.HasPrefix(string(a), strings.TrimSuffix(kind, "s")+".") {
			actions = append(actions, a)
		}
	}
	among(cmd, "action", actions...)
	return cmd
}

func searchFlag(f *pflag.FlagSet, search *string) {
	f.StringVar(search, "search", "", "only those with this `text` in their name, in any case, or in their id")
}
