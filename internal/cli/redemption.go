package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"promopool/internal/load"
)

// redemption is the answer to one, redeemed or not.
type redemption struct {
	RedemptionID string `json:"redemption_id"`
	PoolID       string `json:"pool_id"`
	Code         string
	CustomerID   string `json:"customer_id"`
	OrderID      string `json:"order_id"`
	OccurredAt   string `json:"occurred_at"`
	IssuedTo     string `json:"issued_to"`
	RedeemedAt   string `json:"redeemed_at"`
	Processing   string
	RolledBackAt string `json:"rolled_back_at"`
	Reason       string
	Detail       string
	RejectedAt   string `json:"rejected_at"`
	Context      json.RawMessage
}

// write names the moment at which it is redeemed, or would be.
func (r redemption) write(w io.Writer, redeemed string) {
	rows := [][2]string{
		{"redemption", r.RedemptionID}, {"pool", r.PoolID}, {"code", r.Code}, {"customer", r.CustomerID}, {"order", r.OrderID},
		{"happened", localTime(r.OccurredAt)}, {"issued to", r.IssuedTo}, {redeemed, localTime(r.RedeemedAt)}, {"processing", r.Processing},
		{"rolled back", localTime(r.RolledBackAt)}, {"reason", r.Reason}, {"detail", r.Detail}, {"rejected", localTime(r.RejectedAt)},
	}
	for _, row := range rows {
		if row[1] != "" && row[1] != "-" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	if len(r.Context) > 0 && string(r.Context) != "null" {
		fmt.Fprintf(w, "context\t%s\n", r.Context)
	}
}

// redeemingFlags are what a redemption says beside its code.
type redeemingFlags struct {
	redemption, customer, order, occurred, context string
}

func (f *redeemingFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.redemption, "redemption", "", "`id` of the redemption, another for each; a repeat of it gets the first answer")
	cmd.Flags().StringVar(&f.customer, "customer", "", "`id` of the customer who redeems it")
	cmd.Flags().StringVar(&f.order, "order", "", "`id` of what it is redeemed for")
	cmd.Flags().StringVar(&f.occurred, "occurred-at", "", "`time` at which it happened, such as 2026-07-01T10:00:00Z, at most a day ago")
	cmd.Flags().StringVar(&f.context, "context", "", "JSON `object` to be handed back with the answer")
}

func (f *redeemingFlags) body() (map[string]any, error) {
	body := map[string]any{}
	for name, value := range map[string]string{"redemption_id": f.redemption, "customer_id": f.customer, "order_id": f.order, "occurred_at": f.occurred} {
		if value != "" {
			body[name] = value
		}
	}
	if f.context != "" {
		if !json.Valid([]byte(f.context)) {
			return nil, usageError{errors.New("--context is not JSON")}
		}
		body["context"] = json.RawMessage(f.context)
	}
	return body, nil
}

func (p *program) codeRedeemCommand() *cobra.Command {
	return p.tryCommand("redeem", &cobra.Command{
		Use:   "redeem POOL CODE",
		Short: "Redeem a code",
		Long: `redeem redeems one code, and exits 1 with the reason where it is not redeemed. When
the answer got lost ask again with the same --redemption; without one it is made up
and shown in the answer.`,
		Example: `  promopool code redeem beach SUN-4711 --customer c-1001 --order order-4711
  promopool code redeem beach SUN-4711 --redemption till-3/88121 --json | jq -r .redeemed_at`,
	})
}

func (p *program) codeCheckCommand() *cobra.Command {
	return p.tryCommand("check", &cobra.Command{
		Use:     "check POOL CODE",
		Short:   "Ask whether a code would be redeemed, and change nothing",
		Long:    "check asks what a redemption would be answered, and exits 1 with the reason where the code\nwould not be redeemed. Nothing changes.",
		Example: `  promopool code check beach SUN-4711 --customer c-1001`,
	})
}

func (p *program) tryCommand(verb string, cmd *cobra.Command) *cobra.Command {
	var r remote
	var f redeemingFlags
	cmd.Args = cobra.ExactArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.redemption == "" && verb == "redeem" {
			f.redemption = newRedemptionID()
		}
		body, err := f.body()
		if err != nil {
			return err
		}
		b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], "codes", args[1], verb), body)
		if isProblem(err, "outcome-unknown") {
			return told{fmt.Sprintf("the answer got lost: ask again with --redemption %s", f.redemption), err}
		}
		if err != nil {
			return about("pool", args[0], err)
		}
		redeemed := map[string]string{"redeem": "redeemed", "check": "would be redeemed"}[verb]
		return show(p, &r, b, func(w io.Writer, done redemption) { done.write(w, redeemed) })
	}
	r.flags(cmd.Flags())
	f.flags(cmd)
	return cmd
}

func (p *program) redemptionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redemption",
		Short: "Look redemptions up, and roll them back",
		Long:  "A redemption is known by its id, which belongs to its pool. Its first answer is kept: for good\nwhere the code was redeemed, for 30 days where it was not.",
		Example: `  promopool redemption show beach till-3/88121
  promopool redemption rollback beach till-3/88121`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.oneRedemptionCommand(http.MethodGet, &cobra.Command{
			Use:     "show POOL REDEMPTION",
			Short:   "Show what a redemption was answered",
			Example: "  promopool redemption show beach till-3/88121",
		}),
		p.oneRedemptionCommand(http.MethodPost, &cobra.Command{
			Use:   "rollback POOL REDEMPTION",
			Short: "Roll a redemption back: the code may be redeemed again",
			Long: `rollback takes a redemption back, once; again changes nothing. The code may be
redeemed again, under another id. A code that was redeemed without having been
issued does not return to the stock: someone has it.`,
			Example: "  promopool redemption rollback beach till-3/88121",
		}, "rollback"),
	)
	return cmd
}

func (p *program) oneRedemptionCommand(method string, cmd *cobra.Command, verb ...string) *cobra.Command {
	var r remote
	cmd.Args = cobra.ExactArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := r.do(cmd.Context(), method, pathTo(append([]string{"pools", args[0], "redemptions", args[1]}, verb...)...), nil)
		if isProblem(err, "not-found") {
			return told{fmt.Sprintf("pool %s knows no redemption %q, or there is no such pool; rejected ones are forgotten after 30 days", args[0], args[1]), err}
		}
		if err != nil {
			return about("redemption", args[1], err)
		}
		return show(p, &r, b, func(w io.Writer, done redemption) { done.write(w, "redeemed") })
	}
	r.flags(cmd.Flags())
	return cmd
}

// newRedemptionID makes up an id that no other redemption has.
func newRedemptionID() string {
	ids := load.NewIDs("cli-")
	return ids.At(0, time.Now())
}
