package verify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// tills is what the audit sees of redemptions, made by hand.
type tills struct {
	*world
	stream             string
	end                int64 // of partition 0 of the requests
	shop, open, hello  *domain.Pool
	sold               *domain.Issuance // code 0 of the shop
	first              delivery         // of t-1, which redeems it
	clash              delivery         // of t-1 again, for something else
	told, refused      *domain.Redemption
	returned, conflict *domain.Redemption
}

// newTills redeems codes in all ways, rightly.
func newTills(t *testing.T) *tills {
	w := &tills{world: newWorld(t)}
	described, err := topics.Describe(t.Context(), w.client, w.names.RedemptionRequests)
	w.must(err)
	w.stream = described.Stream
	w.shop, w.open, w.hello = w.pool("shop", false), w.pool("open", false), w.pool("hello", true)
	w.exec("UPDATE pools SET check_issued = true WHERE pool = $1", w.shop.Key)
	w.lot(w.shop, 4, domain.Window{AvailableTill: w.now.Add(time.Hour)})
	w.lot(w.open, 3, domain.Window{AvailableFrom: w.now.Add(-time.Hour)})
	w.lot(w.hello, 2, domain.Window{})
	w.sold = w.issue(w.send(0, request("shop", "i-0", "anna")), w.shop, w.lots["shop"])
	w.issue(w.send(0, request("shop", "i-1", "bert")), w.shop, w.lots["shop"])

	// Over Kafka: redeemed, repeated, used for something else, too late, nowhere,
	// malformed.
	w.first = w.ask("shop", "t-1", w.sold.Code)
	w.told = w.redeem(w.shop, "t-1", 0, "anna", true)
	w.tell(&w.first, w.told.Event())
	again := w.ask("shop", "t-1", w.sold.Code)
	w.tell(&again, w.told.Event())
	w.tell(&again, w.told.Event()) // published twice
	other := w.askAs("shop", "t-1", w.sold.Code, "bert")
	w.conflict = w.refuse(w.shop, "shop", "t-1", w.sold.Code, "bert", domain.RedemptionConflict)
	w.tell(&other, w.conflict.Event())
	w.clash = other
	late := w.ask("shop", "t-2", w.sold.Code)
	w.refused = w.reject(w.shop, "t-2", 0, "anna", domain.RedeemedBefore)
	w.tell(&late, w.refused.Event())
	nowhere := w.ask("nowhere", "t-1", "X")
	w.tell(&nowhere, w.refuse(nil, "nowhere", "t-1", "X", "anna", domain.NoSuchPool).Event())
	bad := w.askRaw([]byte("{"))
	w.buryRedemption(bad, "not_json")
	poison := w.ask("shop", "t-3", "P")
	w.buryRedemption(poison, "poison")

	// By HTTP: rolled back and redeemed again; without an issue; for many uses; as
	// another system says.
	w.returned = w.redeem(w.shop, "h-1", 1, "bert", true)
	w.tell(nil, w.returned.Event())
	w.rollBack(w.shop, w.returned)
	w.tell(nil, w.returned.RolledBackEvent())
	repeat := w.askAs("shop", "h-1", w.returned.Code, "bert")
	w.tell(&repeat, w.returned.Event())
	w.tell(nil, w.redeem(w.shop, "h-2", 1, "bert", true).Event())
	unissued := w.redeem(w.open, "h-3", 2, "", false)
	w.exec("SELECT withdraw($1, $2, 2, 'redeemed', $3)", w.open.Key, w.lots["open"], unissued.DecidedAt)
	w.tell(nil, unissued.Event())
	for n := range 2 {
		w.tell(nil, w.redeem(w.hello, fmt.Sprint("h-", n), 0, "anna", false).Event())
	}
	w.exec("INSERT INTO code_uses (pool, lot, seq, uses) VALUES ($1, $2, 0, 2)", w.hello.Key, w.lots["hello"])
	w.made = w.pool("made", false)
	w.generate(w.made, 1_000_000)
	var lot int32
	w.must(w.db.QueryRow(t.Context(), "SELECT lot FROM lots WHERE pool = $1", w.made.Key).Scan(&lot))
	w.lots["made"] = lot
	made := w.redeem(w.made, "h-6", 7, "", false)
	w.exec("SELECT withdraw($1, $2, 7, 'redeemed', $3)", w.made.Key, w.lots["made"], made.DecidedAt)
	w.tell(nil, made.Event())
	w.exec("UPDATE pools SET processing = 'external' WHERE pool = $1", w.open.Key)
	w.tell(nil, w.report(w.open, "h-4", "of theirs").Event())
	w.exec("INSERT INTO redemption_counts (pool, slot, redeemed) VALUES ($1, 3, 3), ($1, 4, -1), ($2, 0, 1), ($3, 0, 2), ($4, 0, 1)", w.shop.Key, w.open.Key, w.hello.Key, w.made.Key)

	// In flight: in the outbox; and over Kafka, judged and not yet told.
	waiting := w.reject(w.shop, "h-5", 0, "anna", domain.RedeemedBefore)
	e := waiting.Event()
	w.exec("INSERT INTO outbox (topic, key, id, type, at, subject, value) VALUES ($1, $2, $3, $4, $5, $6, $7)", string(e.Topic), []byte(e.Key), e.ID, e.Type, e.At, e.PoolID, e.Value)
	w.commit()
	w.commitRedemptions()
	w.ask("shop", "t-9", w.sold.Code)
	w.end-- // stays in flight
	w.reject(w.shop, "t-9", 0, "anna", domain.RedeemedBefore)
	return w
}

