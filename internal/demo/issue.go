package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"promopool/internal/load"
)

const (
	firsts     = 3                // requests that are sent one by one, to be looked at
	floodShare = 0.75             // of the requests, at full speed; the kill comes in its midst
	trickle    = 9 * time.Second  // for the rest: longer than the takeover takes
	takeover   = 15 * time.Second // 8 s are promised, on a machine that has time
	answerTime = 30 * time.Second // for all that is waiting
)

// answer shows some requests one by one, and then many.
func (d *demo) answer(ctx context.Context) error {
	asks := questions(bigPool, "welcome", d.Requests)
	d.say("A request on the topic %s, and what comes back on %s:", d.names.Requests, d.names.Outcomes)
	table := [][]string{{"request", "from", "code", "valid until", "after"}}
	var last event
	for i := range firsts {
		e, took, err := d.one(ctx, asks[i])
		if err != nil {
			return err
		}
		table = append(table, []string{e.RequestID, e.CustomerID, masked(e.Code), day(e.ValidUntil), seconds(took)})
		last = e
	}
	d.table(table, 4)
	d.say("The last one as other systems see it, a CloudEvent:")
	for _, line := range last.lines() {
		d.show(line)
	}

	d.say("Now %s requests, as fast as they can be sent; every tenth is one that is repeated under another key.", number(d.Requests))
	before := d.ledger.tally()
	began := time.Now()
	flood := firsts + int(float64(d.Requests)*floodShare)
	d.flow = d.stream(ctx, asks[firsts:flood], 0)
	d.rest = asks[flood:]
	var t tally
	half := func() bool { t = d.ledger.tally(); return t.answered >= d.Requests/2 || d.flow.failed() }
	err := d.until(ctx, half, d.patient(), "half of the requests answered", func() {
		d.progress("%s  %s answered, %s", bar(int64(t.answered), int64(d.Requests)), number(t.answered), rate(t.answered-before.answered, time.Since(began)))
	})
	if err != nil {
		return err
	}
	if d.flow.failed() {
		return d.flow.err
	}
	// The crash comes at once, before there is time to tell of it.
	if err := d.nodes[0].kill(); err != nil {
		return err
	}
	d.killed = time.Now()
	n, took := t.answered-before.answered, time.Since(began)
	d.speed = rate(n, took)
	d.say("%s are answered after %s: %s, each on disk in PostgreSQL before it is told on Kafka.", number(n), seconds(took), d.speed)
	return nil
}

// one sends a request and waits for its answer.
func (d *demo) one(ctx context.Context, m load.Message) (event, time.Duration, error) {
	began := time.Now()
	if err := d.send(ctx, []load.Message{m}, 0); err != nil {
		return event{}, 0, err
	}
	for {
		if e, ok := d.ledger.answer(m.PoolID, m.RequestID); ok {
			return e, e.seen.Sub(began), nil
		}
		if time.Since(began) > answerTime {
			return event{}, 0, fmt.Errorf("request %s is not answered within %v", m.RequestID, answerTime)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return event{}, 0, err
		}
	}
}

// silence is how long each partition has been waiting for answers.
type silence struct {
	last    time.Time
	answers [partitions]int
	now     [partitions]time.Duration
	longest [partitions]time.Duration
}

func (s *silence) observe(l *ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for p := range s.now {
		if l.answers[p] != s.answers[p] || l.asks[p] == l.answers[p] || s.last.IsZero() {
			s.now[p] = 0
		} else {
			s.now[p] += now.Sub(s.last)
		}
		s.longest[p] = max(s.longest[p], s.now[p])
	}
	s.last, s.answers = now, l.answers
}

const (
	stuck  = 500 * time.Millisecond  // a partition that is silent so long waits
	orphan = 1500 * time.Millisecond // and so long, for another owner
	missed = 8 * time.Second         // when another process must be started in any case
)

// strip draws the partitions, and counts those that wait.
func (s *silence) strip(d *demo) (text string, waiting int) {
	var b strings.Builder
	for p, t := range s.now {
		if p > 0 && p%6 == 0 {
			b.WriteByte(' ')
		}
		if t >= stuck {
			waiting++
			b.WriteString(d.paint(amber, "○"))
		} else {
			b.WriteString(d.paint(green, "●"))
		}
	}
	return b.String(), waiting
}

// orphans counts the partitions that lost their owner, and the longest
// silences of these and of the others.
func (s *silence) orphans() (n int, theirs, others time.Duration) {
	for _, t := range s.longest {
		if t >= orphan {
			n++
			theirs = max(theirs, t)
		} else {
			others = max(others, t)
		}
	}
	return n, theirs, others
}

