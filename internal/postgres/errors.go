package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/issuing"
)

// constraints maps what the database refuses by name to what it means. A
// constraint that is not here is a mistake of ours and stays an error.
var constraints = map[string]error{
	"campaigns_id_key":    domain.ErrTaken,
	"pools_id_key":        domain.ErrTaken,
	"pools_campaign_fkey": domain.ErrInUse,
	"staff_id_key":        domain.ErrTaken,

	// It was deleted after it was looked up.
	"subscriptions_campaign_fkey": domain.ErrNoScope,
	"subscriptions_pool_fkey":     domain.ErrNoScope,
}

// meaning turns an error of PostgreSQL into the domain's or the issuer's, where
// it has a meaning there.
func meaning(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if pg.Code == "PP006" {
		return domain.ErrUploaded // said before, unless by a program that is older
	}
	if m, ok := constraints[pg.ConstraintName]; ok {
		return m
	}
	return err
}

// protocolErrors maps the codes that the schema's functions raise.
var protocolErrors = map[string]error{
	"PP001": issuing.ErrFenced,
	"PP002": issuing.ErrCursor,
	"PP003": issuing.ErrAgain,
	"PP005": issuing.ErrGate,
	"40P01": issuing.ErrAgain, // deadlock_detected
	"40001": issuing.ErrAgain, // serialization_failure
	"55P03": issuing.ErrBlocked,
}

// decisionConstraints maps the constraints that a batch can run into.
var decisionConstraints = map[string]error{
	"issuances_request_key":      issuing.ErrRaced,
	"issuances_pkey":             issuing.ErrPlaceTaken,
	"issuances_request_bounded":  issuing.ErrPoison,
	"issuances_customer_bounded": issuing.ErrPoison,
	"issuances_context_bounded":  issuing.ErrPoison,
	"batches_pkey":               issuing.ErrCorrupt, // a range decided twice
	"batches_ordered":            issuing.ErrCorrupt,
	"runs_ordered":               issuing.ErrCorrupt,
	"runs_pkey":                  issuing.ErrCorrupt, // runs that overlap
}

// decisionError turns an error of PostgreSQL or of the way to it into one that
// the issuer knows. Whatever is not certain to have written nothing is
// issuing.ErrUnknown.
func decisionError(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{issuing.ErrFenced, issuing.ErrCorrupt, issuing.ErrUnknown, issuing.ErrGate} {
		if errors.Is(err, known) {
			return err
		}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if m, ok := protocolErrors[pg.Code]; ok {
			return fmt.Errorf("%w (%s)", m, pg.Code)
		}
		if m, ok := decisionConstraints[pg.ConstraintName]; ok {
			// Without the detail: it shows values.
			return fmt.Errorf("%w (%s)", m, pg.ConstraintName)
		}
		if strings.HasPrefix(pg.Code, "22") {
			return fmt.Errorf("%w (%s)", issuing.ErrPoison, pg.Code)
		}
	}
	return fmt.Errorf("%w: %w", issuing.ErrUnknown, err)
}

// importErrors maps what a chunk of an import can run into.
var importErrors = map[string]error{
	"PP004":          importing.ErrPoolClosed,
	"PP005":          importing.ErrEnded,
	"PP006":          importing.ErrGenerated,
	"codes_code_key": importing.ErrClash,
	"55P03":          importing.ErrBusy,
	"40P01":          importing.ErrBusy,
	"40001":          importing.ErrBusy,
}

func importError(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	for _, name := range []string{pg.Code, pg.ConstraintName} {
		if m, ok := importErrors[name]; ok {
			return m
		}
	}
	return err
}