// ask publishes a request of anna.
func (w *tills) ask(pool, id, code string) delivery { return w.askAs(pool, id, code, "anna") }

func (w *tills) askAs(pool, id, code, customer string) delivery {
	return w.askRaw(fmt.Appendf(nil, `{"redemption_id": %q, "pool_id": %q, "code": %q, "customer_id": %q}`, id, pool, code, customer))
}

func (w *tills) askRaw(value []byte) delivery {
	w.t.Helper()
	rec := producer.Record{Key: []byte("key"), Value: value, Time: w.now}
	w.publish(w.names.RedemptionRequests, 0, rec)
	w.end++
	return delivery{off: w.end - 1, rec: rec}
}

// answer is a redemption of a code of the pool's first lot.
func (w *tills) answer(p *domain.Pool, id string, seq int64, customer string) *domain.Redemption {
	w.t.Helper()
	r := &domain.Redemption{Pool: p, Known: true, DecidedAt: w.tick(), Processing: domain.Internal}
	r.RedemptionRequest = domain.RedemptionRequest{PoolID: p.ID, RedemptionID: id, CustomerID: customer}
	r.Place = domain.Place{Lot: w.lots[p.ID], Seq: seq}
	if p.ID == "made" {
		r.Code = w.generated(seq)
		return r
	}
	w.must(w.db.QueryRow(w.t.Context(), "SELECT code FROM codes WHERE pool = $1 AND lot = $2 AND seq = $3", p.Key, r.Place.Lot, seq).Scan(&r.Code))
	return r
}

// store keeps the answer, checked where the issue check was on.
func (w *tills) store(r *domain.Redemption, checked bool) *domain.Redemption {
	w.t.Helper()
	var lot, seq any
	if r.Known {
		lot, seq = r.Place.Lot, r.Place.Seq
	}
	w.exec(`INSERT INTO redemptions (pool, redemption_id, code, lot, seq, customer_id, issued_to, decided_at, reason, external, checked, multi_use)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), nullif($7, ''), $8, $9, $10, $11, $12)`,
		r.Pool.Key, r.RedemptionID, r.Code, lot, seq, r.CustomerID, r.IssuedTo, r.DecidedAt, int16(r.Reason), r.Processing == domain.External, checked, r.Pool.MultiUse)
	return r
}

func (w *tills) redeem(p *domain.Pool, id string, seq int64, customer string, issued bool) *domain.Redemption {
	w.t.Helper()
	r := w.answer(p, id, seq, customer)
	if issued {
		r.IssuedTo = customer
	}
	return w.store(r, issued)
}

