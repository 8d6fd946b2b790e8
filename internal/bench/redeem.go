package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	requesting "promopool/internal/load"
)

// RedeemConfig says how redemptions are measured.
type RedeemConfig struct {
	Config
	// Connections over which redemptions come by HTTP, all of them kept alive.
	Connections int
}

// Redeem measures redemptions: of a backlog on Kafka, beside issuing the same
// codes, and by HTTP, as many as go and then at half of that rate.
func Redeem(ctx context.Context, c RedeemConfig) (*Figures, error) {
	c.Only = []string{"d"} // no table of a baseline is filled
	r := &redeemer{connections: c.Connections}
	return inRounds(ctx, c.Config, func(ctx context.Context, w *world, f *Figures, n int) error {
		if r.world = w; n == 0 {
			if err := w.fill(ctx); err != nil {
				return err
			}
			if err := r.round(ctx, &Figures{}); err != nil {
				return fmt.Errorf("warm up: %w", err)
			}
		}
		return r.round(ctx, f)
	})
}

type redeemer struct {
	*world
	connections int
	redeemed    int64
}

// given is a code that was issued.
type given struct{ code, customer string }

func (r *redeemer) round(ctx context.Context, f *Figures) error {
	var began time.Time
	if err := r.db.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&began); err != nil {
		return err
	}
	issuing, err := r.issue(ctx)
	if err != nil {
		return fmt.Errorf("issue: %w", err)
	}
	codes, err := r.givenSince(ctx, began)
	if err != nil {
		return err
	}
	half, most := len(codes)/2, len(codes)*3/4
	if err := r.backlogOf(ctx, codes[:half]); err != nil {
		return fmt.Errorf("publish the backlog: %w", err)
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	ends, err := r.ends(ctx, r.names.RedemptionOutcomes)
	if err != nil {
		return err
	}
	return errors.Join(r.with(ctx, func(s *served, base string) error {
		before := spend(s.process.Pid())
		m, err := r.watch(ctx, r.names.RedemptionOutcomes, sum(ends), int64(half), nil)
		if err != nil {
			return err
		}
		drained := Rate{m.steady(), spend(s.process.Pid()).since(before).per(m.total())}
		f.add("issued, over Kafka", "/s", issuing.PerSecond)
		f.add("redeemed, over Kafka", "/s", drained.PerSecond)
		f.add("redeemed over Kafka, of issued", "", drained.PerSecond/issuing.PerSecond)
		r.say("  issued   over Kafka %v", issuing)
		r.say("  redeemed over Kafka %v", drained)
		return r.overHTTP(ctx, f, s.process.Pid(), base, codes[half:most], codes[most:])
	}), r.verify(ctx, half))
}

// issue has the service issue a backlog, and returns at what rate.
func (r *redeemer) issue(ctx context.Context) (rate Rate, _ error) {
	if _, err := r.backlog(ctx, r.Requests); err != nil {
		return rate, err
	}
	if err := r.ensure(ctx, r.Requests); err != nil {
		return rate, err
	}
	if err := r.settle(ctx); err != nil {
		return rate, err
	}
	err := r.withService(ctx, func(s *served, ends []int64) (err error) {
		if rate, err = r.drain(ctx, s, ends); err != nil {
			return err
		}
		return r.listed(ctx)
	})
	return rate, err
}

// listed waits until the service has listed the codes by customer that it has
// issued, as it does behind issuing: it would be done while redemptions are measured.
func (r *redeemer) listed(ctx context.Context) error {
	for left := true; left; time.Sleep(50 * time.Millisecond) {
		if err := r.db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM unlisted)").Scan(&left); err != nil {
			return err
		}
	}
	return nil
}

// givenSince are the codes that were issued since then, in no order.
func (r *redeemer) givenSince(ctx context.Context, then time.Time) ([]given, error) {
	rows, err := r.db.Query(ctx, `SELECT c.code, i.customer_id FROM issuances i JOIN codes c USING (pool, lot, seq)
		WHERE i.issued_at >= $1 ORDER BY i.request_id`, then)
	if err != nil {
		return nil, err
	}
	codes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g given, err error) {
		err = row.Scan(&g.code, &g.customer)
		return g, err
	})
	if err == nil && len(codes) != r.Requests {
		err = fmt.Errorf("%d codes were issued, want %d", len(codes), r.Requests)
	}
	return codes, err
}

// backlogOf publishes redemptions of codes.
func (r *redeemer) backlogOf(ctx context.Context, codes []given) error {
	texts := make([]string, len(codes))
	for i := range codes {
		texts[i] = codes[i].code
	}
	key := func(code, _ string) []byte { return []byte(code) }
	all := requesting.Redemptions{Pool: poolID, Count: len(codes), Codes: texts, Key: key, IDs: requesting.NewIDs("")}
	_, err := requesting.Publish(ctx, requesting.Target{Producer: r.producer, Topic: r.names.RedemptionRequests, Partitions: partitions}, requesting.Pace{},
		all.Messages())
	return err
}

// verify makes sure that what was measured were redemptions.
func (r *redeemer) verify(ctx context.Context, overKafka int) error {
	r.redeemed += int64(overKafka)
	var n int64
	if err := r.db.QueryRow(ctx, "SELECT count(*) FROM redemptions WHERE reason = 0").Scan(&n); err != nil {
		return err
	}
	if n != r.redeemed {
		return fmt.Errorf("%d redemptions are stored, want %d: the figures are worth nothing", n, r.redeemed)
	}
	return nil
}
