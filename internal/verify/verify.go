// Package verify is the auditor. It reads the topics and the database, shares
// none of the code that issues, and says of each invariant whether it holds.
// The work is done by SQL: what the topics say goes into temporary tables, and
// each file in rules finds the rows that break one rule. Nothing else is
// written, and no code's text leaves the database or shows in a report. Of the
// service's code it uses what means the same whoever uses it: the decoder of
// requests, and the generator that makes a code of its number.
//
// On a live system it audits a consistent cut: first the group's offsets, then
// the ends of the topics, then, once these are read, one snapshot of the
// database. A decision is committed before it is published and published
// before its offset is committed, so each of these must be backed by the next.
package verify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/topics"
)

// Config says what to audit.
type Config struct {
	Client      *kafka.Client
	Prefix      string // of topics and groups
	DatabaseURL string
	Progress    func(step string) // called before each step; may be nil

	distinct bool // samples of all violations, as far as they are told apart
}

// Run audits once. An error means that it could not; broken invariants are in
// the report.
func Run(ctx context.Context, c Config) (Report, error) {
	start := time.Now()
	a := &audit{config: c, names: topics.Named(c.Prefix), flaws: map[int][]Finding{}}
	if a.config.Progress == nil {
		a.config.Progress = func(string) {}
	}
	defer a.close()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"look up topics and offsets", a.mark},
		{"connect to the database", a.connect},
		{"look up issues by hand", a.markByHand},
		{"look up what was told", a.markNotices},
		{"read outcomes", a.readOutcomes},
		{"read dead letters", a.readLetters},
		{"read requests", a.readRequests},
		{"read verdicts", a.readVerdicts},
		{"look up redemptions", a.markRedemptions},
		{"read outcomes of redemptions", a.readRedemptionOutcomes},
		{"read dead letters of redemptions", a.readRedemptionLetters},
		{"read redemption requests", a.readRedemptionRequests},
		{"read notices", a.readNotices},
		{"compare", a.compare},
	} {
		a.config.Progress(step.name)
		if err := step.run(ctx); err != nil {
			return Report{}, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	a.report.Seconds = time.Since(start).Seconds()
	return a.report, nil
}

// audit is the state of one Run; its steps are called in order.
type audit struct {
	config Config
	names  topics.Names

	// from mark
	stream    string
	requests  log
	outcomes  log
	letters   log
	committed []int64 // by request partition; what must be answered

	// from markNotices
	poolEvents log
	notices    log

	// from connect
	session *pgx.Conn // has the temporary tables
	aside   *pgx.Conn // for reading while session loads
	streams []string  // incarnations of the request topic that the database knows
	decided []int64   // by request partition: next_offset

	pseudonyms *domain.Pseudonyms // nil: nobody was ever erased

	redemptions redemptions

	mu     sync.Mutex // guards flaws, counts and report.Notes while topics are read
	flaws  map[int][]Finding
	counts counts
	report Report
}

func (a *audit) samples() int {
	if a.config.distinct {
		return distinctSamples
	}
	return maxSamples
}

// counts is what was read.
type counts struct {
	deliveries, malformed, issued, rejected, letters, verdicts, poolEvents, notices int64
}

func (a *audit) close() {
	for _, conn := range []*pgx.Conn{a.session, a.aside} {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}
}

// connect opens the database and lays out the temporary tables.
func (a *audit) connect(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(a.config.DatabaseURL)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["application_name"] = "promopool verify"
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["work_mem"] = "64MB" // a hash table of 300,000 requests
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["synchronous_commit"] = "off" // nothing that is written here outlives the session
	if a.session, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return err
	}
	if a.aside, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return err
	}
	for _, sql := range []string{tables, redemptionTables} {
		if _, err := a.session.Exec(ctx, sql); err != nil {
			return err
		}
	}
	for _, r := range append(domain.RedemptionReasons, domain.NotRejected) {
		if _, err := a.session.Exec(ctx, "INSERT INTO audit_redemption_reasons (reason, name) VALUES ($1, $2)", int16(r), r.String()); err != nil {
			return err
		}
	}
	if err := a.readPseudonyms(ctx); err != nil {
		return err
	}
	return a.readPartitions(ctx)
}

