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

// SketchHash are the two hashes by which a customer is looked for in sketches.
func SketchHash(customer string) (a, b int64) {
	x, y := sketchHash(customer)
	return int64(x), int64(y)
}

// SketchOf is the sketch of customers.
var SketchOf = sketchOf
