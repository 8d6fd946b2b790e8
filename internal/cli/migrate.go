package cli

import (
	"github.com/spf13/cobra"

	"promopool/internal/app"
)

func (p *program) migrateCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: `migrate changes the database's schema to what this version of promopool needs.
It may run while older processes serve, and twice at once.`,
		Example: `  promopool migrate --database-url postgres://promopool@db/promopool`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "database-url"); err != nil {
				return err
			}
			if err := app.Migrate(cmd.Context(), url); err != nil {
				return err
			}
			p.log.Info().Msg("schema is up to date")
			return nil
		},
	}
	databaseFlag(cmd.Flags(), &url)
	return cmd
}
