package verify

import (
	"bytes"
	"testing"

	"promopool/internal/domain"
)

// erase erases a customer as the service does, at the world's time, and returns what
// erased customers are called.
func (w *world) erase(customer string) *domain.Pseudonyms {
	w.t.Helper()
	key := bytes.Repeat([]byte{7}, 32)
	p := domain.NewPseudonyms(key)
	w.exec("INSERT INTO customer_key (key, made_at) VALUES ($1, now()) ON CONFLICT DO NOTHING", key)
	var no int64
	w.must(w.db.QueryRow(w.t.Context(), "INSERT INTO erasures (pseudonym, customer_id, actor, begun_at, listed_no) VALUES ($1, $2, 'test', $3, 0) RETURNING erasure",
		p.Customer(customer), customer, w.tick()).Scan(&no))
	for n := int64(1); n > 0; {
		w.must(w.db.QueryRow(w.t.Context(), "SELECT erase_codes($1, 100) + erase_redemptions($1, 100)", no).Scan(&n))
	}
	w.exec("UPDATE erasures SET customer_id = NULL, stream = $2, ends = '{}', redemption_ends = '{}', outbox_no = 0, done_at = $3 WHERE erasure = $1", no, w.stream, w.tick())
	return p
}

// erased is an issuance as it is told when its customer is erased.
func erased(p *domain.Pseudonyms, i *domain.Issuance) *domain.Issuance {
	e := *i
	e.CustomerID, e.Context = p.Customer(i.CustomerID), nil
	return &e
}

// hushed is a rejection of a delivery without its customer's name.
func (w *world) hushed(p *domain.Pseudonyms, d delivery, why domain.Reason) {
	w.t.Helper()
	d.req.CustomerID, d.req.Context = p.Customer(d.req.CustomerID), nil
	w.publish(w.names.Outcomes, d.part, w.rejectedEvent(d, why, w.refusedAt))
}

func TestErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.good()
	p := w.erase("c-1")
	w.want() // what was told stays right
	// Read again from the start.
	w.tell(w.first, erased(p, w.r1))
	w.tell(w.first, erased(p, w.r1))
	w.hushed(p, w.refused, domain.PoolExhausted)
	w.erase("nobody")
	r := w.want()
	if len(r.Notes) > 0 {
		t.Errorf("notes: %q", r.Notes)
	}
	// The same customer, new and erased again.
	w.issue(w.send(1, request("summer", "r-new", "c-1")), w.summer, w.lots["summer"])
	w.tick()
	w.want()
	w.erase("c-1")
	w.want()
}

// Each case breaks one thing that is right of erased customers, and sees exactly that
// found.
func TestErasedBroken(t *testing.T) {
	t.Parallel()
	worlds := stable[*world]{t: t, build: func(t *testing.T) (*world, *world) { w := newWorld(t); w.good(); return w, w }}
	for _, c := range []struct {
		name   string
		breaks func(w *world, p *domain.Pseudonyms)
		want   []string
	}{
		{"AnotherAlias", func(w *world, p *domain.Pseudonyms) {
			other := *w.r1
			other.CustomerID = "c-2"
			w.tell(w.first, erased(p, &other))
		}, []string{"2 words", "3 misaddressed", "4 phantom"}},
		{"OtherWords", func(w *world, p *domain.Pseudonyms) {
			w.tell(w.first, erased(p, w.r1))
			rec := w.issuedEvent(w.first, erased(p, w.r1))
			rec.Value = bytes.Replace(rec.Value, []byte(`,"campaign_id"`), []byte(`, "campaign_id"`), 1)
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"2 words"}},
		{"StillNamed", func(w *world, _ *domain.Pseudonyms) {
			w.exec("UPDATE issuances SET context = 'x' WHERE pool = $1 AND request_id = 'r-1'", w.summer.Key)
		}, []string{"4 phantom"}},
		{"ErasedToAnother", func(w *world, p *domain.Pseudonyms) {
			w.exec("UPDATE issuances SET customer_id = $2 WHERE pool = $1 AND request_id = 'r-1'", w.summer.Key, p.Customer("c-2"))
		}, []string{"11 listed", "4 phantom"}},
		{"NotErased", func(w *world, p *domain.Pseudonyms) { // the rows name the customer, the topic does not
			w.tell(w.first, erased(p, w.r1))
			w.exec("UPDATE issuances SET customer_id = 'c-1' WHERE pool = $1 AND request_id = 'r-1'", w.summer.Key)
			w.exec("UPDATE customer_codes SET customer_id = 'c-1' WHERE pool = $1 AND seq = $2 AND lot = $3", w.summer.Key, w.r1.Seq, w.r1.Lot)
		}, []string{"4 phantom"}},
		{"NamedAfterwards", func(w *world, _ *domain.Pseudonyms) {
			rec := w.issuedEvent(w.first, w.r1)
			rec.Time = w.now.AddDate(0, 0, 1)
			w.publish(w.names.Outcomes, 0, rec)
		}, []string{"11 erased"}},
		{"RejectionOfAnother", func(w *world, p *domain.Pseudonyms) {
			d := w.refused
			d.req.RequestID = "d-9"
			w.hushed(p, d, domain.PoolExhausted)
		}, []string{"3 misaddressed", "5 unfounded"}},
		{"RejectedOtherwise", func(w *world, p *domain.Pseudonyms) {
			w.hushed(p, w.refused, domain.PoolNotActive)
		}, []string{"5 two_verdicts", "5 unfounded", "8 refused"}},
		{"NotListed", func(w *world, _ *domain.Pseudonyms) {
			w.exec("DELETE FROM customer_codes WHERE pool = $1 AND lot = $2 AND seq = 0", w.dry.Key, w.lots["dry"])
		}, []string{"11 unlisted"}},
		{"ListedTwice", func(w *world, _ *domain.Pseudonyms) {
			w.exec("INSERT INTO customer_codes (volume, customer_id, issued_at, pool, lot, seq) SELECT 2, customer_id, issued_at, pool, lot, seq FROM customer_codes WHERE pool = $1 AND lot = $2", w.dry.Key, w.lots["dry"])
		}, []string{"11 listed"}},
		{"AlsoToBeListed", func(w *world, _ *domain.Pseudonyms) {
			w.exec("INSERT INTO unlisted (at, pools, lots, firsts, counts) VALUES (now(), ARRAY[$1::int], ARRAY[$2::int], ARRAY[0::bigint], ARRAY[2::bigint])", w.dry.Key, w.lots["dry"])
		}, []string{"11 unlisted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := worlds.lend(t)
			c.breaks(w, w.erase("c-1"))
			w.want(c.want...)
		})
	}
}

func TestRedemptionsErased(t *testing.T) {
	t.Parallel()
	w := newTills(t)
	p := w.erase("anna")
	w.want()
	// Read again from the start.
	told := *w.told
	told.CustomerID, told.IssuedTo = p.Customer("anna"), p.Customer("anna")
	w.tell(&w.first, told.Event())
	w.want()
	w.erase("bert")
	w.want()
	conflict := *w.conflict
	conflict.CustomerID, conflict.Erased = p.Customer("bert"), w.conflict.Content()
	w.tell(&w.clash, conflict.Event())
	back := *w.returned
	back.CustomerID, back.IssuedTo = p.Customer("bert"), p.Customer("bert")
	w.tell(nil, back.RolledBackEvent())
	w.want()

	told.CustomerID = p.Customer("bert")
	w.tell(&w.first, told.Event())
	w.want("9 misaddressed", "9 phantom", "9 words")
}
