package importing_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

// writeRandomFile writes a file of n codes as the service described exports them.
func writeRandomFile(to io.Writer, n int) error {
	w := bufio.NewWriter(to)
	w.WriteString("Code;IssueStartDateTimeUtc;IssueEndDateTimeUtc;AvailableFromDateTimeUtc;AvailableTillDateTimeUtc\r\n") //nolint:errcheck // Flush tells
	for code := range randomCodes(n) {
		fmt.Fprintf(w, "%s;2026-01-01 00:00:00;2098-12-31 23:59:59;2026-01-01 00:00:00;2099-01-31 00:00:00\r\n", code)
	}
	return w.Flush()
}

// randomCodes are always the same.
func randomCodes(n int) iter.Seq[string] {
	const alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	return func(yield func(string) bool) {
		r := rand.New(rand.NewPCG(1, 2))
		for range n {
			var c [13]byte
			for j := range c {
				c[j] = alphabet[r.IntN(len(alphabet))]
			}
			if !yield(string(c[:])) {
				return
			}
		}
	}
}

// BenchmarkImport imports a million codes, in turn with one COPY of the same
// rows into a table of the same shape, which is the limit.
func BenchmarkImport(b *testing.B) {
	const n = 1_000_000
	var file bytes.Buffer
	if err := writeRandomFile(&file, n); err != nil {
		b.Fatal(err)
	}
	codes := slices.Collect(randomCodes(n))
	var imported, copied time.Duration
	for b.Loop() {
		w := newWorld(b)
		began := time.Now()
		w.copyPlainly(codes)
		copied += time.Since(began)

		task := w.upload("mugs", bytes.NewReader(file.Bytes())).Task
		began = time.Now()
		stop := w.run(w.store)
		if i := w.end(task); i.Status != domain.ImportCompleted || i.Added != n {
			b.Fatalf("got %+v", i)
		}
		imported += time.Since(began)
		stop()
	}
	rate := func(d time.Duration) float64 { return float64(n) * float64(b.N) / d.Seconds() }
	b.ReportMetric(rate(imported), "rows/s")
	b.ReportMetric(rate(copied), "copied/s")
	b.ReportMetric(copied.Seconds()/imported.Seconds(), "of-limit")
	b.ReportMetric(0, "ns/op")
}

func (w *world) copyPlainly(codes []string) {
	w.Helper()
	ctx := context.Background()
	if _, err := w.conn.Exec(ctx, `CREATE TABLE plain (LIKE codes INCLUDING ALL)`); err != nil {
		w.Fatal(err)
	}
	seq := int64(-1)
	_, err := w.conn.CopyFrom(ctx, pgx.Identifier{"plain"}, []string{"pool", "lot", "seq", "code"}, pgx.CopyFromFunc(func() ([]any, error) {
		if seq++; seq == int64(len(codes)) {
			return nil, nil
		}
		return []any{int32(1), int32(1), seq, codes[seq]}, nil
	}))
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.conn.Exec(ctx, `DROP TABLE plain; CHECKPOINT`); err != nil {
		w.Fatal(err)
	}
}
