package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

type campaign struct {
	ID        string
	Name      string
	CreatedAt string `json:"created_at"`
}

func (c campaign) write(w io.Writer) {
	fmt.Fprintf(w, "campaign\t%s\nname\t%s\ncreated\t%s\n", c.ID, c.Name, localTime(c.CreatedAt))
}

func (p *program) campaignCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "campaign",
		Short: "Create, list, rename and delete campaigns",
		Long:  "Campaigns group pools.",
		Example: `  promopool campaign create "Summer 2026"
  promopool campaign list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.campaignCreateCommand(), p.campaignListCommand(), p.campaignGetCommand(), p.campaignRenameCommand(), p.campaignDeleteCommand(), p.campaignHistoryCommand())
	return cmd
}

func (p *program) campaignCreateCommand() *cobra.Command {
	var r remote
	var id string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a campaign",
		Example: `  promopool campaign create "Summer 2026"
  promopool campaign create "Summer 2026" --id summer`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"name": args[0]}
			if id != "" {
				body["id"] = id
			}
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("campaigns"), body)
			if err != nil {
				return fmt.Errorf("create campaign: %w", err)
			}
			return show(p, &r, b, func(w io.Writer, c campaign) { c.write(w) })
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVar(&id, "id", "", "`id` of the campaign (default made of the name)")
	return cmd
}

func (p *program) campaignListCommand() *cobra.Command {
	var r remote
	var search string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List campaigns",
		Example: `  promopool campaign list --search summer
  promopool campaign list --json | jq -r '.[].id'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			items, err := r.list(cmd.Context(), pathTo("campaigns"), asking(map[string]string{"q": search}))
			if err != nil {
				return err
			}
			return showAll(p, &r, items, "CAMPAIGN\tNAME\tCREATED", func(w io.Writer, c campaign) {
				fmt.Fprintf(w, "%s\t%s\t%s\n", c.ID, c.Name, localTime(c.CreatedAt))
			})
		},
	}
	r.flags(cmd.Flags())
	searchFlag(cmd.Flags(), &search)
	return cmd
}

func (p *program) campaignGetCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "get CAMPAIGN",
		Short:   "Show a campaign",
		Example: "  promopool campaign get summer-2026",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("campaigns", args[0]), nil)
			return p.showCampaign(&r, args[0], b, err)
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) campaignRenameCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "rename CAMPAIGN NAME",
		Short:   "Give a campaign another name; its id stays",
		Example: `  promopool campaign rename summer-2026 "Summer and autumn 2026"`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodPatch, pathTo("campaigns", args[0]), map[string]any{"name": args[1]})
			return p.showCampaign(&r, args[0], b, err)
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) campaignHistoryCommand() *cobra.Command {
	return p.historyCommand("campaigns", &cobra.Command{
		Use:     "history CAMPAIGN",
		Short:   "Show who changed what of a campaign, the newest first",
		Long:    "history shows who changed what of the campaign itself. Its pools have histories of their own.",
		Example: "  promopool campaign history summer-2026",
	})
}

func (p *program) campaignDeleteCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "delete CAMPAIGN",
		Short:   "Delete a campaign that has no pools",
		Example: "  promopool campaign delete summer-2026",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := r.do(cmd.Context(), http.MethodDelete, pathTo("campaigns", args[0]), nil); err != nil {
				return about("campaign", args[0], err)
			}
			fmt.Fprintf(p.stderr, "deleted campaign %s\n", args[0])
			return nil
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) showCampaign(r *remote, id string, b json.RawMessage, err error) error {
	if err != nil {
		return about("campaign", id, err)
	}
	return show(p, r, b, func(w io.Writer, c campaign) { c.write(w) })
}

// about says which thing an error is about, and where its like are listed.
func about(kind, id string, err error) error {
	if isProblem(err, "not-found") || isProblem(err, "no-such-endpoint") {
		return told{fmt.Sprintf("there is no %s %q: see promopool %s list", kind, id, kind), err}
	}
	return fmt.Errorf("%s %s: %w", kind, id, err)
}
