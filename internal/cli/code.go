package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"promopool/internal/domain"
)

type code struct {
	PoolID        string `json:"pool_id"`
	Code          string
	State         string
	IssueStart    string `json:"issue_start"`
	IssueEnd      string `json:"issue_end"`
	AvailableFrom string `json:"available_from"`
	AvailableTill string `json:"available_till"`
	Issue         *struct {
		RequestID  string `json:"request_id"`
		CustomerID string `json:"customer_id"`
		ValidFrom  string `json:"valid_from"`
		ValidUntil string `json:"valid_until"`
	}
	Redeemed int64
	History  []codeMoment
}

type codeMoment struct {
	At        string
	Event     string
	Actor     string
	Note      string
	RequestID string `json:"request_id"`

	RedemptionID string `json:"redemption_id"`
}

func (m codeMoment) write(w io.Writer) {
	words := []string{localTime(m.At)}
	if m.Actor != "" {
		words = append(words, "by "+m.Actor)
		if m.RequestID != "" {
			words = append(words, "to request "+m.RequestID)
		}
	}
	if m.RedemptionID != "" {
		words = append(words, "by redemption "+m.RedemptionID)
	}
	if m.Note != "" {
		words = append(words, "("+m.Note+")")
	}
	fmt.Fprintf(w, "%s\t%s\n", m.Event, strings.Join(words, " "))
}

func (c code) write(w io.Writer) {
	fmt.Fprintf(w, "code\t%s\npool\t%s\nstate\t%s\n", c.Code, c.PoolID, c.State)
	window := func(name, from, till string) {
		if from != "" || till != "" {
			fmt.Fprintf(w, "%s\t%s to %s\n", name, localTime(from), localTime(till))
		}
	}
	window("may be issued", c.IssueStart, c.IssueEnd)
	window("may be used", c.AvailableFrom, c.AvailableTill)
	if c.Issue != nil {
		fmt.Fprintf(w, "request\t%s\ncustomer\t%s\n", c.Issue.RequestID, c.Issue.CustomerID)
		window("valid", c.Issue.ValidFrom, c.Issue.ValidUntil)
	}
	if c.Redeemed > 1 {
		fmt.Fprintf(w, "redeemed\t%d times\n", c.Redeemed)
	}
	for _, h := range c.History {
		h.write(w)
	}
}

func (p *program) codeCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "code POOL CODE",
		Short: "Look a code up: its state, its dates, who has it",
		Long: `code looks one code up; code issue, code block and code unblock change it, code redeem
and code check try it, code export writes all codes of a pool. A pool that is named
like one of them is looked into by promopool code -- export CODE.`,
		Example: "  promopool code beach SUN-4711\n  promopool code export beach --state issued -o issued.csv",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("pools", args[0], "codes", args[1]), nil)
			if err != nil {
				return aboutCode(args[0], args[1], err)
			}
			return show(p, &r, b, func(w io.Writer, c code) { c.write(w) })
		},
	}
	r.flags(cmd.Flags())
	cmd.AddCommand(p.codeIssueCommand(), p.codeBlockCommand(), p.codeUnblockCommand(), p.codeRedeemCommand(), p.codeCheckCommand(), p.codeExportCommand())
	return cmd
}

func (p *program) codeExportCommand() *cobra.Command {
	var r remote
	var state, output string
	cmd := &cobra.Command{
		Use:   "export POOL",
		Short: "Write all codes of a pool as CSV",
		Long: `export writes a line for every code: its state, its dates, how often it was issued,
and to whom. Each line is true of the moment at which it was read; codes are issued
meanwhile. The file can be imported again.`,
		Example: `  promopool code export beach -o beach.csv
  promopool code export beach --state issued | gzip >issued.csv.gz`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.exportCodes(cmd.Context(), &r, args[0], state, output)
		},
	}
	r.serverFlags(cmd.Flags())
	cmd.Flags().StringVar(&state, "state", "", "only codes in this `state`: available, scheduled, issued, expired, blocked, redeemed or withdrawn")
	among(cmd, "state", domain.CodeStates...)
	outputFlag(cmd, &output)
	return cmd
}

func (p *program) exportCodes(ctx context.Context, r *remote, pool, state, output string) error {
	b, err := r.read(ctx, pool, "stock")
	if err != nil {
		return err
	}
	var s stock
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("answer of %s: %w", r.server, err)
	}
	total, query := s.Total, url.Values{}
	if state != "" {
		total = map[string]int64{
			"available": s.Available, "scheduled": s.Scheduled, "issued": s.Issued, "expired": s.Expired, "blocked": s.Withdrawn, "redeemed": s.Redeemed,
		}[state]
		query.Set("state", state)
	}
	bar := p.meter(total, "exporting codes")
	passed := &lines{seen: func(n int64) { _ = bar.Set64(min(n, total)) }}
	err = p.download(ctx, r, pathTo("pools", pool, "codes.csv")+"?"+query.Encode(), output, passed)
	_ = bar.Finish() // a picture
	if err != nil || output == "-" {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%d codes in %s\n", passed.n-1, output) // the first line is the heading
	return err
}
