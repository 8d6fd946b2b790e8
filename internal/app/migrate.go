package app

import (
	"context"

	"promopool/internal/postgres"
)

// Migrate brings the schema of the database up to date. It may be run twice at once.
func Migrate(ctx context.Context, url string) error { return postgres.Migrate(ctx, url) }
