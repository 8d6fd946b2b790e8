package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"promopool/internal/domain"
)

type pool struct {
	ID            string
	CampaignID    string `json:"campaign_id"`
	Name          string
	Description   string
	ParameterName string `json:"parameter_name"`
	Notify        bool
	NotifyBelow   *int64 `json:"notify_below"`
	MultiUse      bool   `json:"multi_use"`
	CheckIssued   bool   `json:"check_issued"`
	Validity      *string
	Processing    string
	IssueStart    string `json:"issue_start"`
	IssueEnd      string `json:"issue_end"`
	Limit         *int64 `json:"redemption_limit"`
	LimitEach     *int64 `json:"redemption_limit_per_customer"`
	Replenish     *replenish
	State         string
	Version       int64
	CreatedAt     string `json:"created_at"`
	LaunchedAt    string `json:"launched_at"`
	ArchivedAt    string `json:"archived_at"`
}

func (p pool) write(w io.Writer) {
	rows := [][2]string{
		{"pool", p.ID}, {"state", p.State}, {"campaign", p.CampaignID}, {"name", p.Name}, {"description", p.Description},
		{"parameter name", p.ParameterName}, {"notify", p.notice()}, {"codes", p.use()}, {"validity", "no limit from issue"},
		{"processing", p.Processing}, {"may be issued", p.window()}, {"replenish", p.Replenish.text()}, {"version", strconv.FormatInt(p.Version, 10)}, {"created", localTime(p.CreatedAt)},
		{"launched", localTime(p.LaunchedAt)}, {"archived", localTime(p.ArchivedAt)},
	}
	for _, row := range rows {
		if row[0] == "validity" && p.Validity != nil {
			row[1] = *p.Validity + " from issue"
		}
		if row[1] != "-" && row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
}

func (p pool) window() string {
	if p.IssueStart == "" && p.IssueEnd == "" {
		return "-"
	}
	return fmt.Sprintf("%s to %s", localTime(p.IssueStart), localTime(p.IssueEnd))
}

func (p pool) notice() string {
	switch {
	case p.NotifyBelow == nil:
		return "off"
	case !p.Notify:
		return fmt.Sprintf("off (below %d)", *p.NotifyBelow)
	}
	return fmt.Sprintf("below %d", *p.NotifyBelow)
}

func (p pool) use() string {
	switch {
	case p.MultiUse:
		return "each for many" + p.limits()
	case p.CheckIssued:
		return "each for one, redeemed only when issued"
	}
	return "each for one"
}

func (p pool) limits() string {
	text := ""
	if p.Limit != nil {
		text += fmt.Sprintf(", redeemed %d times at most", *p.Limit)
	}
	if p.LimitEach != nil {
		text += fmt.Sprintf(", %d times by a customer", *p.LimitEach)
	}
	return text
}

func (p *program) poolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Create, list, change, archive and delete pools",
		Long: `A pool is a stock of codes with the rules of handing them out. It begins as a
draft, hands out codes from its launch on, and ends in the archive.`,
		Example: `  promopool pool create Beach --campaign summer-2026 --description "Ten percent off sun cream"
  promopool pool list --state active`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.poolCreateCommand(), p.poolListCommand(), p.poolGetCommand(), p.poolSetCommand(), p.poolDeleteCommand(), p.poolArchiveCommand(), p.poolHistoryCommand())
	return cmd
}

// settingFlags are the settings of a pool as flags; settings makes a body of
// those that were given.
func settingFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("id", "", "`id` of the pool; made of the name where none is given")
	f.String("campaign", "", "`id` of the campaign it belongs to")
	f.String("description", "", "what the codes are for; launch needs it")
	f.String("parameter-name", "promo_code", "what the message template calls the code")
	f.String("notify-below", "none", "tell staff when fewer than this `number` of codes are left; none: never")
	f.Bool("notify", true, "whether staff are told; false keeps the number")
	f.Bool("multi-use", false, "a code goes to many and is never used up")
	f.Bool("check-issued", false, "only issued codes are redeemed; asks for --validity")
	f.String("validity", "none", "how long a code is valid from its issue, an ISO 8601 `duration` such as P30D; none: no limit")
	f.String("processing", "internal", "who judges redemptions, internal or external")
	among(cmd, "processing", domain.Internal, domain.External)
	f.String("redemption-limit", "none", "how `often` each code of a multi-use pool may be redeemed; none: without limit")
	f.String("redemption-limit-per-customer", "none", "how `often` one customer may redeem each code of it; none: without limit")
	f.String("issue-start", "none", "nothing is issued before this `time`, such as 2026-07-01T00:00:00Z; none: the codes' own dates count")
	f.String("issue-end", "none", "nothing is issued from this `time` on; none: the codes' own dates count")
}

