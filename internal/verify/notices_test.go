package verify

import (
	"bytes"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/producer"
)

// anna subscribes to everything since long before, and is the first of all.
var anna = domain.Staff{Key: 1, ID: "anna", Name: "Anna", Email: "anna@example.com"}

// scarcity has a pool run low, be refilled, and run out: all of it told but for the
// end, which waits in the outbox.
func (w *world) scarcity() {
	w.t.Helper()
	w.exec(`INSERT INTO staff (id, name, email, created_at, active_since)
		VALUES ($1, $2, $3, now() - interval '2 hours', now() - interval '2 hours')`, anna.ID, anna.Name, anna.Email)
	w.exec("INSERT INTO subscriptions (staff, created_at) SELECT staff, created_at FROM staff")
	w.exec("INSERT INTO subscriptions (staff, campaign, created_at) SELECT s.staff, c.campaign, s.created_at FROM staff s, campaigns c")
	// He came when all was over.
	w.exec("INSERT INTO staff (id, name, email, created_at, active_since) VALUES ('ben', 'Ben', 'ben@example.com', now(), now())")
	w.exec("INSERT INTO subscriptions (staff, created_at) SELECT staff, created_at FROM staff WHERE id = 'ben'")

	p := w.pool("scant", false)
	below := int64(10)
	p.Name, p.State, p.Notify, p.NotifyBelow = "Pool", domain.Active, true, &below
	w.exec("UPDATE pools SET notify = true, notify_below = 10 WHERE pool = $1", p.Key)
	w.must(w.db.QueryRow(w.t.Context(), "SELECT launched_at FROM pools WHERE pool = $1", p.Key).Scan(&p.LaunchedAt))
	w.tellEvent(domain.LaunchedEvent(p))
	w.scant = p
	watch := domain.Watch{State: domain.StockOK}
	for _, left := range []int64{9, 10, 5, 0} {
		var crossed []domain.Crossing
		watch, crossed = watch.Judge(p, left)
		facts := domain.FactsOf(p, domain.Samples{{At: w.tick().Add(-time.Hour)}}, w.now, left, 90)
		for _, c := range crossed {
			w.cross(c, facts, left > 0)
		}
	}
	w.exec("INSERT INTO stock_watch (pool, state, low_no, told_low, told_out) VALUES ($1, $2, $3, $4, $5)", p.Key, string(watch.State), watch.No, watch.ToldLow, watch.ToldExhausted)
}

// cross stores a crossing of the pool and its notice, and tells them, or leaves them
// in the outbox.
func (w *world) cross(c domain.Crossing, f domain.StockFacts, told bool) {
	w.t.Helper()
	p := w.scant
	w.exec("INSERT INTO crossings (pool, low_no, from_state, to_state, kind, at, remaining, threshold, per_minute, exhausted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		p.Key, c.No, string(c.From), string(c.To), string(c.Kind), f.At, f.Left, f.Threshold, f.PerMinute, null(f.ExhaustedAt))
	events := []domain.Event{domain.CrossingEvent(p, c, f)}
	if kind := domain.NoticeKind(c.Kind); kind != "" {
		w.exec("INSERT INTO notifications (pool, low_no, kind, staff, channel, staff_id, at) VALUES ($1, $2, $3, $4, 'email', $5, $6)", p.Key, c.No, kind, anna.Key, anna.ID, f.At)
		n := domain.Notice{To: &anna, Pool: p, CampaignName: "Campaign", No: c.No, Told: c.Kind, Facts: f, Link: "http://localhost"}
		events = append(events, n.Event())
	}
	for _, e := range events {
		if told {
			w.tellEvent(e)
		} else {
			w.exec("INSERT INTO outbox (topic, key, id, type, at, subject, value) VALUES ($1, $2, $3, $4, $5, $6, $7)", string(e.Topic), []byte(e.Key), e.ID, e.Type, e.At, e.PoolID, e.Value)
		}
	}
}

// tellEvent publishes an event of the outbox.
func (w *world) tellEvent(e domain.Event) {
	w.t.Helper()
	topic := w.names.PoolEvents
	if e.Topic == domain.ToStaffNotifications {
		topic = w.names.Notifications
	}
	w.publish(topic, 0, outboxRecord(e))
}

func outboxRecord(e domain.Event) producer.Record {
	rec := producer.Record{Key: []byte(e.Key), Value: e.Value, Time: e.At}
	for _, kv := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", e.ID}, {"ce_type", e.Type}, {"ce_source", domain.Source}, {"ce_time", domain.EventTime(e.At)},
		{"ce_subject", e.PoolID}, {"ce_dataschema", domain.DataSchema(e.Type)}, {"content-type", "application/json"}, {"ce_outboxnumber", strconv.Itoa(7)},
	} {
		rec.Headers = append(rec.Headers, kafka.Header{Key: kv[0], Value: []byte(kv[1])})
	}
	return rec
}

