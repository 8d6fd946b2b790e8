package cli

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// issueFlags say to whom a code is issued by hand.
func issueFlags(cmd *cobra.Command) {
	cmd.Flags().String("request-id", "", "`text` that names this issue in the pool: a repeat gets the same code")
	cmd.Flags().String("customer", "", "`id` of the customer who gets the code")
}

// issueBody is what the server is asked for.
func issueBody(cmd *cobra.Command) map[string]string {
	return map[string]string{"request_id": cmd.Flag("request-id").Value.String(), "customer_id": cmd.Flag("customer").Value.String()}
}

func (p *program) issueCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "issue POOL",
		Short: "Issue the next code of a pool by hand",
		Long: `issue gives a customer the next code of a pool, as a request over Kafka would get it,
and tells of it on Kafka. The request's id belongs to the pool: a repeat, here or over
Kafka, gets the same code. promopool code issue takes one very code.`,
		Example: `  promopool issue beach --request-id desk-7/0815 --customer c-1001
  promopool issue beach --request-id desk-7/0815 --customer c-1001 --json | jq -r .code`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "request-id", "customer"); err != nil {
				return err
			}
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], "issue"), issueBody(cmd))
			if err != nil {
				return about("pool", args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, i issuance) { i.write(w) })
		},
	}
	r.flags(cmd.Flags())
	issueFlags(cmd)
	return cmd
}

func (p *program) codeIssueCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "issue POOL CODE",
		Short: "Mark one very code as issued to a customer",
		Long: `issue takes the code from wherever it is, so that nobody else gets it, marks it as issued
to the customer, and tells of it on Kafka. The request's id belongs to the pool: a
repeat changes nothing and shows the same.`,
		Example: "  promopool code issue beach SUN-4711 --request-id desk-7/0815 --customer c-1001",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "request-id", "customer"); err != nil {
				return err
			}
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], "codes", args[1], "issue"), issueBody(cmd))
			if err != nil {
				return aboutCode(args[0], args[1], err)
			}
			return show(p, &r, b, func(w io.Writer, i issuance) { i.write(w) })
		},
	}
	r.flags(cmd.Flags())
	issueFlags(cmd)
	return cmd
}

func (p *program) codeBlockCommand() *cobra.Command {
	return p.codeChangeCommand("block", &cobra.Command{
		Short: "Block a code: it is neither issued nor redeemed",
		Long: `block takes the code out of the stock, wherever it is. A code that was issued stays its
customer's and is not redeemed, where promopool judges. code unblock undoes it.`,
		Example: "  promopool code block beach SUN-4711 --note 'printed in a newspaper'",
	})
}

func (p *program) codeUnblockCommand() *cobra.Command {
	return p.codeChangeCommand("unblock", &cobra.Command{
		Short:   "End the block of a code",
		Long:    "unblock puts a code that nobody has back into the stock; an issued one can be redeemed again.",
		Example: "  promopool code unblock beach SUN-4711 --note 'a misprint, after all'",
	})
}

// codeChangeCommand makes a command of a verb that codes have.
func (p *program) codeChangeCommand(verb string, cmd *cobra.Command) *cobra.Command {
	var r remote
	var note string
	cmd.Use = verb + " POOL CODE"
	cmd.Args = cobra.ExactArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var body any
		if note != "" {
			body = map[string]string{"note": note}
		}
		b, err := r.do(cmd.Context(), http.MethodPost, pathTo("pools", args[0], "codes", args[1], verb), body)
		if err != nil {
			return aboutCode(args[0], args[1], err)
		}
		return show(p, &r, b, func(w io.Writer, c code) { c.write(w) })
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVar(&note, "note", "", "`text` for the code's history: why")
	return cmd
}

// aboutCode names the code that is not there.
func aboutCode(pool, code string, err error) error {
	if isProblem(err, "not-found") {
		return told{fmt.Sprintf("pool %s has no code %q, or there is no such pool", pool, code), err}
	}
	return err
}
