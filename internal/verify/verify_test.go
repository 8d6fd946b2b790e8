package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
)

func TestClean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want() // nothing happened yet

	w.good()
	r := w.want()
	if got, want := r.InFlight, (InFlight{Undecided: 1, Unanswered: 1}); got != want {
		t.Errorf("in flight %+v, want %+v", got, want)
	}
	if len(r.Notes) > 0 {
		t.Errorf("notes: %q", r.Notes)
	}
	var b bytes.Buffer
	w.must(r.WriteText(&b))
	t.Log("\n" + b.String())
}

// What answers an earlier incarnation of the request topic says nothing of the
// deliveries that lie at the same places now.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	now := w.stream
	w.stream = "before"
	before := w.first
	before.req = request("draft", "old", "c-1")
	w.publish(w.names.Outcomes, 0, w.rejectedEvent(before, domain.PoolNotActive, w.r1.IssuedAt))
	before.rec.Value = []byte("not JSON either")
	w.bury(before)
	w.stream = now
	w.want()
}

// A refusal stays right when codes come, and go elsewhere, after it.
func TestExhaustedThenChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	w.grow(w.dry)
	w.want()
	w.exec("SELECT take_out(pool, ARRAY[lot], ARRAY[size - 1]) FROM lots WHERE pool = $1 AND lot = $2", w.dry.Key, w.lots["dry"])
	w.exec("DELETE FROM codes WHERE pool = $1 AND code = 'late'", w.dry.Key)
	w.want()
}

// A month from the 31st of January on ends as the service has it.
func TestValidForMonths(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pool("valid", false)
	p.Validity = domain.Period{Months: 13, Days: 1, Clock: 90 * time.Minute}
	w.exec("UPDATE pools SET validity = $2, launched_at = '2020-01-01' WHERE pool = $1", p.Key, p.Validity.String())
	lot := w.lot(p, 3, domain.Window{})
	for n, at := range []time.Time{time.Date(2023, 1, 31, 23, 50, 0, 1000, time.UTC), time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC), time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC)} {
		w.now = at
		w.issue(w.send(0, request("valid", fmt.Sprint(n), "c-1")), p, lot)
	}
	w.want()
	w.exec("UPDATE issuances SET valid_until = valid_until + interval '1 day' WHERE request_id = '0'")
	w.want("4 phantom", "8 validity")
}

// A draft that was deleted leaves its codes to housekeeping.
func TestDraftDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	w.exec("INSERT INTO codes (pool, lot, seq, code) VALUES (1000000, 1000000, 7, 'left')")
	w.want()
}

