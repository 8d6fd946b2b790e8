package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

type issuance struct {
	RequestID     string `json:"request_id"`
	PoolID        string `json:"pool_id"`
	CampaignID    string `json:"campaign_id"`
	CustomerID    string `json:"customer_id"`
	Code          string
	ParameterName string `json:"parameter_name"`
	IssuedAt      string `json:"issued_at"`
	ValidFrom     string `json:"valid_from"`
	ValidUntil    string `json:"valid_until"`
	Context       json.RawMessage
}

func (i issuance) write(w io.Writer) {
	fmt.Fprintf(w, "request\t%s\ncustomer\t%s\ncode\t%s\nparameter name\t%s\n", i.RequestID, i.CustomerID, i.Code, i.ParameterName)
	fmt.Fprintf(w, "pool\t%s\ncampaign\t%s\nissued\t%s\nvalid\t%s to %s\n", i.PoolID, i.CampaignID, localTime(i.IssuedAt), localTime(i.ValidFrom), localTime(i.ValidUntil))
	if string(i.Context) != "null" {
		fmt.Fprintf(w, "context\t%s\n", i.Context)
	}
}

func (p *program) issuanceCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "issuance POOL REQUEST",
		Short: "Look up which code a request was given",
		Long:  "issuance shows the code that a request was given, by the request's id. With --json it prints the\ndata of the event code.issued.",
		Example: `  promopool issuance beach 018f6d1e-7a52-7c3b-9a51-0c9d3a7e1f00
  promopool issuance beach order-4711 --json | jq -r .customer_id`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("pools", args[0], "issuances", args[1]), nil)
			if isProblem(err, "not-found") {
				return told{fmt.Sprintf("pool %s has given no code to a request %q, or there is no such pool: see promopool pool list", args[0], args[1]), err}
			}
			if err != nil {
				return about("pool", args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, i issuance) { i.write(w) })
		},
	}
	r.flags(cmd.Flags())
	return cmd
}