// low is the first crossing, as it was told.
func (w *world) low() (domain.Crossing, domain.StockFacts) {
	w.t.Helper()
	f := domain.StockFacts{Left: 9, Threshold: w.scant.NotifyBelow}
	var gone *time.Time
	w.must(w.db.QueryRow(w.t.Context(), "SELECT at, per_minute, exhausted_at FROM crossings WHERE low_no = 1").Scan(&f.At, &f.PerMinute, &gone))
	if gone != nil {
		f.ExhaustedAt = *gone
	}
	return domain.Crossing{No: 1, From: domain.StockOK, To: domain.StockLow, Kind: domain.WentLow}, f
}

// notice is the first crossing's, to anybody.
func (w *world) notice(to domain.Staff) domain.Event {
	c, f := w.low()
	n := domain.Notice{To: &to, Pool: w.scant, CampaignName: "Campaign", No: c.No, Told: c.Kind, Facts: f, Link: "http://localhost"}
	return n.Event()
}

// TestBrokenNotices does to what is told of low stock what TestBroken does to the
// rest.
func TestBrokenNotices(t *testing.T) {
	t.Parallel()
	worlds := stable[*world]{t: t, build: func(t *testing.T) (*world, *world) { w := newWorld(t); w.scarcity(); return w, w }}
	for _, c := range []struct {
		name   string
		breaks func(w *world)
		want   []string
	}{
		{"Repeated", func(w *world) { // at least once is the promise
			c, f := w.low()
			w.tellEvent(domain.CrossingEvent(w.scant, c, f))
			w.tellEvent(w.notice(anna))
		}, nil},
		{"OtherWords", func(w *world) {
			c, f := w.low()
			e := domain.CrossingEvent(w.scant, c, f)
			e.Value = bytes.Replace(e.Value, []byte(`,`), []byte(`, `), 1)
			w.tellEvent(e)
		}, []string{"10 words"}},
		{"OtherFigure", func(w *world) {
			c, f := w.low()
			f.Left--
			w.tellEvent(domain.CrossingEvent(w.scant, c, f))
		}, []string{"10 phantom", "10 words"}},
		{"ToldUnderAnotherNumber", func(w *world) {
			c, f := w.low()
			c.No = 17
			w.tellEvent(domain.CrossingEvent(w.scant, c, f))
		}, []string{"10 phantom"}},
		{"NeverCrossed", func(w *world) {
			c, f := w.low()
			f.At = f.At.Add(time.Millisecond)
			c.No = 17
			w.tellEvent(domain.CrossingEvent(w.scant, c, f))
		}, []string{"10 phantom"}},
		{"NeverArchived", func(w *world) {
			p := *w.scant
			p.ArchivedAt = w.now
			w.tellEvent(domain.ArchivedEvent(&p))
		}, []string{"10 phantom"}},
		{"OfAnotherCampaign", func(w *world) {
			p := *w.scant
			p.CampaignID = "another"
			w.tellEvent(domain.LaunchedEvent(&p))
		}, []string{"10 phantom", "10 words"}},
		{"NoticeToAnother", func(w *world) {
			w.tellEvent(w.notice(domain.Staff{Key: anna.Key, ID: "eve", Name: "Eve", Email: "eve@example.com"}))
		}, []string{"10 phantom_notice", "10 words"}},
		{"NoticeTwice", func(w *world) {
			w.tellEvent(w.notice(domain.Staff{Key: 4711, ID: anna.ID, Name: anna.Name, Email: anna.Email}))
		}, []string{"10 phantom_notice"}},
		{"CrossingChanged", func(w *world) {
			w.exec("UPDATE crossings SET remaining = 8 WHERE low_no = 1")
		}, []string{"10 phantom"}},
		{"CrossingUntold", func(w *world) {
			w.exec("DELETE FROM outbox WHERE topic = 'pool-events'")
		}, []string{"10 told"}},
		{"NoticeUntold", func(w *world) {
			w.exec("DELETE FROM outbox WHERE topic = 'staff-notifications'")
		}, []string{"10 notified"}},
		{"Unheard", func(w *world) {
			w.exec("DELETE FROM outbox WHERE topic = 'staff-notifications'")
			w.exec("DELETE FROM notifications WHERE low_no = 4")
		}, []string{"10 unheard"}},
		{"NumberMissing", func(w *world) {
			w.exec("UPDATE crossings SET low_no = 5 WHERE low_no = 4")
			w.exec("UPDATE notifications SET low_no = 5 WHERE low_no = 4")
			w.exec("UPDATE stock_watch SET low_no = 5")
			w.exec("DELETE FROM outbox WHERE topic IN ('pool-events', 'staff-notifications')")
		}, []string{"10 notified", "10 order", "10 told"}},
		{"LowTwice", func(w *world) {
			// As if the refill in between had gone unnoticed.
			w.exec("UPDATE crossings SET to_state = 'low' WHERE low_no = 2")
		}, []string{"10 order"}},
		{"WatchElsewhere", func(w *world) {
			w.exec("UPDATE stock_watch SET state = 'low'")
		}, []string{"10 order"}},
		{"WatchWithoutCrossings", func(w *world) {
			w.exec("INSERT INTO stock_watch (pool, state, low_no) VALUES ($1, 'low', 1)", w.summer.Key)
		}, []string{"10 order"}},
		{"ExhaustedWithCodes", func(w *world) {
			w.exec("UPDATE crossings SET remaining = 1 WHERE low_no = 4")
		}, []string{"10 facts"}},
		{"LowAboveThreshold", func(w *world) {
			w.exec("UPDATE crossings SET threshold = 9 WHERE low_no = 1")
		}, []string{"10 facts", "10 phantom"}},
		{"ReplenishedBelow", func(w *world) {
			w.exec("UPDATE crossings SET threshold = 11 WHERE low_no = 2")
		}, []string{"10 facts", "10 phantom"}},
		{"BeforeLaunch", func(w *world) {
			w.exec("UPDATE pools SET launched_at = now() WHERE pool = $1", w.scant.Key)
		}, []string{"10 facts", "10 phantom"}},
		{"Groundless", func(w *world) {
			w.exec("INSERT INTO notifications (pool, low_no, kind, staff, channel, staff_id, at) VALUES ($1, 17, 'pool_low', 1, 'email', 'anna', $2)", w.scant.Key, w.now)
		}, []string{"10 groundless", "10 notified"}},
		{"UninvitedYet", func(w *world) {
			w.exec("INSERT INTO notifications (pool, low_no, kind, staff, channel, staff_id, at) SELECT $1, 1, 'pool_low', staff, 'email', id, $2 FROM staff WHERE id = 'ben'", w.scant.Key, w.now)
		}, []string{"10 notified", "10 uninvited"}},
		{"UninvitedAnyMore", func(w *world) { w.leave(w.now.Add(-time.Minute)) }, []string{"10 uninvited"}},
		{"LeftLater", func(w *world) { w.leave(time.Now()) }, nil},
		{"ToldWhileInactive", func(w *world) {
			w.exec(`INSERT INTO history (at, actor, action, staff, changes) VALUES ($1, 'anna', 'staff.edited', 1, '{"active": {"from": true, "to": false}}')`, w.now.Add(-time.Minute))
			w.exec(`INSERT INTO history (at, actor, action, staff, changes) VALUES (now(), 'anna', 'staff.edited', 1, '{"active": {"from": false, "to": true}}')`)
		}, []string{"10 uninvited"}},
		{"Missed", func(w *world) { w.unwatched("1 minute", "1 hour") }, []string{"10 missed"}},
		{"MissedByNobody", func(w *world) { w.unwatched("-1 minute", "1 hour") }, nil}, // the service rests
		{"NotYetMissed", func(w *world) { w.unwatched("1 minute", "1 minute") }, nil},
		{"LaunchUntold", func(w *world) {
			w.exec("INSERT INTO history (at, actor, action, pool, changes) VALUES (now(), 'anna', 'pool.launched', $1, '{}')", w.pool("other", false).Key)
		}, []string{"10 life"}},
		{"ForeignPoolEvent", func(w *world) {
			c, f := w.low()
			e := domain.CrossingEvent(w.scant, c, f)
			e.Value = []byte("hello")
			w.tellEvent(e)
		}, []string{"10 form"}},
		{"ForeignNotice", func(w *world) {
			e := w.notice(anna)
			e.ID = "another"
			w.tellEvent(e)
		}, []string{"10 form"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := worlds.lend(t)
			if c.name == "WatchWithoutCrossings" {
				w.summer = w.pool("summer", false)
			}
			c.breaks(w)
			w.want(c.want...)
		})
	}
}

