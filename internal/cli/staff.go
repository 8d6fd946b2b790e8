package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type staff struct {
	ID            string
	Name          string
	Email         string
	Active        bool
	Subscriptions []string
	CreatedAt     string `json:"created_at"`
}

func (s staff) write(w io.Writer) {
	fmt.Fprintf(w, "staff\t%s\nname\t%s\nemail\t%s\nis told of\t%s\ncreated\t%s\n", s.ID, s.Name, s.Email, s.told(), localTime(s.CreatedAt))
}

// told is what someone hears of.
func (s staff) told() string {
	scopes := strings.Join(s.Subscriptions, ", ")
	switch {
	case scopes == "":
		return "-"
	case !s.Active:
		return "nothing while inactive (" + scopes + ")"
	}
	return scopes
}

func (p *program) staffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "staff",
		Short: "Say who is told of pools that run low",
		Long: `Staff are told when a pool whose notice is on (--notify-below) has fewer codes left
than that, and when it has none: once each time, however many subscriptions of theirs
it falls under. A scope is all, campaign:CAMPAIGN or pool:POOL.`,
		Example: `  promopool staff create "Anna Novak" --email anna@example.com
  promopool staff subscribe anna-novak campaign:summer-2026`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.staffCreateCommand(), p.staffListCommand(), p.staffShowCommand(), p.staffSetCommand(), p.staffDeleteCommand(),
		p.staffSubscribeCommand(), p.staffUnsubscribeCommand(), p.staffHistoryCommand())
	return cmd
}

func (p *program) staffCreateCommand() *cobra.Command {
	var r remote
	var id, email string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Add someone to be told",
		Example: `  promopool staff create "Anna Novak" --email anna@example.com
  promopool staff create "Anna Novak" --email anna@example.com --id anna`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "email"); err != nil {
				return err
			}
			body := map[string]any{"name": args[0], "email": email}
			if id != "" {
				body["id"] = id
			}
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("staff"), body)
			if err != nil {
				return fmt.Errorf("create staff: %w", err)
			}
			return show(p, &r, b, func(w io.Writer, s staff) { s.write(w) })
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVar(&id, "id", "", "`id`; made of the name where none is given")
	cmd.Flags().StringVar(&email, "email", "", "`address` that notices go to")
	return cmd
}

func (p *program) staffListCommand() *cobra.Command {
	var r remote
	var search, active string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who is told of what",
		Example: `  promopool staff list --search novak
  promopool staff list --active false --json | jq -r '.[].email'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := r.list(cmd.Context(), pathTo("staff"), asking(map[string]string{"q": search, "active": active}))
			if err != nil {
				return err
			}
			return showAll(p, &r, items, "STAFF\tNAME\tEMAIL\tIS TOLD OF", func(w io.Writer, s staff) {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.ID, s.Name, s.Email, s.told())
			})
		},
	}
	r.flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&search, "search", "", "only those with this `text` in their name or address, in any case, or in their id")
	f.StringVar(&active, "active", "", "`true`: only those who are told; false: only the others")
	among(cmd, "active", "true", "false")
	return cmd
}

func (p *program) staffShowCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "show STAFF",
		Short:   "Show someone, and what they are told of",
		Example: "  promopool staff show anna-novak",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("staff", args[0]), nil)
			return p.showStaff(&r, args[0], b, err)
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) staffSetCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "set STAFF",
		Short: "Change someone's name or address, or whether they are told",
		Long: `set changes what flags are given for. With --active=false someone is told nothing more and
keeps the subscriptions.`,
		Example: `  promopool staff set anna-novak --email a.novak@example.com
  promopool staff set anna-novak --active=false`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			cmd.Flags().Visit(func(f *pflag.Flag) {
				switch f.Name {
				case "name", "email":
					body[f.Name] = f.Value.String()
				case "active":
					body[f.Name] = f.Value.String() == "true"
				}
			})
			if len(body) == 0 {
				return usageError{fmt.Errorf("nothing to set: see %s --help", cmd.CommandPath())}
			}
			b, err := r.do(cmd.Context(), http.MethodPatch, pathTo("staff", args[0]), body)
			return p.showStaff(&r, args[0], b, err)
		},
	}
	f := cmd.Flags()
	f.String("name", "", "the person's `name`")
	f.String("email", "", "`address` that notices go to")
	f.Bool("active", true, "whether they are told")
	f.VisitAll(func(f *pflag.Flag) { f.DefValue = "" }) // what is not given stays
	r.flags(f)
	return cmd
}

func (p *program) staffDeleteCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "delete STAFF",
		Short:   "Remove someone with their subscriptions",
		Example: "  promopool staff delete anna-novak",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := r.do(cmd.Context(), http.MethodDelete, pathTo("staff", args[0]), nil); err != nil {
				return about("staff", args[0], err)
			}
			fmt.Fprintf(p.stderr, "deleted staff %s\n", args[0])
			return nil
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) staffSubscribeCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "subscribe STAFF SCOPE",
		Short: "Have someone told of all pools, those of a campaign, or one",
		Example: `  promopool staff subscribe anna-novak all
  promopool staff subscribe anna-novak campaign:summer-2026
  promopool staff subscribe anna-novak pool:beach`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodPut, pathTo("staff", args[0], "subscriptions", args[1]), nil)
			if err != nil {
				return fmt.Errorf("subscribe %s to %s: %w", args[0], args[1], err)
			}
			return show(p, &r, b, func(w io.Writer, s staff) { s.write(w) })
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) staffUnsubscribeCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "unsubscribe STAFF SCOPE",
		Short:   "End a subscription; the others stay",
		Example: "  promopool staff unsubscribe anna-novak pool:beach",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := r.do(cmd.Context(), http.MethodDelete, pathTo("staff", args[0], "subscriptions", args[1]), nil); err != nil {
				return fmt.Errorf("unsubscribe %s from %s: %w", args[0], args[1], err)
			}
			fmt.Fprintf(p.stderr, "unsubscribed %s from %s\n", args[0], args[1])
			return nil
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) staffHistoryCommand() *cobra.Command {
	return p.historyCommand("staff", &cobra.Command{
		Use:     "history STAFF",
		Short:   "Show who changed what of someone and their subscriptions, the newest first",
		Example: "  promopool staff history anna-novak",
	})
}

func (p *program) showStaff(r *remote, id string, b json.RawMessage, err error) error {
	if err != nil {
		return about("staff", id, err)
	}
	return show(p, r, b, func(w io.Writer, s staff) { s.write(w) })
}
