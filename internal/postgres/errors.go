package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/domain"
)

// constraints maps what the database refuses by name to what it means. A
// constraint that is not here is a mistake of ours and stays an error.
var constraints = map[string]error{
	"campaigns_id_key":    domain.ErrTaken,
	"pools_id_key":        domain.ErrTaken,
	"pools_campaign_fkey": domain.ErrInUse,
}

// meaning turns an error of PostgreSQL into the domain's or the issuer's, where
// it has a meaning there.
func meaning(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if m, ok := constraints[pg.ConstraintName]; ok {
		return m
	}
	return err
}