// settingFields are the names of settings that differ from their flags' but
// for the hyphens.
var settingFields = map[string]string{"campaign": "campaign_id"}

func settings(f *pflag.FlagSet) (map[string]any, error) {
	body := map[string]any{}
	var wrong error
	for _, name := range []string{"id", "campaign", "name", "description", "parameter-name", "notify-below", "notify", "multi-use", "check-issued", "validity", "processing", "issue-start", "issue-end", "redemption-limit", "redemption-limit-per-customer"} {
		flag := f.Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		field := strings.ReplaceAll(name, "-", "_")
		if other := settingFields[name]; other != "" {
			field = other
		}
		value, err := settingValue(flag)
		body[field], wrong = value, errors.Join(wrong, err)
	}
	return body, wrong
}

// numbers are the settings that are, and orNone those that there may be none of.
var (
	numbers = []string{"notify-below", "redemption-limit", "redemption-limit-per-customer"}
	orNone  = append([]string{"validity", "issue-start", "issue-end"}, numbers...)
)

func settingValue(flag *pflag.Flag) (any, error) {
	text := flag.Value.String()
	switch {
	case flag.Value.Type() == "bool":
		return text == "true", nil
	case text == "none" && slices.Contains(orNone, flag.Name):
		return nil, nil
	case slices.Contains(numbers, flag.Name):
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s must be a number or none, not %q", flag.Name, text)}
		}
		return n, nil
	}
	return text, nil
}

func (p *program) poolCreateCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a pool as a draft",
		Example: `  promopool pool create Beach --campaign summer-2026 --description "Ten percent off sun cream"
  promopool pool create Beach --campaign summer-2026 --notify-below 1000 --check-issued --validity P30D`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "campaign"); err != nil {
				return err
			}
			body, err := settings(cmd.Flags())
			if err != nil {
				return err
			}
			body["name"] = args[0]
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools"), body)
			if err != nil {
				return fmt.Errorf("create pool: %w", err)
			}
			return show(p, &r, b, func(w io.Writer, made pool) { made.write(w) })
		},
	}
	r.flags(cmd.Flags())
	settingFlags(cmd)
	return cmd
}

func (p *program) poolListCommand() *cobra.Command {
	var r remote
	var campaign, state, search string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List pools",
		Example: `  promopool pool list
  promopool pool list --campaign summer-2026 --state active
  promopool pool list --search beach`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := asking(map[string]string{"campaign_id": campaign, "state": state, "q": search})
			items, err := r.list(cmd.Context(), pathTo("pools"), query)
			if err != nil {
				return err
			}
			return showAll(p, &r, items, "POOL\tSTATE\tCAMPAIGN\tNAME\tNOTIFY\tLAUNCHED", func(w io.Writer, one pool) {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", one.ID, one.State, one.CampaignID, one.Name, one.notice(), localTime(one.LaunchedAt))
			})
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVar(&campaign, "campaign", "", "only pools of the campaign with this `id`")
	cmd.Flags().StringVar(&state, "state", "", "only pools in this `state`: draft, active or archived")
	among(cmd, "state", domain.Draft, domain.Active, domain.Archived)
	searchFlag(cmd.Flags(), &search)
	return cmd
}