// Each case breaks one thing that was right and sees exactly that found.
func TestBroken(t *testing.T) {
	t.Parallel()
	worlds := stable[*world]{t: t, build: func(t *testing.T) (*world, *world) { w := newWorld(t); w.good(); return w, w }}
	for _, c := range []struct {
		name   string
		breaks func(w *world)
		want   []string
	}{
		{"PlaceTwice", func(w *world) {
			// The rest stays right: the second issuance stands for one that is not there.
			w.exec("ALTER TABLE issuances DROP CONSTRAINT issuances_pkey")
			w.exec("UPDATE issuances SET seq = 0 WHERE pool = $1 AND request_id = 'm-4'", w.many.Key)
			w.exec("UPDATE codes SET seq = CASE seq WHEN 0 THEN 10 WHEN 1 THEN 0 END WHERE pool = $1 AND seq < 2", w.many.Key)
			w.exec("UPDATE codes SET seq = 1 WHERE pool = $1 AND seq = 10", w.many.Key)
		}, []string{"1 place", "11 listed", "4 phantom"}},
		{"CodeTwice", func(w *world) {
			w.exec("ALTER TABLE codes DROP CONSTRAINT codes_code_key")
			w.exec("UPDATE codes SET code = $3 WHERE pool = $1 AND lot = $2 AND seq = 1", w.summer.Key, w.r1.Lot, w.r1.Code)
		}, []string{"1 text", "4 phantom"}},
		{"CodeToldTwice", func(w *world) {
			other := *w.r2
			other.Code = w.r1.Code
			w.tell(w.ask(request("summer", other.RequestID, other.CustomerID)), &other)
		}, []string{"1 told", "2 words", "4 phantom"}},
		{"OtherBytes", func(w *world) {
			rec := w.issuedEvent(w.first, w.r1)
			rec.Value = bytes.Replace(rec.Value, []byte(`,"campaign_id"`), []byte(`, "campaign_id"`), 1)
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"2 words"}},
		{"OtherEventID", func(w *world) {
			forged := w.issuedEvent(w.first, w.r1)
			for i := range forged.Headers {
				if forged.Headers[i].Key == "ce_id" {
					forged.Headers[i].Value = []byte(domain.IssuedEventID("summer", "another"))
				}
			}
			w.publish(w.names.Outcomes, 0, forged)
		}, []string{"2 attributes", "2 words"}},
		{"RequestTwice", func(w *world) {
			w.exec("ALTER TABLE issuances DROP CONSTRAINT issuances_request_key")
			w.exec("UPDATE issuances SET request_id = 'm-1' WHERE pool = $1 AND request_id = 'm-0'", w.many.Key)
		}, []string{"2 twice", "4 phantom"}},
		{"Unanswered", func(w *world) {
			w.exec("UPDATE partitions SET next_offset = $2 WHERE partition = $1", w.keys[2], w.ends[2])
			w.commit()
		}, []string{"3 answer"}},
		{"AnsweredForAnother", func(w *world) {
			d := w.send(0, request("summer", "mine", "c-1"))
			w.batch(d, nil, nil)
			w.tell(d, w.r1)
			w.exec("UPDATE partitions SET next_offset = $2 WHERE partition = $1", w.keys[2], w.ends[2])
			w.ends[2]-- // the waiting request stays in flight
			w.commit()
		}, []string{"3 answer", "3 misaddressed"}},
		{"NoDeadLetter", func(w *world) {
			w.batch(w.sendRaw(0, []byte("{")), nil, nil)
			w.ends[2] -= 2
			w.commit()
		}, []string{"3 letter"}},
		{"DeadLetterChanged", func(w *world) {
			bad := w.sendRaw(0, []byte(`{"b": 1}`))
			w.batch(bad, nil, nil)
			bad.rec.Value = []byte(`{"b":1}`)
			w.bury(bad)
			w.ends[2] -= 2
			w.commit()
		}, []string{"3 letter", "3 stray_letter"}},
		{"WronglyDead", func(w *world) { w.bury(w.first) }, []string{"3 wrongly_dead"}},
		{"Nameless", func(w *world) {
			rec := w.issuedEvent(w.first, w.r1)
			rec.Headers = rec.Headers[:len(rec.Headers)-3]
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"3 delivery"}},
		{"Phantom", func(w *world) {
			phantom := *w.r1
			phantom.RequestID, phantom.Code = "never-issued", "FORGED"
			w.tell(w.ask(request("summer", "never-issued", "c-1")), &phantom)
		}, []string{"4 phantom"}},
		{"PhantomPool", func(w *world) {
			phantom := *w.r1
			phantom.Pool = &domain.Pool{ID: "nowhere", CampaignID: "camp", ParameterName: "promo_code"}
			w.tell(w.ask(request("nowhere", "r-1", "c-1")), &phantom)
		}, []string{"4 phantom"}},
		{"IssuanceChanged", func(w *world) {
			w.exec("UPDATE issuances SET context = '{}' WHERE pool = $1 AND request_id = 'r-1'", w.summer.Key)
		}, []string{"4 phantom"}},
		{"CodeChanged", func(w *world) {
			w.exec("UPDATE codes SET code = 'other' WHERE pool = $1 AND lot = $2 AND seq = 0", w.summer.Key, w.r1.Lot)
		}, []string{"4 phantom"}},
		{"ForeignEvent", func(w *world) {
			rec := w.issuedEvent(w.first, w.r1)
			rec.Value = []byte("hello")
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"4 form"}},
		{"TwoVerdicts", func(w *world) {
			w.publish(w.names.Outcomes, 0, w.rejectedEvent(w.refused, domain.PoolExhausted, w.refusedAt.Add(time.Microsecond)))
		}, []string{"5 two_verdicts", "5 unfounded"}},
		{"UnfoundedRejection", func(w *world) {
			d := w.send(0, request("draft", "n-7", "c-1"))
			w.batch(d, nil, nil)
			w.publish(w.names.Outcomes, 0, w.rejectedEvent(d, domain.PoolNotActive, w.now))
		}, []string{"5 unfounded"}},
		{"VerdictChanged", func(w *world) {
			w.exec("UPDATE batches SET verdicts = set_byte(verdicts, 9, 2) WHERE partition = $1 AND first_offset = $2", w.keys[0], w.refused.off)
		}, []string{"5 unfounded"}},
		{"VerdictUnreadable", func(w *world) {
			w.exec(`UPDATE batches SET verdicts = '\x00' WHERE partition = $1 AND first_offset = $2`, w.keys[0], w.refused.off)
		}, []string{"5 unfounded", "5 verdicts"}},
		{"LogChanged", func(w *world) {
			d := w.send(0, request("draft", "n-8", "c-1"))
			decided := d
			decided.req.CustomerID = "c-2"
			w.reject(decided, domain.PoolNotActive, nil, 0)
		}, []string{"3 misaddressed", "5 log_changed"}},
		{"Overridden", func(w *world) {
			w.reject(w.send(0, request("summer", "r-1", "c-1")), domain.PoolNotFound, nil, 0)
		}, []string{"5 overridden", "8 refused"}},
		{"NoConflict", func(w *world) {
			w.reject(w.send(0, request("summer", "r-77", "c-1")), domain.RequestConflict, nil, 0)
		}, []string{"5 no_conflict"}},
		{"OtherRejectionID", func(w *world) {
			d := w.send(0, request("draft", "n-9", "c-1"))
			w.batch(d, []domain.Rejection{{Offset: d.off, Hash: d.req.Hash(), Reason: domain.PoolNotActive}}, nil)
			rec := w.rejectedEvent(d, domain.PoolNotActive, w.now)
			for i := range rec.Headers {
				if rec.Headers[i].Key == "ce_id" {
					rec.Headers[i].Value = []byte(domain.RejectedEventID(w.stream, d.part, d.off+1))
				}
			}
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"5 attributes"}},
		{"DoneWrong", func(w *world) {
			w.exec("UPDATE lots SET done = done + 1 WHERE pool = $1 AND lot = $2", w.summer.Key, w.lots["summer"])
		}, []string{"6 count", "6 sum"}},
		{"DoneWrongMultiUse", func(w *world) {
			w.exec("UPDATE lots SET done = done + 1 WHERE pool = $1", w.many.Key)
		}, []string{"6 count", "6 sum"}},
		{"RunLost", func(w *world) {
			w.exec("DELETE FROM runs WHERE pool = $1", w.later.Key)
		}, []string{"6 sum"}},
		{"CursorMoved", func(w *world) {
			w.exec("UPDATE runs SET next = next + 1 WHERE pool = $1", w.later.Key)
		}, []string{"6 count"}},
		{"CursorMovedBack", func(w *world) {
			w.exec("UPDATE runs SET next = next - 1 WHERE pool = $1", w.many.Key)
		}, []string{"6 count", "6 stretch"}},
		{"Overlap", func(w *world) {
			// Sums stay right: a run reaches one into the next, which ends one early.
			w.exec("UPDATE runs SET hi = hi + 1 WHERE pool = $1 AND partition IS NOT NULL", w.summer.Key)
			w.exec("UPDATE runs SET hi = hi - 1 WHERE pool = $1 AND partition IS NULL AND next < hi AND lot = $2", w.summer.Key, w.lots["summer"])
		}, []string{"6 overlap", "6 stretch"}},
		{"StretchOfPieces", func(w *world) {
			// In a lot of many pieces, of which one reaches over an issued code.
			lot := w.lot(w.summer, 200, domain.Window{})
			w.exec("UPDATE runs SET next = 199, lo = 199 WHERE pool = $1 AND lot = $2", w.summer.Key, lot)
			w.exec(`INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT $1, $2, n, n, n + 2, 0 FROM generate_series(0, 198, 3) n`, w.summer.Key, lot)
			w.exec(`UPDATE lots SET done = 66 WHERE pool = $1 AND lot = $2`, w.summer.Key, lot)
			w.exec(`DELETE FROM runs WHERE pool = $1 AND lot = $2 AND lo = 198`, w.summer.Key, lot)
			w.exec(`INSERT INTO runs (pool, lot, lo, next, hi, grant_no) VALUES ($1, $2, 198, 198, 199, 0)`, w.summer.Key, lot)
			w.exec(`INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
				SELECT $1, $2, CASE n WHEN 2 THEN 3 ELSE n END, $3, $3, 'p-' || n, 'c' FROM generate_series(2, 197, 3) n`, w.summer.Key, lot, w.now)
			w.exec("INSERT INTO customer_codes (volume, customer_id, issued_at, pool, lot, seq) SELECT 1, customer_id, issued_at, pool, lot, seq FROM issuances WHERE pool = $1 AND lot = $2", w.summer.Key, lot)
		}, []string{"3 untold", "6 stretch"}},
		{"HolderUnknown", func(w *world) {
			w.exec("UPDATE runs SET partition = 999 WHERE pool = $1 AND partition IS NOT NULL", w.summer.Key)
		}, []string{"6 run"}},
		{"RunWithoutLot", func(w *world) {
			w.exec("INSERT INTO runs (pool, lot, lo, next, hi, grant_no) VALUES ($1, 9999, 0, 0, 5, 0)", w.summer.Key)
		}, []string{"6 run"}},
		{"CodeLost", func(w *world) {
			w.exec("DELETE FROM codes WHERE pool = $1 AND seq = 2", w.later.Key)
		}, []string{"6 numbers"}},
		{"CodeRenumbered", func(w *world) {
			w.exec("UPDATE codes SET seq = 7 WHERE pool = $1 AND seq = 1", w.later.Key)
		}, []string{"6 numbers"}},
		{"CodesWithoutLot", func(w *world) {
			w.exec("INSERT INTO codes (pool, lot, seq, code) VALUES ($1, 9999, 0, 'vagrant')", w.summer.Key)
		}, []string{"6 numbers"}},
		{"MovedUncounted", func(w *world) {
			w.exec("UPDATE lots SET moved = 1 WHERE pool = $1", w.later.Key)
		}, []string{"6 changes", "6 numbers", "6 sum"}},
		{"MoveLost", func(w *world) {
			w.exec("SELECT take_out($1, ARRAY[$2::int], ARRAY[1::bigint])", w.later.Key, w.lots["later"])
		}, []string{"6 numbers"}},
		{"OtherWindows", func(w *world) {
			w.exec("UPDATE runs SET issue_end = clock_timestamp() WHERE pool = $1", w.later.Key)
		}, []string{"6 run"}},
		{"WithdrawnIssued", func(w *world) {
			w.exec("INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id) SELECT pool, lot, seq, $2, $2, 'thief', 'c' FROM withdrawn WHERE pool = $1 AND seq = 1", w.barred.Key, w.now)
		}, []string{"11 unlisted", "3 untold", "6 count", "6 withdrawn"}},
		{"WithdrawnFree", func(w *world) {
			w.exec("INSERT INTO runs (pool, lot, lo, next, hi, grant_no) SELECT pool, lot, seq, seq, seq + 1, 0 FROM withdrawn WHERE pool = $1 AND seq = 2", w.barred.Key)
		}, []string{"6 sum", "6 withdrawn"}},
		{"WithdrawnLost", func(w *world) {
			w.exec("DELETE FROM withdrawn WHERE pool = $1 AND seq = 1", w.barred.Key)
		}, []string{"6 blocked", "6 withheld"}},
		{"WithdrawnUncounted", func(w *world) {
			w.exec("UPDATE lots SET withdrawn = withdrawn - 1 WHERE pool = $1", w.barred.Key)
		}, []string{"6 changes", "6 sum", "6 withheld"}},
		{"WithdrawnFromNowhere", func(w *world) {
			w.exec("UPDATE withdrawn SET lot = 9999, why = 'redeemed' WHERE pool = $1 AND seq = 1", w.barred.Key)
		}, []string{"6 blocked", "6 redeemed", "6 withdrawn", "6 withheld"}},
		{"BlockLost", func(w *world) {
			w.exec("DELETE FROM blocks WHERE pool = $1 AND seq = 1", w.barred.Key)
		}, []string{"6 withdrawn", "8 block_history"}},
		{"BlockOfNothing", func(w *world) {
			w.exec("INSERT INTO blocks (pool, lot, seq, at, actor, note) VALUES ($1, $2, 0, now(), 'anna', '')", w.later.Key, w.lots["later"])
		}, []string{"6 blocked", "8 block_history"}},
		{"BlockLostMultiUse", func(w *world) {
			w.exec("DELETE FROM blocks WHERE pool = $1", w.shared.Key)
		}, []string{"6 blocked", "6 withheld", "8 block_history"}},
		{"PassedUncounted", func(w *world) {
			w.exec("UPDATE passes SET passed = passed - 1 WHERE pool = $1 AND seq = 0", w.shared.Key)
		}, []string{"6 count"}},
		{"NotPassedOver", func(w *world) {
			w.issue(w.send(0, request("shared", "h-8", "c-1")), w.shared, w.lots["shared"])
		}, []string{"6 count"}},
		{"IssuedWhileBlocked", func(w *world) {
			w.exec("UPDATE code_history SET at = $2 WHERE pool = $1 AND seq = 1 AND action = 'blocked'", w.shared.Key, w.now.Add(-time.Minute))
		}, []string{"8 block_history", "8 blocked"}},
		{"BlockedAfterExhausted", func(w *world) {
			// The pool had the code by the revision at which it was refused.
			w.exec("UPDATE lot_changes SET revision = revision + 100 WHERE pool = $1 AND withdrawn > 0", w.barred.Key)
		}, []string{"7 left"}},
		{"BlockedAfterExhaustedMultiUse", func(w *world) {
			w.exec("UPDATE lot_changes SET revision = revision + 100 WHERE pool = $1 AND withdrawn > 0", w.shared.Key)
		}, []string{"7 left"}},
		{"ByHandUntold", func(w *world) {
			w.exec("DELETE FROM outbox WHERE topic = 'code-outcomes'")
		}, []string{"3 by_hand"}},
		{"ByHandToldOverKafkaOnly", func(w *world) {
			i := w.issueByHand(w.hand, "h-8")
			d := w.send(0, request("hand", "h-8", "c-1"))
			w.batch(d, nil, nil)
			w.tell(d, i)
		}, []string{"3 by_hand"}},
		{"NotByHand", func(w *world) { w.tellByHand(w.r1) }, []string{"4 by_hand"}},
		{"ByHandPhantom", func(w *world) {
			phantom := *w.r1
			phantom.RequestID, phantom.Code = "never-issued", "FORGED"
			w.tellByHand(&phantom)
		}, []string{"4 by_hand", "4 phantom"}},
		{"ByHandOtherBytes", func(w *world) {
			w.exec("UPDATE issuances SET customer_id = 'c-2' WHERE pool = $1 AND request_id = 'h-1'", w.hand.Key)
		}, []string{"11 listed", "4 phantom"}},
		{"ByHandOtherID", func(w *world) {
			rec := w.issuedEvent(w.first, w.issueByHand(w.hand, "h-8"))
			rec.Headers = append(rec.Headers[:len(rec.Headers)-3], kafka.Header{Key: "ce_outboxnumber", Value: []byte("17")})
			for i := range rec.Headers {
				if rec.Headers[i].Key == "ce_id" {
					rec.Headers[i].Value = []byte(domain.IssuedEventID("hand", "another"))
				}
			}
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"2 attributes"}},
		{"ByHandNumberless", func(w *world) {
			rec := w.issuedEvent(w.first, w.issueByHand(w.hand, "h-8"))
			rec.Headers = append(rec.Headers[:len(rec.Headers)-3], kafka.Header{Key: "ce_outboxnumber", Value: []byte("some")})
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"3 by_hand", "3 delivery"}},
		{"ByHandMisplaced", func(w *world) {
			w.exec("UPDATE code_history SET seq = seq + 1 WHERE pool = $1 AND request_id = 'h-9'", w.shared.Key)
		}, []string{"6 by_hand"}},
		{"ByHandLost", func(w *world) {
			w.exec("DELETE FROM code_history WHERE pool = $1 AND request_id = 'h-3'", w.hand.Key)
		}, []string{"4 by_hand", "8 expired"}},
		{"GrownBeforeExhausted", func(w *world) {
			// The pool had the code by the revision at which it was refused.
			w.grow(w.dry)
			w.exec("UPDATE lot_changes SET revision = 0 WHERE pool = $1", w.dry.Key)
		}, []string{"7 left"}},
		{"GeneratedStored", func(w *world) {
			w.exec("INSERT INTO codes (pool, lot, seq, code) SELECT pool, lot, 7, 'vagrant' FROM lots WHERE pool = $1 AND gen_from = 0", w.made.Key)
		}, []string{"6 numbers"}},
		{"GeneratedKeyChanged", func(w *world) {
			w.exec("UPDATE generators SET key = decode(repeat('01', 32), 'hex')")
		}, []string{"4 phantom"}},
		{"GeneratorLost", func(w *world) {
			w.exec("DELETE FROM generators")
		}, []string{"4 phantom", "6 generated"}},
		{"GeneratorUnreadable", func(w *world) {
			w.exec("UPDATE generators SET pattern = '#'")
		}, []string{"4 phantom"}},
		{"GeneratedTwice", func(w *world) {
			w.exec("UPDATE lots SET gen_from = 0 WHERE pool = $1", w.made.Key)
		}, []string{"1 generated", "4 phantom", "6 generated"}},
		{"GeneratedGap", func(w *world) {
			w.exec("UPDATE generators SET made = made + 1")
		}, []string{"6 generated"}},
		{"GeneratedBesideUploaded", func(w *world) {
			w.exec("ALTER TABLE lots DISABLE TRIGGER lots_unmixed")
			w.lot(w.made, 3, domain.Window{})
		}, []string{"6 generated"}},
		{"NoEvidence", func(w *world) {
			w.exec("UPDATE batches SET evidence = NULL WHERE partition = $1 AND first_offset = $2", w.keys[0], w.refused.off)
		}, []string{"7 evidence"}},
		{"EvidenceAgainst", func(w *world) {
			w.exec(`UPDATE batches SET evidence = jsonb_set(evidence, '{0,left}', '1') WHERE partition = $1 AND first_offset = $2`, w.keys[0], w.refused.off)
		}, []string{"7 evidence"}},
		{"FalselyExhausted", func(w *world) {
			w.reject(w.send(0, request("summer", "r-8", "c-1")), domain.PoolExhausted, w.summer, 0)
		}, []string{"7 left"}},
		{"ExhaustedWhileScheduled", func(w *world) {
			w.reject(w.send(0, request("later", "l-8", "c-1")), domain.PoolExhausted, w.later, 0)
		}, []string{"7 left"}},
		{"ExhaustedMultiUse", func(w *world) {
			w.reject(w.send(0, request("many", "m-8", "c-1")), domain.PoolExhausted, w.many, 0)
		}, []string{"7 left"}},
		{"FalselyOutOfWindow", func(w *world) {
			w.reject(w.send(0, request("summer", "r-8", "c-1")), domain.NoCodeInWindow, w.summer, 3)
		}, []string{"7 left", "7 nothing_left"}},
		{"OutOfWindowWhenExhausted", func(w *world) {
			w.exec("UPDATE lots SET issue_end = '2000-01-01' WHERE pool = $1", w.later.Key)
			w.copyWindows()
		}, []string{"7 nothing_left"}},
		{"FoundedOnNoWindow", func(w *world) {
			summer := *w.summer // is open
			summer.IssueStart = w.now.Add(time.Hour)
			w.reject(w.send(0, request("summer", "r-8", "c-1")), domain.NoCodeInWindow, &summer, 3)
		}, []string{"7 pool_window"}},
		{"FoundedOnOldWindow", func(w *world) {
			old := *w.season
			w.window(w.season, time.Time{}, time.Time{})
			w.reject(w.send(0, request("season", "s-8", "c-1")), domain.NoCodeInWindow, &old, 3)
		}, []string{"7 pool_window"}},
		{"FalselyOutOfPoolWindow", func(w *world) {
			w.window(w.season, time.Time{}, w.now.Add(time.Hour))
			w.reject(w.send(0, request("season", "s-8", "c-1")), domain.NoCodeInWindow, w.season, 3)
		}, []string{"7 left", "7 nothing_left"}},
		{"ExhaustedOutOfPoolWindow", func(w *world) {
			w.reject(w.send(0, request("season", "s-8", "c-1")), domain.PoolExhausted, w.season, 0)
		}, []string{"7 left"}},
		{"OutOfPoolWindowWhenExhausted", func(w *world) {
			w.window(w.season, time.Time{}, time.Time{})
			for n := range 3 {
				w.issue(w.send(0, request("season", fmt.Sprint("s-", 8+n), "c-1")), w.season, w.lots["season"])
			}
			w.window(w.season, time.Time{}, w.now)
			w.reject(w.send(0, request("season", "s-12", "c-1")), domain.NoCodeInWindow, w.season, 3)
		}, []string{"7 nothing_left"}},
		{"BeforePoolWindow", func(w *world) {
			w.issue(w.send(0, request("season", "s-8", "c-1")), w.season, w.lots["season"])
		}, []string{"8 pool_window"}},
		{"AfterPoolWindow", func(w *world) {
			w.window(w.season, time.Time{}, w.now)
			w.issue(w.send(0, request("season", "s-8", "c-1")), w.season, w.lots["season"])
		}, []string{"8 pool_window"}},
		{"PoolWindowChangedAside", func(w *world) {
			w.exec("UPDATE pools SET issue_end = issue_start + interval '1 day' WHERE pool = $1", w.season.Key)
		}, []string{"7 pool_window", "8 history"}},
		{"HistoryLost", func(w *world) {
			w.exec("DELETE FROM history WHERE entry = (SELECT entry FROM history WHERE pool = $1 ORDER BY entry OFFSET 2 LIMIT 1)", w.season.Key)
		}, []string{"7 pool_window", "8 history"}},
		{"HistoryBegunLate", func(w *world) {
			w.exec("DELETE FROM history WHERE entry = (SELECT entry FROM history WHERE pool = $1 ORDER BY entry OFFSET 1 LIMIT 1)", w.season.Key)
		}, []string{"8 history", "8 pool_window"}},
		{"OutsideWindow", func(w *world) {
			w.exec("UPDATE lots SET issue_end = $2 WHERE pool = $1 AND lot = $3", w.summer.Key, w.r1.IssuedAt, w.lots["summer"])
			w.copyWindows()
		}, []string{"8 window"}},
		{"ValidTooLong", func(w *world) {
			w.exec("UPDATE lots SET available_till = available_till - interval '1 hour' WHERE pool = $1 AND lot = $2", w.summer.Key, w.lots["summer"])
			w.copyWindows()
		}, []string{"8 validity", "8 window"}},
		{"BeforeLaunch", func(w *world) {
			w.exec("UPDATE pools SET launched_at = now() WHERE pool = $1", w.many.Key)
		}, []string{"8 state"}},
		{"AfterArchive", func(w *world) {
			w.exec("UPDATE pools SET state = 'archived', archived_at = launched_at WHERE pool = $1", w.many.Key)
		}, []string{"8 state"}},
		{"RefusedWhileActive", func(w *world) {
			w.reject(w.send(0, request("summer", "r-8", "c-1")), domain.PoolNotActive, nil, 0)
		}, []string{"8 refused"}},
		{"RefusedBeforeExpiry", func(w *world) {
			w.reject(w.send(0, request("summer", "r-8", "c-1")), domain.RequestExpired, nil, 0)
		}, []string{"8 refused"}},
		{"IssuedAfterExpiry", func(w *world) {
			late := request("summer", "r-8", "c-1")
			late.ExpiresAt = w.now
			w.issue(w.send(0, late), w.summer, w.lots["summer"])
		}, []string{"8 expired"}},
		{"MovedAfterIssue", func(w *world) {
			w.exec("DELETE FROM codes WHERE pool = $1 AND lot = $2 AND seq = $3", w.summer.Key, w.r1.Lot, w.r1.Seq)
			w.exec("UPDATE lots SET moved = 1 WHERE pool = $1 AND lot = $2", w.summer.Key, w.r1.Lot)
			w.exec("INSERT INTO lot_changes (pool, lot, revision, added, taken) VALUES ($1, $2, 0, 0, 1)", w.summer.Key, w.r1.Lot)
		}, []string{"1 codeless", "4 phantom", "6 sum"}},
		{"AnswersAnother", func(w *world) { w.tell(w.first, w.r2) }, []string{"3 misaddressed"}},
		{"AnswersMalformed", func(w *world) {
			bad := w.sendRaw(0, []byte("{"))
			w.batch(bad, nil, nil)
			w.bury(bad)
			w.tell(bad, w.r1)
		}, []string{"3 misaddressed"}},
		{"AnswersNowhere", func(w *world) {
			w.publish(w.names.Outcomes, 0, w.issuedEvent(delivery{part: 7}, w.r1))
		}, []string{"3 misaddressed"}},
		{"StrayLetter", func(w *world) {
			d := w.first
			d.rec.Value = []byte("?")
			w.bury(d)
		}, []string{"3 stray_letter"}},
		{"IssueUntold", func(w *world) {
			w.give(request("summer", "r-8", "c-1"), w.summer, w.lots["summer"])
		}, []string{"3 untold"}},
		{"OtherVerdict", func(w *world) {
			d := w.send(0, request("season", "s-8", "c-1"))
			w.batch(d, []domain.Rejection{{Offset: d.off, Hash: d.req.Hash(), Reason: domain.PoolNotFound}}, nil)
			w.window(w.season, time.Time{}, time.Time{})
			w.tell(d, w.issue(w.send(0, d.req), w.season, w.lots["season"]))
		}, []string{"5 other_verdict"}},
		{"BatchesOverlap", func(w *world) {
			w.exec("UPDATE batches SET end_offset = end_offset + 1 WHERE partition = $1 AND first_offset = $2", w.keys[0], w.refused.off)
		}, []string{"5 ranges"}},
		{"BatchBeyondDecided", func(w *world) {
			w.exec("UPDATE partitions SET next_offset = next_offset - 1 WHERE partition = $1", w.keys[0])
		}, []string{"5 ranges"}},
		{"RunWithoutCode", func(w *world) {
			// Code 1 is moved away rightly; then code 2 goes where it was.
			w.exec("SELECT take_out($1, ARRAY[$2::int], ARRAY[1::bigint])", w.later.Key, w.lots["later"])
			w.exec("DELETE FROM codes WHERE pool = $1 AND seq = 1", w.later.Key)
			w.exec("UPDATE codes SET seq = 1 WHERE pool = $1 AND seq = 2", w.later.Key)
		}, []string{"6 codeless"}},
		{"WithdrawnWithoutCode", func(w *world) {
			w.block(w.summer, 8)
			w.exec("SELECT take_out($1, ARRAY[$2::int], ARRAY[9::bigint])", w.summer.Key, w.lots["summer"])
			w.exec("DELETE FROM codes WHERE pool = $1 AND lot = $2 AND seq = 9", w.summer.Key, w.lots["summer"])
			w.exec("UPDATE codes SET seq = 9 WHERE pool = $1 AND lot = $2 AND seq = 8", w.summer.Key, w.lots["summer"])
		}, []string{"6 codeless"}},
		{"RedeemedByNobody", func(w *world) {
			w.exec("SELECT withdraw($1, $2, 8, 'redeemed', now())", w.summer.Key, w.lots["summer"])
		}, []string{"6 redeemed"}},
		{"BlockUnremembered", func(w *world) {
			w.exec("DELETE FROM code_history WHERE pool = $1 AND seq = 1", w.barred.Key)
		}, []string{"8 block_history"}},
		{"ValidTooLongByPool", func(w *world) {
			w.exec("UPDATE pools SET validity = 'PT1H' WHERE pool = $1", w.summer.Key)
		}, []string{"8 validity"}},
		{"ValidTooShort", func(w *world) {
			w.exec("UPDATE pools SET validity = 'P1Y' WHERE pool = $1", w.valid.Key)
		}, []string{"8 validity"}},
		{"RefusedByOldState", func(w *world) {
			w.exec("UPDATE lots SET created_at = $3 WHERE pool = $1 AND lot <> $2", w.dry.Key, w.lots["dry"], w.refusedAt.Add(-2*time.Minute))
		}, []string{"8 stale"}},
		{"JustArchived", func(w *world) { // a batch in flight got through
			w.exec("UPDATE pools SET state = 'archived', archived_at = $2 WHERE pool = $1", w.summer.Key, w.now.Add(-time.Millisecond))
		}, []string{"8 state"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := worlds.lend(t)
			c.breaks(w)
			r := w.want(c.want...)
			w.wantNoCodes(r)
			if r.Holds() {
				t.Error("the report says that all invariants hold")
			}
		})
	}
}

// wantNoCodes checks that no code's text shows in a report.
func (w *world) wantNoCodes(r Report) {
	w.t.Helper()
	var text bytes.Buffer
	w.must(r.WriteText(&text))
	data, err := json.Marshal(r)
	w.must(err)
	for _, code := range []string{w.r1.Code, w.r2.Code, "FORGED", "vagrant", w.generated(0), w.generated(1_000_000)} {
		if strings.Contains(text.String(), code) || bytes.Contains(data, []byte(code)) {
			w.t.Errorf("the report shows the code %q:\n%s", code, text.String())
		}
	}
}
