package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) customerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "customer",
		Short: "List the codes of a customer, and erase customers",
		Long:  "A customer is known by the customer_id of requests.",
		Example: `  promopool customer codes c-1001
  promopool customer erase c-1001`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.customerCodesCommand(), p.customerEraseCommand())
	return cmd
}

type customerCode struct {
	PoolID     string `json:"pool_id"`
	Code       string
	State      string
	RequestID  string `json:"request_id"`
	IssuedAt   string `json:"issued_at"`
	ValidUntil string `json:"valid_until"`
}

func (c customerCode) write(w io.Writer) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", localTime(c.IssuedAt), c.PoolID, c.Code, c.State, localTime(c.ValidUntil), c.RequestID)
}

func (p *program) customerCodesCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "codes CUSTOMER",
		Short: "List all codes of a customer, the last first",
		Example: `  promopool customer codes c-1001
  promopool customer codes c-1001 --json | jq -r '.[] | select(.state == "issued").code'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			items, err := r.list(cmd.Context(), pathTo("customers", args[0], "codes"), asking(nil))
			if err != nil {
				return err
			}
			return showAll(p, &r, items, "ISSUED\tPOOL\tCODE\tSTATE\tVALID UNTIL\tREQUEST", func(w io.Writer, c customerCode) { c.write(w) })
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

type erasure struct {
	Done        bool
	DoneAt      string `json:"done_at"`
	Issuances   int64
	Redemptions int64
	HeldUntil   string `json:"held_until"`
	Topics      []struct {
		Topic     string
		HeldUntil string `json:"held_until"`
	}
}

func (e erasure) write(w io.Writer) {
	state := "erased " + localTime(e.DoneAt)
	if !e.Done {
		state = "still being erased: ask again to see how far it is"
	}
	fmt.Fprintf(w, "state\t%s\nissuances\t%d\nredemptions\t%d\n", state, e.Issuances, e.Redemptions)
	until := func(name, at string) {
		if at == "" {
			fmt.Fprintf(w, "%s\tkeep what they hold: delete the topic, or give it a retention\n", name)
			return
		}
		fmt.Fprintf(w, "%s\tuntil %s\n", name, localTime(at))
	}
	until("held by topics", e.HeldUntil)
	for _, t := range e.Topics {
		until("  "+t.Topic, t.HeldUntil)
	}
}

func (p *program) customerEraseCommand() *cobra.Command {
	var r remote
	var yes, noWait bool
	cmd := &cobra.Command{
		Use:   "erase CUSTOMER",
		Short: "Erase a customer from the database",
		Long: `erase takes a customer's id, and the contexts and orders that came with it, out of
the database. Counts stay, and so does what was issued, to nobody who can be named;
what the customer is issued later is new. The topics hold what they hold until their
retention has passed: the answer says until when. To do it again erases what is new.`,
		Example: `  promopool customer erase c-1001
  promopool customer erase c-1001 --yes --json | jq -r .held_until`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := p.confirm(cmd.InOrStdin(), fmt.Sprintf("Erase customer %q for good?", args[0])); err != nil {
					return err
				}
			}
			for {
				b, err := r.do(cmd.Context(), http.MethodDelete, pathTo("customers", args[0]), nil)
				if err != nil {
					return err
				}
				var e erasure
				if err := json.Unmarshal(b, &e); err != nil {
					return fmt.Errorf("answer of %s: %w", r.server, err)
				}
				if e.Done || noWait {
					return show(p, &r, b, func(w io.Writer, e erasure) { e.write(w) })
				}
				fmt.Fprintf(p.stderr, "%d issuances and %d redemptions erased, going on\n", e.Issuances, e.Redemptions)
			}
		},
	}
	f := cmd.Flags()
	r.flags(f)
	f.BoolVar(&yes, "yes", false, "do not ask whether it is meant")
	f.BoolVar(&noWait, "no-wait", false, "return after some seconds though it is not done: it goes on by itself")
	return cmd
}

// confirm asks a question that only yes is the right answer to.
func (p *program) confirm(in io.Reader, question string) error {
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(p.stderr) // nobody has ended the line
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done: answer y, or give --yes where nobody can answer")
}