// leave ends anna's subscriptions.
func (w *world) leave(at time.Time) {
	w.t.Helper()
	w.exec("DELETE FROM subscriptions WHERE staff = 1")
	for _, scope := range []string{"all", "campaign:camp"} {
		w.exec("INSERT INTO history (at, actor, action, staff, changes) VALUES ($1, 'anna', 'staff.subscribed', 1, jsonb_build_object('subscription', jsonb_build_object('to', $2::text)))", at.Add(-time.Hour), scope)
		w.exec("INSERT INTO history (at, actor, action, staff, changes) VALUES ($1, 'anna', 'staff.unsubscribed', 1, jsonb_build_object('subscription', jsonb_build_object('from', $2::text)))", at, scope)
	}
}

// unwatched is a pool of two codes that is to be told of below five, as long ago as
// it says, while somebody holds a lease for so long.
func (w *world) unwatched(lease, since string) {
	w.t.Helper()
	p := w.pool("quiet", false)
	w.exec("UPDATE pools SET notify = true, notify_below = 5 WHERE pool = $1", p.Key)
	w.lot(p, 2, domain.Window{})
	w.exec("UPDATE lots SET created_at = now() - $2::text::interval WHERE pool = $1", p.Key, since)
	w.exec("INSERT INTO stock_watch (pool) VALUES ($1)", p.Key)
	w.exec("INSERT INTO leases (name, holder, until) VALUES ('outbox', 'someone', now() + $1::text::interval)", lease)
}