func (w *tills) reject(p *domain.Pool, id string, seq int64, customer string, why domain.RedemptionReason) *domain.Redemption {
	w.t.Helper()
	r := w.answer(p, id, seq, customer)
	r.Reason = why
	return w.store(r, true)
}

// report records what another system says of a code that nobody knows.
func (w *tills) report(p *domain.Pool, id, code string) *domain.Redemption {
	w.t.Helper()
	r := &domain.Redemption{Pool: p, DecidedAt: w.tick(), Processing: domain.External}
	r.RedemptionRequest = domain.RedemptionRequest{PoolID: p.ID, RedemptionID: id, Code: code}
	return w.store(r, false)
}

// refuse keeps an answer that belongs to no launched pool, or a conflict.
func (w *tills) refuse(p *domain.Pool, pool, id, code, customer string, why domain.RedemptionReason) *domain.Redemption {
	w.t.Helper()
	r := &domain.Redemption{Pool: p, DecidedAt: w.tick(), Reason: why, Processing: domain.Internal}
	r.RedemptionRequest = domain.RedemptionRequest{PoolID: pool, RedemptionID: id, Code: code, CustomerID: customer}
	content := []byte{}
	if why == domain.RedemptionConflict {
		sum := r.Content()
		content = sum[:]
	}
	w.exec("INSERT INTO refused_redemptions (pool_id, redemption_id, content, code, customer_id, decided_at, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		pool, id, content, code, customer, r.DecidedAt, int16(why))
	return r
}

func (w *tills) rollBack(p *domain.Pool, r *domain.Redemption) {
	w.t.Helper()
	w.spoiled = true
	r.RolledBackAt = w.tick()
	w.exec("UPDATE redemptions SET rolled_back_at = $3, rolled_back_by = 'anna' WHERE pool = $1 AND redemption_id = $2", p.Key, r.RedemptionID, r.RolledBackAt)
}

// tell publishes an event: as the answer to a delivery, or where that is nil by
// the outbox.
func (w *tills) tell(d *delivery, e domain.Event) {
	w.t.Helper()
	w.publish(w.names.RedemptionOutcomes, 0, w.event(d, e))
}

func (w *tills) event(d *delivery, e domain.Event) producer.Record {
	rec := producer.Record{Key: []byte("key"), Value: e.Value, Time: w.now}
	for _, kv := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", e.ID}, {"ce_type", e.Type}, {"ce_source", domain.Source}, {"ce_time", domain.EventTime(e.At)},
		{"ce_subject", e.PoolID}, {"ce_dataschema", domain.DataSchema(e.Type)}, {"content-type", "application/json"},
	} {
		rec.Headers = append(rec.Headers, kafka.Header{Key: kv[0], Value: []byte(kv[1])})
	}
	if d == nil {
		rec.Headers = append(rec.Headers, kafka.Header{Key: "ce_outboxnumber", Value: []byte("7")})
		return rec
	}
	return producer.Record{Key: rec.Key, Value: rec.Value, Time: rec.Time, Headers: append(rec.Headers,
		kafka.Header{Key: "ce_requeststream", Value: []byte(w.stream)}, kafka.Header{Key: "ce_requestpartition", Value: []byte("0")},
		kafka.Header{Key: "ce_requestoffset", Value: []byte(strconv.FormatInt(d.off, 10))})}
}

func (w *tills) buryRedemption(d delivery, reason string) {
	w.t.Helper()
	rec := d.rec
	rec.Headers = []kafka.Header{
		{Key: "dl_reason", Value: []byte(reason)}, {Key: "dl_topic", Value: []byte(w.names.RedemptionRequests)}, {Key: "dl_stream", Value: []byte(w.stream)},
		{Key: "dl_partition", Value: []byte("0")}, {Key: "dl_offset", Value: []byte(strconv.FormatInt(d.off, 10))},
	}
	w.publish(w.names.DeadLetters, 0, rec)
}