// crash follows what happens after a process was killed, to the last answer.
func (d *demo) crash(ctx context.Context) error {
	flood, t := d.flow, d.ledger.tally()
	d.flow = d.stream(ctx, d.rest, trickle)
	d.say("Process %d is killed (SIGKILL) while %s requests wait, and others keep coming. Kafka misses it after 6 seconds and gives its partitions to process %d. Each mark is one of the %d partitions: %s answered, %s waiting.",
		d.nodes[0].process.Pid(), number(t.asked-t.answered), d.nodes[1].process.Pid(), partitions, d.paint(green, "●"), d.paint(amber, "○"))

	var quiet silence
	told, replaced := -1, false
	for {
		quiet.observe(d.ledger)
		t := d.ledger.tally()
		done := flood.ended() && d.flow.ended() && t.answered >= t.asked
		since := time.Since(d.killed)
		strip, waiting := quiet.strip(d)
		if second := int(since.Seconds()); second > told || done {
			told = second
			d.line(fmt.Sprintf("%s%4d s  %s  %7s answered  %6s waiting", inset, second, strip, number(t.answered), number(t.asked-t.answered)))
		}
		if n, _, _ := quiet.orphans(); !replaced && (n > 0 && waiting == 0 || since > missed) {
			replaced = true
			state := "all partitions are answered again"
			if waiting > 0 {
				state = fmt.Sprintf("%d partitions still wait", waiting)
			}
			began := time.Now()
			n, err := d.serve(ctx)
			if err != nil {
				return err
			}
			d.line(fmt.Sprintf("%s        %s; process %d, new, joins (%s)", inset, state, n.process.Pid(), seconds(time.Since(began))))
		}
		switch {
		case flood.failed():
			return flood.err
		case d.flow.failed():
			return d.flow.err
		case done && replaced:
			return d.afterCrash(t, &quiet)
		case since > trickle+d.patient():
			return fmt.Errorf("%s requests are not answered %v after the kill", number(t.asked-t.answered), since.Round(time.Second))
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
}

func (d *demo) afterCrash(t tally, quiet *silence) error {
	orphans, theirs, others := quiet.orphans()
	d.say("Everything is answered. %d partitions lost their process and waited, at most %s; the others never longer than %s.", orphans, seconds(theirs), seconds(others))
	d.check(t.answered == d.Requests, "Every request is answered", "%s of %s, at %s", number(t.answered), number(d.Requests), d.speed)
	d.check(t.requests == distinct(d.Requests) && t.codes == t.requests, "No code twice, no request twice", "%s requests, %s codes", number(t.requests), number(t.codes))
	d.check(theirs <= takeover, "The killed process is replaced", "longest silence %s; Kafka waits 6 s", seconds(theirs))
	return nil
}

// repeat publishes a part of the requests once more.
func (d *demo) repeat(ctx context.Context) error {
	asks := questions(bigPool, "welcome", d.Requests)[:d.Requests/4]
	for i := range asks {
		asks[i] = again(asks[i], i)
	}
	before := d.ledger.tally()
	d.say("%s of the requests are published once more, by other senders and under other keys.", number(len(asks)))
	if err := d.send(ctx, asks, 0); err != nil {
		return err
	}
	if err := d.answered(ctx); err != nil {
		return err
	}
	t := d.ledger.tally()
	d.say("They got %s answers and %s new codes: each the answer it had before, byte for byte and under the same event id, so that readers can drop it.", number(t.answered-before.answered), number(t.codes-before.codes))
	identical := "identical to the byte"
	if t.changed > 0 {
		identical = number(t.changed) + " changed"
	}
	d.check(t.changed == 0 && t.codes == before.codes && t.repeats-before.repeats >= len(asks),
		"A repeat gets the same answer", "%s repeats, %s", number(t.repeats), identical)

	s, err := d.api(d.nodes[1]).stock(ctx, bigPool)
	if err != nil {
		return err
	}
	d.check(s.Issued == int64(t.codes) && s.Total == int64(d.Codes), "The stock agrees, to the code", "%s issued, %s left", number(s.Issued), number(s.Available+s.Scheduled))
	return nil
}

// answered waits until every request has its answer.
func (d *demo) answered(ctx context.Context) error {
	var t tally
	all := func() bool { t = d.ledger.tally(); return t.answered >= t.asked }
	return d.until(ctx, all, d.patient(), "every request answered", func() {
		d.progress("%s of %s answered", number(t.answered), number(t.asked))
	})
}

// day is the date of an event's time.
func day(text *string) string {
	if text == nil {
		return "open"
	}
	at, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return *text
	}
	return at.Format("2 Jan 2006")
}