// readPartitions learns how far the service has decided.
func (a *audit) readPartitions(ctx context.Context) error {
	rows, err := a.aside.Query(ctx, "SELECT stream, number, next_offset FROM partitions") //nolint:rowserrcheck // ForEachRow does
	if err != nil {
		return err
	}
	a.decided = make([]int64, len(a.committed))
	known := map[string]bool{a.stream: true}
	var stream string
	var number int
	var next int64
	if _, err := pgx.ForEachRow(rows, []any{&stream, &number, &next}, func() error {
		if stream == a.stream && number < len(a.decided) {
			a.decided[number] = next
		}
		known[stream] = true
		return nil
	}); err != nil {
		return err
	}
	for s := range known {
		a.streams = append(a.streams, s)
	}
	if _, err := a.session.Exec(ctx, "INSERT INTO audit_cut (at, streams) VALUES (clock_timestamp(), $1)", len(known)); err != nil {
		return err
	}
	for p, offset := range a.committed {
		if offset > a.decided[p] {
			a.note("request partition %d: the group's offset %d is beyond what the service has decided (%d): skipped by hand, or the database is behind the log", p, offset, a.decided[p])
		}
		a.report.InFlight.Undecided += max(a.requests.end[p]-max(a.decided[p], offset), 0)
		a.report.InFlight.Unanswered += max(min(a.decided[p], a.requests.end[p])-offset, 0)
	}
	return nil
}

// compare takes the snapshot and asks every rule.
func (a *audit) compare(ctx context.Context) error {
	if err := a.loadMarks(ctx); err != nil {
		return err
	}
	if err := a.loadRedemptionMarks(ctx); err != nil {
		return err
	}
	if err := a.loadNoticeMarks(ctx); err != nil {
		return err
	}
	tx, err := a.session.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	// The statistics of the service's tables may be from when they were empty:
	// only hash joins end in any case.
	if _, err := tx.Exec(ctx, "SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'"); err != nil {
		return err
	}
	if err := a.sure(ctx, tx); err != nil {
		return err
	}
	checked, err := a.measure(ctx, tx)
	if err != nil {
		return err
	}
	if err := a.loadGenerated(ctx); err != nil {
		return err
	}
	for _, inv := range invariants {
		check := Check{Number: inv.number, Name: inv.name, Checked: checked[inv.number]}
		check.add(a.flaws[inv.number]...)
		for _, r := range rules[inv.number] {
			a.config.Progress(fmt.Sprintf("compare: %d %s", inv.number, r.name))
			v, err := r.ask(ctx, tx, a.config.Prefix, a.samples())
			if err != nil {
				return fmt.Errorf("rule %s: %w", r.name, err)
			}
			check.add(v...)
		}
		a.report.Checks = append(a.report.Checks, check)
	}
	return nil
}

// measure counts what there is in the snapshot and prepares audit_lots and
// audit_bounds.
func (a *audit) measure(ctx context.Context, tx pgx.Tx) (map[int]string, error) {
	for _, fill := range []string{lotsSQL, boundsSQL, validitiesSQL, answersSQL} {
		if _, err := tx.Exec(ctx, fill); err != nil {
			return nil, err
		}
	}
	var issuances, lots, runs, codes, scarce, redemptions, listed, erasures int64
	if err := tx.QueryRow(ctx, `
		SELECT (SELECT coalesce(sum(issuances), 0)::bigint FROM audit_lots), (SELECT count(*) FROM lots), (SELECT count(*) FROM runs),
		       (SELECT coalesce(sum(size), 0)::bigint FROM lots), (SELECT count(*) FROM audit_verdicts WHERE reason IN (3, 4)), (SELECT count(*) FROM audit_redemptions),
		       (SELECT coalesce(sum(v.codes), 0)::bigint FROM customer_volumes v), (SELECT count(*) FROM erasures)`,
	).Scan(&issuances, &lots, &runs, &codes, &scarce, &redemptions, &listed, &erasures); err != nil {
		return nil, err
	}
	n := a.counts
	a.report.Read = Read{
		Requests: n.deliveries + a.redemptions.asked.Load(),
		Events:   n.issued + n.rejected + n.poolEvents + n.notices + a.redemptions.told.Load(),
	}
	return map[int]string{
		1: fmt.Sprintf("%s issuances, %s code.issued", group(issuances), group(n.issued)),
		2: fmt.Sprintf("%s code.issued, %s issuances", group(n.issued), group(issuances)),
		3: fmt.Sprintf("%s requests, %s malformed", group(n.deliveries-n.malformed), group(n.malformed)),
		4: fmt.Sprintf("%s code.issued", group(n.issued)),
		5: fmt.Sprintf("%s code.rejected, %s verdicts", group(n.rejected), group(n.verdicts)),
		6: fmt.Sprintf("%s codes, %s lots, %s runs", group(codes), group(lots), group(runs)),
		7: fmt.Sprintf("%s refusals for want of codes", group(scarce)),
		8: fmt.Sprintf("%s issuances, %s code.rejected", group(issuances), group(n.rejected)),
		9: fmt.Sprintf("%s redemptions, %s requests, %s events", group(redemptions), group(a.redemptions.asked.Load()), group(a.redemptions.told.Load())),

		10: fmt.Sprintf("%s pool events, %s notices", group(n.poolEvents), group(n.notices)),
		11: fmt.Sprintf("%s issuances, %s listed, %s erasures", group(issuances), group(listed), group(erasures)),
	}, nil
}