// commitRedemptions moves the group's offset to what was asked so far.
func (w *tills) commitRedemptions() {
	w.t.Helper()
	w.spoiled = true
	w.must(patiently(w.t.Context(), func() error {
		res, err := w.client.OffsetCommit(w.t.Context(), &kafka.OffsetCommitRequest{
			GroupID: w.names.RedeemingGroup, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{w.names.RedemptionRequests: {{Partition: 0, Offset: w.end}}},
		})
		if err != nil {
			return err
		}
		for _, p := range res.Topics[w.names.RedemptionRequests] {
			err = errors.Join(err, p.Error)
		}
		return err
	}))
}

func TestRedemptionsClean(t *testing.T) {
	t.Parallel()
	w := newTills(t)
	r := w.want()
	if r.InFlight.Redemptions != 1 || len(r.Notes) > 0 {
		t.Errorf("in flight %+v, notes %q", r.InFlight, r.Notes)
	}
	var b bytes.Buffer
	w.must(r.WriteText(&b))
	t.Log("\n" + b.String())

	// What was rejected long ago is forgotten, and may have been answered anew.
	old := *w.refused
	old.DecidedAt = old.DecidedAt.AddDate(0, 0, -31)
	w.tell(nil, old.Event())
	w.want()
}

// Each case breaks one thing that was right and sees exactly that found.
func TestRedemptionsBroken(t *testing.T) {
	t.Parallel()
	worlds := stable[*tills]{t: t, build: func(t *testing.T) (*tills, *world) { w := newTills(t); return w, w.world }}
	for _, c := range []struct {
		name   string
		breaks func(w *tills)
		want   []string
	}{
		{"Twice", func(w *tills) {
			w.exec("DROP INDEX redemptions_once_key")
			w.tell(nil, w.redeem(w.shop, "x", 0, "anna", true).Event())
			w.exec("UPDATE redemption_counts SET redeemed = redeemed + 1 WHERE pool = $1 AND slot = 3", w.shop.Key)
		}, []string{"9 once"}},
		{"BeforeRolledBack", func(w *tills) {
			w.exec("UPDATE redemptions SET decided_at = (SELECT decided_at FROM redemptions WHERE redemption_id = 'h-1' AND pool = $1) + interval '1 microsecond' WHERE redemption_id = 'h-2' AND pool = $1", w.shop.Key)
		}, []string{"9 once", "9 phantom"}},
		{"NotIssued", func(w *tills) {
			w.exec("SELECT withdraw($1, $2, 3, 'redeemed', now())", w.shop.Key, w.lots["shop"])
			r := w.answer(w.shop, "x", 3, "anna")
			w.tell(nil, w.store(r, true).Event())
			w.exec("UPDATE redemption_counts SET redeemed = redeemed + 1 WHERE pool = $1 AND slot = 3", w.shop.Key)
		}, []string{"9 issued"}},
		{"IssuedToAnother", func(w *tills) {
			w.exec("UPDATE issuances SET customer_id = 'carl' WHERE request_id = 'i-0'")
		}, []string{"11 listed", "4 phantom", "9 issued"}},
		{"IssuedLater", func(w *tills) {
			w.exec("UPDATE issuances SET issued_at = $1, valid_from = $1 WHERE request_id = 'i-0'", w.told.DecidedAt.Add(time.Microsecond))
		}, []string{"11 listed", "4 phantom", "9 issued", "9 valid"}},
		{"NotYetValid", func(w *tills) {
			w.exec("UPDATE lots SET available_from = $2 WHERE pool = $1", w.hello.Key, w.now.Add(time.Hour))
		}, []string{"9 valid"}},
		{"NoLongerValid", func(w *tills) {
			w.exec("UPDATE redemptions SET occurred_at = decided_at - interval '23 hours' WHERE redemption_id = 't-1'")
		}, []string{"9 phantom", "9 valid"}},
		{"WhileBlocked", func(w *tills) {
			w.exec("INSERT INTO code_history (pool, lot, seq, at, actor, action) SELECT $1, $2, 0, min(decided_at) - interval '2 seconds', 'anna', 'blocked' FROM redemptions WHERE pool = $1", w.hello.Key, w.lots["hello"])
		}, []string{"8 block_history", "9 blocked"}},
		{"StillInStock", func(w *tills) {
			w.exec("UPDATE withdrawn SET why = 'blocked' WHERE pool = $1", w.open.Key)
			w.exec("SELECT put_back($1, $2, 2)", w.open.Key, w.lots["open"])
		}, []string{"9 stock"}},
		{"BeforeLaunch", func(w *tills) {
			w.exec("UPDATE pools SET launched_at = now() WHERE pool = $1", w.hello.Key)
		}, []string{"9 state"}},
		{"AfterArchive", func(w *tills) {
			w.exec("UPDATE pools SET archived_at = launched_at WHERE pool = $1", w.open.Key)
		}, []string{"9 state"}},
		{"NoSuchCode", func(w *tills) {
			w.exec("UPDATE redemptions SET seq = 7 WHERE pool = $1 AND redemption_id = 'h-1'", w.hello.Key)
			w.exec("UPDATE code_uses SET uses = 1")
			w.exec("INSERT INTO code_uses (pool, lot, seq, uses) VALUES ($1, $2, 7, 1)", w.hello.Key, w.lots["hello"])
		}, []string{"9 state"}},
		{"UsesWrong", func(w *tills) { w.exec("UPDATE code_uses SET uses = 3") }, []string{"9 uses"}},
		{"CountWrong", func(w *tills) { w.exec("UPDATE redemption_counts SET redeemed = 4 WHERE slot = 3") }, []string{"9 uses"}},
		{"Phantom", func(w *tills) {
			r := *w.told
			r.RedemptionID = "never"
			w.tell(nil, r.Event())
		}, []string{"9 phantom"}},
		{"PhantomRollBack", func(w *tills) {
			r := *w.told
			r.RolledBackAt = w.tick()
			w.tell(nil, r.RolledBackEvent())
		}, []string{"9 phantom"}},
		{"RowChanged", func(w *tills) { w.exec("UPDATE redemptions SET context = '{}' WHERE redemption_id = 't-2'") }, []string{"9 phantom"}},
		{"RejectionForgotten", func(w *tills) { w.exec("DELETE FROM redemptions WHERE redemption_id = 't-2'") }, []string{"9 phantom"}},
		{"ConflictForgotten", func(w *tills) { w.exec("DELETE FROM refused_redemptions WHERE content <> ''") }, []string{"9 phantom"}},
		{"OtherBytes", func(w *tills) {
			rec := w.event(&w.first, w.told.Event())
			rec.Value = bytes.Replace(rec.Value, []byte(`,"order_id"`), []byte(`, "order_id"`), 1)
			w.publish(w.names.RedemptionOutcomes, 0, rec)
		}, []string{"9 words"}},
		{"OtherEventID", func(w *tills) {
			e := w.told.Event()
			e.ID = domain.RedemptionEventID("shop", "another")
			w.tell(&w.first, e)
		}, []string{"9 attributes", "9 words"}},
		{"OtherTime", func(w *tills) {
			e := w.returned.RolledBackEvent()
			e.At = w.returned.DecidedAt
			w.tell(nil, e)
		}, []string{"9 attributes", "9 words"}},
		{"BothWays", func(w *tills) {
			r := *w.refused
			r.Reason = domain.NotRejected
			w.tell(nil, r.Event())
		}, []string{"9 phantom", "9 words"}},
		{"Nameless", func(w *tills) {
			rec := w.event(nil, w.told.Event())
			rec.Headers = rec.Headers[:len(rec.Headers)-1]
			w.publish(w.names.RedemptionOutcomes, 0, rec)
		}, []string{"9 form"}},
		{"ForeignEvent", func(w *tills) {
			rec := w.event(nil, w.told.Event())
			rec.Value = []byte("hello")
			w.publish(w.names.RedemptionOutcomes, 0, rec)
		}, []string{"9 form"}},
		{"Untold", func(w *tills) { w.reject(w.shop, "x", 0, "anna", domain.RedeemedBefore) }, []string{"9 untold"}},
		{"OutboxLost", func(w *tills) { w.exec("DELETE FROM outbox WHERE topic = 'redemption-outcomes'") }, []string{"9 untold"}},
		{"RollBackUntold", func(w *tills) {
			w.exec("UPDATE redemption_counts SET redeemed = 2 WHERE slot = 3")
			w.rollBack(w.shop, w.told)
		}, []string{"9 untold"}},
		{"Unanswered", func(w *tills) {
			w.end++
			w.commitRedemptions()
		}, []string{"9 answer", "9 untold"}},
		{"AnsweredForAnother", func(w *tills) {
			d := delivery{off: w.end} // t-9
			w.tell(&d, w.told.Event())
			w.end++
			w.commitRedemptions()
		}, []string{"9 answer", "9 misaddressed", "9 untold"}},
		{"NoDeadLetter", func(w *tills) {
			w.end++
			w.askRaw([]byte("}"))
			d := delivery{off: w.end - 2}
			w.tell(&d, w.latest("t-9").Event())
			w.commitRedemptions()
		}, []string{"9 letter"}},
		{"WronglyDead", func(w *tills) { w.buryRedemption(w.first, "not_json") }, []string{"9 letter"}},
		{"Misaddressed", func(w *tills) { w.tell(&w.first, w.refused.Event()) }, []string{"9 misaddressed"}},
		{"OverTheLimit", func(w *tills) {
			w.exec("UPDATE pools SET redemption_limit = 1 WHERE pool = $1", w.hello.Key)
		}, []string{"9 limit"}},
		{"OverTheCustomersLimit", func(w *tills) {
			w.exec("UPDATE pools SET redemption_limit = 2, redemption_limit_per_customer = 1 WHERE pool = $1", w.hello.Key)
		}, []string{"9 limit"}},
		{"LimitedLater", func(w *tills) {
			w.exec("UPDATE pools SET redemption_limit = 1 WHERE pool = $1", w.hello.Key)
			w.exec(`INSERT INTO history (at, actor, action, pool, changes) VALUES (now(), 'test', 'pool.edited', $1, '{"redemption_limit": {"from": null, "to": 1}}')`, w.hello.Key)
		}, nil},
		{"AnotherPlace", func(w *tills) { // the code of the redeemed place is swapped with one in stock
			w.exec("UPDATE codes SET code = 'aside' WHERE pool = $1 AND seq = 2", w.open.Key)
			w.exec("UPDATE codes SET code = (SELECT code FROM redemptions WHERE pool = $1 AND seq = 2) WHERE pool = $1 AND seq = 0", w.open.Key)
		}, []string{"9 place"}},
		{"AnotherGeneratedPlace", func(w *tills) {
			w.exec("UPDATE generators SET key = decode(repeat('01', 32), 'hex')")
		}, []string{"9 place"}},
		{"NamelessLetter", func(w *tills) {
			rec := w.first.rec
			rec.Headers = []kafka.Header{{Key: "dl_topic", Value: []byte(w.names.RedemptionRequests)}, {Key: "dl_stream", Value: []byte(w.stream)}}
			w.publish(w.names.DeadLetters, 0, rec)
		}, []string{"9 letter_form"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := worlds.lend(t)
			c.breaks(w)
			w.want(c.want...)
		})
	}
}

// latest is a stored rejection of anna's at the shop.
func (w *tills) latest(id string) *domain.Redemption {
	w.t.Helper()
	r := &domain.Redemption{Reason: domain.RedeemedBefore}
	r.RedemptionRequest = domain.RedemptionRequest{PoolID: "shop", RedemptionID: id, CustomerID: "anna"}
	w.must(w.db.QueryRow(w.t.Context(), "SELECT code, decided_at FROM redemptions WHERE redemption_id = $1", id).Scan(&r.Code, &r.DecidedAt))
	return r
}
