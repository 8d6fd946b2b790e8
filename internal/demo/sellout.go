package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"promopool/internal/domain"
	"promopool/internal/load"
	"promopool/internal/topics"
	"promopool/internal/verify"
)

const (
	smallPool  = "vip-night"
	smallCodes = 500
	smallAsks  = 800
)

// sellOut empties a pool that more people want than it has codes.
func (d *demo) sellOut(ctx context.Context) error {
	service := d.api(d.nodes[1])
	if err := service.post(ctx, "/v1/pools", map[string]any{
		"id": smallPool, "campaign_id": campaign, "name": "VIP night", "description": "Free entry for the first to ask",
	}, nil); err != nil {
		return err
	}
	var pasted strings.Builder
	fresh := newCodes("VIP")
	for range smallCodes {
		fmt.Fprintln(&pasted, fresh())
	}
	task, err := service.upload(ctx, smallPool, "text/plain", strings.NewReader(pasted.String()))
	if err != nil {
		return err
	}
	if _, err := service.follow(ctx, task.Task, func(importView) {}); err != nil {
		return err
	}
	if err := service.post(ctx, "/v1/pools/"+smallPool+"/launch", nil, nil); err != nil {
		return err
	}
	d.say("Pool %s has %d codes, pasted as text. %d guests ask at once, over all partitions, and two processes answer.", smallPool, smallCodes, smallAsks)
	asks := make([]load.Message, smallAsks)
	for i := range asks {
		asks[i] = question(smallPool, fmt.Sprintf("vip-%04d", i), fmt.Sprintf("guest-%04d", i))
	}
	began := time.Now()
	if err := d.send(ctx, asks, 0); err != nil {
		return err
	}
	if err := d.answered(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	issued, rejected := d.ledger.ofPool(smallPool)
	out := rejected[domain.PoolExhausted.String()]
	s, err := service.stock(ctx, smallPool)
	if err != nil {
		return err
	}
	d.say("After %s: %d have a code, %d were told %s, %d codes are left.", seconds(took), issued, out, domain.PoolExhausted, s.Available)
	d.check(issued == smallCodes && out == smallAsks-smallCodes && len(rejected) == 1 && s.Available == 0 && s.Issued == smallCodes,
		"A small pool sells out exactly", "%d issued, %d told “exhausted”", issued, out)
	return nil
}

// audit ends the service, and compares topics and database.
func (d *demo) audit(ctx context.Context) error {
	began := time.Now()
	var errs []error
	for _, n := range d.nodes[1:] {
		if err := n.stop(); err != nil {
			errs = append(errs, fmt.Errorf("process %d: %w", n.process.Pid(), err))
		}
	}
	if len(errs) > 0 {
		d.check(false, "Told to end, the service does", "%v", errors.Join(errs...))
	} else {
		d.say("Both processes are told to end; they finish what is in hand and end, in %s.", seconds(time.Since(began)))
	}
	d.say("The auditor, promopool verify, then reads the topics and the database. It shares no code with what issues.")
	client := topics.Client([]string{d.stack.Kafka})
	defer topics.Close(client)
	report, err := verify.Run(ctx, verify.Config{
		Client: client, Prefix: prefix, DatabaseURL: d.stack.PostgresURL,
		Progress: func(step string) { d.progress("auditing: %s", step) },
	})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		return err
	}
	d.line("")
	for line := range strings.Lines(strings.TrimRight(text.String(), "\n")) {
		d.line(strings.TrimRight(line, "\n")) // as wide as it is
	}
	broken := 0
	for _, c := range report.Checks {
		if c.Violations > 0 {
			broken++
		}
	}
	d.check(report.Holds(), "The auditor's invariants hold", "%d of %d", len(report.Checks)-broken, len(report.Checks))
	t := d.ledger.tally()
	d.check(t.faults == nil, "Nothing forbidden was seen", "%s", faultsFigure(t.faults))
	return nil
}

func faultsFigure(faults []string) string {
	if faults == nil {
		return "no code twice, no changed answer"
	}
	return fmt.Sprintf("%d seen: %s", len(faults), faults[0])
}
