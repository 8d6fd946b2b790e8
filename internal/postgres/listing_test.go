package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/postgres"
)

// TestListsExact: while several partitions issue, listers work whose connections are
// ended at random points, and customers are erased, every snapshot of the database
// tells all codes of every customer, each once.
func TestListsExact(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shopOf("p", 40_000)
	d.shopOf("q", 40_000)
	d.shopOf("many", 10)
	customer := func() string { return fmt.Sprint("c-", rand.IntN(40)) }

	ctx, stop := context.WithCancel(d.ctx)
	defer stop()
	var work errgroup.Group
	var issued atomic.Int64
	issuer := issuing.New(d.Store, "test", prometheus.NewRegistry(), zerolog.Nop())
	for number := range 3 {
		work.Go(func() error {
			part, err := issuer.Open(ctx, "stream", number, 12, 0)
			if err != nil {
				return err
			}
			defer part.Close()
			for at := int64(0); ctx.Err() == nil; {
				requests := make([]domain.Request, 1+rand.IntN(40))
				for i := range requests {
					requests[i] = domain.Request{
						Offset: at + int64(i), PoolID: []string{"p", "q", "many"}[rand.IntN(3)], RequestID: fmt.Sprint(number, "-", at+int64(i)), CustomerID: customer(),
					}
				}
				end := at + int64(len(requests))
				if _, _, err := part.Issue(context.WithoutCancel(ctx), at, end, requests); err != nil {
					return err
				}
				issued.Add(int64(len(requests)))
				at = end
			}
			return nil
		})
	}
	lister, err := postgres.Open(d.ctx, d.url, "lister", 3)
	if err != nil {
		t.Fatal(err)
	}
	defer lister.Close()
	var listed, lost atomic.Int64
	for range 2 {
		work.Go(func() error {
			for ctx.Err() == nil {
				switch done, err := lister.ListCodes(ctx, 1+rand.IntN(200)); {
				case err == nil:
					listed.Add(done.Codes)
				case ctx.Err() == nil && !errors.Is(err, domain.ErrAway) && !errors.Is(err, domain.ErrUnsure):
					return err
				default:
					lost.Add(1)
				}
			}
			return nil
		})
	}
	work.Go(func() error { return erase(ctx, lister, customer) })
	killer, err := pgx.Connect(d.ctx, d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(d.ctx)
	var killed atomic.Int64
	work.Go(func() error {
		for ctx.Err() == nil {
			var n int64
			if err := killer.QueryRow(context.WithoutCancel(ctx), `SELECT count(pg_terminate_backend(pid)), pg_sleep(random() * 0.02)
				FROM pg_stat_activity WHERE application_name = 'lister' AND state <> 'idle' AND datname = current_database() AND random() < 0.5`).Scan(&n, nil); err != nil {
				return err
			}
			killed.Add(n)
		}
		return nil
	})

	d.Exec("SET default_transaction_isolation = 'repeatable read'")
	ids := []string{}
	for i := range 40 {
		ids = append(ids, fmt.Sprint("c-", i))
	}
	checks, codes := 0, 0
	for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline) || killed.Load() < 20; checks++ {
		codes += d.exact(ids)
		if t.Failed() {
			break
		}
	}
	stop()
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	d.Exec("SET default_transaction_isolation = 'read committed'")
	d.ListAll(10_000)
	d.exact(ids)
	if n := d.Int("SELECT count(*) FROM issuances") - d.Int("SELECT count(*) FROM customer_codes"); n != 0 {
		t.Errorf("%d issuances more than are listed", n)
	}
	t.Logf("%d issued, %d listed by the listers, %d of their connections ended; %d snapshots, %d codes looked at", issued.Load(), listed.Load(), killed.Load(), checks, codes)
	if listed.Load() == 0 || codes == 0 {
		t.Error("nothing was shown")
	}
}

// erase erases customers one after the other until ctx ends.
func erase(ctx context.Context, s *postgres.Store, customer func() string) error {
	for ctx.Err() == nil {
		e, err := s.BeginErasure(ctx, "test", customer())
		for more := err == nil; more && ctx.Err() == nil; {
			more, err = s.ErasePiece(ctx, e, 50)
		}
		if err == nil {
			err = s.MarkErasure(ctx, e, domain.ErasureMarks{Stream: "stream", Ends: make([]int64, 12), RedemptionEnds: make([]int64, 12)})
		}
		if err == nil {
			_, err = s.FinishErasure(ctx, e)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, domain.ErrAway) && !errors.Is(err, domain.ErrUnsure) {
			return err
		}
	}
	return nil
}

// exact compares, in one snapshot, what is told of customers and of those that were
// erased with what there is, and returns how many codes that were.
func (d *desk) exact(ids []string) (codes int) {
	d.t.Helper()
	tx, err := d.sql.BeginTx(d.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		d.t.Fatal(err)
	}
	defer tx.Rollback(d.ctx) //nolint:errcheck // nothing was written
	rows, err := tx.Query(d.ctx, "SELECT DISTINCT pseudonym FROM erasures ORDER BY 1")
	if err != nil {
		d.t.Fatal(err)
	}
	aliases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	for _, id := range append([]string{ids[rand.IntN(len(ids))], ids[rand.IntN(len(ids))]}, aliases[:min(2, len(aliases))]...) {
		a, b := postgres.SketchHash(id)
		rows, err := tx.Query(d.ctx, "SELECT request_id FROM codes_of_customer($1, $2, $3, 'infinity', 2147483647, 2147483647, 0, 1000000)", id, a, b)
		if err != nil {
			d.t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			d.t.Fatal(err)
		}
		rows, err = tx.Query(d.ctx, "SELECT request_id FROM issuances WHERE customer_id = $1 ORDER BY issued_at DESC, pool DESC, lot DESC, seq DESC", id)
		if err != nil {
			d.t.Fatal(err)
		}
		want, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			d.t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			d.t.Errorf("%s has %d, told are %d (-want +got)\n%s", id, len(want), len(got), diff)
		}
		codes += len(want)
	}
	return codes
}

// TestSketch: nobody who is in a sketch is missed, and few who are not are found, by
// the database that reads what the program has written.
func TestSketch(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	hold := func(sketch []byte, customer string) (may bool) {
		a, b := postgres.SketchHash(customer)
		if err := d.sql.QueryRow(d.ctx, "SELECT may_hold($1, $2, $3)", sketch, a, b).Scan(&may); err != nil {
			t.Fatal(err)
		}
		return may
	}
	wrong, asked := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.String(), 1, 200).Draw(t, "customers")
		issues := make([]domain.NewIssue, len(ids))
		in := map[string]bool{}
		for i, id := range ids {
			issues[i].Issuance = &domain.Issuance{CustomerID: id}
			in[id] = true
		}
		sketch := postgres.SketchOf(issues)
		if id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")]; !hold(sketch, id) {
			t.Fatalf("%q is missed", id)
		}
		for i := range 20 {
			if id := fmt.Sprint("other-", i); !in[id] {
				asked++
				if hold(sketch, id) {
					wrong++
				}
			}
		}
	})
	if wrong*50 > asked {
		t.Errorf("%d of %d others are taken for one of them", wrong, asked)
	}
	if !hold(nil, "x") {
		t.Error("without a sketch nobody is looked for")
	}
}
