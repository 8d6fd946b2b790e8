package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"promopool/internal/domain"
)

func (p *program) importsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "imports",
		Short: "List, follow and cancel imports, and get their files back",
		Long:  "An import is the task of filling a pool from a file; promopool import begins one.",
		Example: `  promopool imports list beach
  promopool imports show 12 --follow
  promopool imports cancel 12`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.importsListCommand(), p.importsShowCommand(), p.importsCancelCommand(), p.importsRejectedCommand(), p.importsFileCommand())
	return cmd
}

func (p *program) importsListCommand() *cobra.Command {
	var r remote
	var status, kind, by string
	cmd := &cobra.Command{
		Use:   "list [POOL]",
		Short: "List imports, of a pool or all, the newest first",
		Example: `  promopool imports list
  promopool imports list beach --status failed
  promopool imports list --by anna --kind generation`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, query := pathTo("imports"), asking(map[string]string{"status": status, "kind": kind, "actor": by})
			if len(args) == 1 {
				path = pathTo("pools", args[0], "imports")
			}
			items, err := r.list(cmd.Context(), path, query)
			if len(args) == 1 && isProblem(err, "not-found") {
				return about("pool", args[0], err)
			}
			if err != nil {
				return err
			}
			return showAll(p, &r, items, "TASK\tPOOL\tSTATUS\tROWS\tADDED\tMOVED\tREFUSED\tBY\tWHEN\tFILE OR PATTERN", func(w io.Writer, t importTask) {
				fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n",
					t.Task, t.PoolID, statusText(t.Status), t.Rows, t.Added, t.Moved, t.Refused, t.Actor, localTime(t.CreatedAt), t.FileName+t.Pattern)
			})
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().StringVar(&status, "status", "", "only those with this `status`: waiting, running, completed, completed_with_refusals, failed or cancelled")
	cmd.Flags().StringVar(&kind, "kind", "", "only those of this `kind`: file, generation or replenishment")
	cmd.Flags().StringVar(&by, "by", "", "only those that this `name` began")
	among(cmd, "status", domain.ImportStatuses...)
	among(cmd, "kind", domain.ImportKinds...)
	return cmd
}

func (p *program) importsShowCommand() *cobra.Command {
	var r remote
	var follow bool
	cmd := &cobra.Command{
		Use:   "show TASK",
		Short: "Show how far an import is, or what became of it",
		Long: `show tells how far an import is, or what became of it. With --follow it shows the
progress until the import has ended, and exits 1 when it failed or was cancelled.`,
		Example: `  promopool imports show 12
  promopool imports show 12 --follow`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodGet, pathTo("imports", args[0]), nil)
			if err != nil {
				return aboutImport(args[0], err)
			}
			if follow {
				_, err = p.showToEnd(cmd.Context(), &r, b)
				return err
			}
			return show(p, &r, b, func(w io.Writer, t importTask) { t.write(w) })
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until it has ended")
	return cmd
}

func (p *program) importsCancelCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "cancel TASK",
		Short: "End an import before its end",
		Long: `cancel ends an import that waits or runs, in whichever process. Codes that are in
stay in the pool; no more come.`,
		Example: "  promopool imports cancel 12",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.do(cmd.Context(), http.MethodPost, pathTo("imports", args[0], "cancel"), nil)
			if err != nil {
				return aboutImport(args[0], err)
			}
			return show(p, &r, b, func(w io.Writer, t importTask) { t.write(w) })
		},
	}
	r.flags(cmd.Flags())
	return cmd
}

func (p *program) importsRejectedCommand() *cobra.Command {
	return p.importsDownload("rejected.csv", &cobra.Command{
		Use:   "rejected TASK",
		Short: "Get the refused rows of an import",
		Long: `rejected gives the refused rows as they came, with their line and the reason behind
them. Corrected, they can be imported as they are.`,
		Example: "  promopool imports rejected 12 --output refused.csv",
	})
}

func (p *program) importsFileCommand() *cobra.Command {
	return p.importsDownload("file", &cobra.Command{
		Use:     "file TASK",
		Short:   "Get the file of an import back as it came",
		Long:    "file gives the uploaded file back, for 30 days unless the server keeps files for another time.",
		Example: "  promopool imports file 12 --output codes.csv",
	})
}

// importsDownload makes a command of one that gets something of an import.
func (p *program) importsDownload(what string, cmd *cobra.Command) *cobra.Command {
	var r remote
	var output string
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return aboutImport(args[0], p.download(cmd.Context(), &r, pathTo("imports", args[0], what), output, io.Discard))
	}
	r.serverFlags(cmd.Flags())
	outputFlag(cmd, &output)
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "-", "write to this `file`; -: to standard output")
}

func aboutImport(task string, err error) error {
	if isProblem(err, "not-found") {
		return told{fmt.Sprintf("there is no import %s: promopool imports list shows all", task), err}
	}
	return err
}

// statusText is a status as people read it.
func statusText(status string) string { return strings.ReplaceAll(status, "_", " ") }
