package cli

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
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
	History []struct{ At, Event string }
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
	for _, h := range c.History {
		fmt.Fprintf(w, "%s\t%s\n", h.Event, localTime(h.At))
	}
}

func (p *program) codeCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:     "code POOL CODE",
		Short:   "Look a code up: its state, its dates, who has it",
		Example: "  promopool code beach SUN-4711",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("pools", args[0], "codes", args[1]), nil)
			if isProblem(err, "not-found") {
				return fmt.Errorf("pool %s has no code %q, or there is no such pool", args[0], args[1])
			}
			if err != nil {
				return about("pool", args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, c code) { c.write(w) })
		},
	}
	r.flags(cmd.Flags())
	return cmd
}