func (p *program) poolGetCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "get POOL",
		Short:   "Show a pool's settings",
		Example: "  promopool pool get beach",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("pools", args[0]), nil)
			return p.showPool(&r, args[0], b, err)
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) poolSetCommand() *cobra.Command {
	var r remote
	var version int64
	cmd := &cobra.Command{
		Use:   "set POOL",
		Short: "Change settings of a pool",
		Long: `set changes the settings whose flags are given and leaves the others. From launch
on the id, the campaign, the parameter name and multi-use stay as they are.`,
		Example: `  promopool pool set beach --description "Ten percent off sun cream" --notify-below 500
  promopool pool set beach --issue-start 2026-07-01T00:00:00Z --issue-end 2026-09-01T00:00:00+02:00
  promopool pool set beach --validity none --if-version 3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := settings(cmd.Flags())
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{fmt.Errorf("nothing to set: see %s --help", cmd.CommandPath())}
			}
			b, err := r.do(cmd.Context(), http.MethodPatch, pathTo("pools", args[0]), body, ifMatch(version)...)
			return p.showPool(&r, args[0], b, err)
		},
	}
	settingFlags(cmd)
	cmd.Flags().String("name", "", "name of the pool")
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.DefValue = "" }) // what is not given stays
	r.flags(cmd.Flags())
	versionFlag(cmd.Flags(), &version)
	return cmd
}

func versionFlag(f *pflag.FlagSet, version *int64) {
	f.Int64Var(version, "if-version", 0, "only if the pool is still at this `version`, as get shows it; 0: at any")
}

func ifMatch(version int64) []string {
	if version == 0 {
		return nil
	}
	return []string{"If-Match", fmt.Sprintf(`"%d"`, version)}
}

func (p *program) poolHistoryCommand() *cobra.Command {
	return p.historyCommand("pools", &cobra.Command{
		Use:   "history POOL",
		Short: "Show who changed what of a pool, the newest first",
		Example: `  promopool pool history beach
  promopool pool history beach --field issue_end
  promopool pool history beach --by anna --json | jq -r '.[] | [.at, .action] | @tsv'`,
	})
}

func (p *program) poolDeleteCommand() *cobra.Command {
	var r remote
	var version int64
	cmd := &cobra.Command{
		Use:     "delete POOL",
		Short:   "Delete a draft with its codes",
		Example: "  promopool pool delete beach",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := r.do(cmd.Context(), http.MethodDelete, pathTo("pools", args[0]), nil, ifMatch(version)...); err != nil {
				return about("pool", args[0], err)
			}
			fmt.Fprintf(p.stderr, "deleted pool %s\n", args[0])
			return nil
		},
	}
	r.flags(cmd.Flags())
	versionFlag(cmd.Flags(), &version)
	return cmd
}

func (p *program) poolArchiveCommand() *cobra.Command {
	return p.moveCommand("archive", &cobra.Command{
		Use:     "archive POOL",
		Short:   "Archive an active pool: from then on nothing is issued from it",
		Long:    "archive ends an active pool. When it returns nothing is issued any more. There is no way back.",
		Example: "  promopool pool archive beach",
	})
}

func (p *program) launchCommand() *cobra.Command {
	return p.moveCommand("launch", &cobra.Command{
		Use:   "launch POOL",
		Short: "Launch a draft: from then on requests get its codes",
		Long: `launch makes a draft active. When it returns, requests get codes. The pool needs a
description; its codes may come before or after.`,
		Example: `  promopool launch beach
  promopool launch beach --if-version 3`,
	})
}

// moveCommand completes a command that brings a pool into another state.
func (p *program) moveCommand(verb string, cmd *cobra.Command) *cobra.Command {
	var r remote
	var version int64
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], verb), nil, ifMatch(version)...)
		return p.showPool(&r, args[0], b, err)
	}
	r.flags(cmd.Flags())
	versionFlag(cmd.Flags(), &version)
	return cmd
}

func (p *program) showPool(r *remote, id string, b json.RawMessage, err error) error {
	if err != nil {
		return about("pool", id, err)
	}
	return show(p, r, b, func(w io.Writer, one pool) { one.write(w) })
}

// read asks for something of a pool.
func (r *remote) read(ctx context.Context, pool string, of ...string) (json.RawMessage, error) {
	b, err := r.do(ctx, http.MethodGet, pathTo(append([]string{"pools", pool}, of...)...), nil)
	if err != nil {
		return nil, about("pool", pool, err)
	}
	return b, nil
}
