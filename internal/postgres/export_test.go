package postgres

import "context"

// MigrateTo brings the schema up to a version only.
func MigrateTo(ctx context.Context, url string, version int64) error {
	p, closeDB, err := migrator(url)
	if err != nil {
		return err
	}
	defer closeDB() //nolint:errcheck // nothing is written through it any more
	_, err = p.UpTo(ctx, version)
	return err
}
