package verify

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/topics"
)

//go:embed told.sql
var toldSQL string

// markNotices remembers which crossings and notices have been published, and then
// marks the ends of their topics: their events are before them.
func (a *audit) markNotices(ctx context.Context) error {
	if _, err := a.session.Exec(ctx, toldSQL); err != nil {
		return err
	}
	for _, l := range []struct {
		log   *log
		topic string
	}{{&a.poolEvents, a.names.PoolEvents}, {&a.notices, a.names.Notifications}} {
		t, err := topics.Describe(ctx, a.config.Client, l.topic)
		if err != nil {
			return err
		}
		if *l.log, err = a.ends(ctx, l.topic, t.Partitions); err != nil {
			return err
		}
	}
	a.report.Cut.PoolEvents, a.report.Cut.Notifications = a.poolEvents.end, a.notices.end
	return nil
}

// loadNoticeMarks tells the rules what retention may have taken of the two topics.
func (a *audit) loadNoticeMarks(ctx context.Context) error {
	if err := a.settle(ctx, &a.poolEvents, &a.notices); err != nil {
		return err
	}
	_, err := a.session.Exec(ctx, "INSERT INTO audit_notice_horizon (events, notices) VALUES ($1, $2)", horizon(&a.poolEvents), horizon(&a.notices))
	if err != nil {
		return err
	}
	_, err = a.session.Exec(ctx, "ANALYZE audit_told, audit_pool_events, audit_notices")
	return err
}

var unreadableNotice = Finding{
	Rule: "form", What: "An event of the topics of pool events and staff notifications is none of ours, or does not say what ours say.",
	Do: "find out who wrote it; consumers of the topic may have stumbled over it.",
}

func (a *audit) readNotices(ctx context.Context) error {
	for _, l := range []struct {
		log   *log
		table string
		count *int64
	}{{&a.poolEvents, "audit_pool_events", &a.counts.poolEvents}, {&a.notices, "audit_notices", &a.counts.notices}} {
		var read atomic.Int64
		if _, err := a.load(ctx, l.table, func(ctx context.Context, newRows func() *rows) error {
			return a.read(ctx, l.log, newRows, func(part int, r *consumer.Record, w *rows) error {
				e, err := readNotice(r, l.log == &a.notices)
				if err != nil {
					a.flaw(10, unreadableNotice, Sample{{"topic", l.log.topic}, {"partition", part}, {"offset", r.Offset}, {"finding", err.Error()}})
					return nil
				}
				read.Add(1)
				e.write(w, part, r)
				return w.done()
			})
		}); err != nil {
			return err
		}
		*l.count = read.Load()
	}
	return nil
}

// notice is an event of either topic.
type notice struct {
	staff    bool // is a staff.notification
	id, kind string
	at       time.Time
	gone     time.Time // exhausted_at
	data     noticeData
}

type noticeData struct {
	ID          string   `json:"notification_id"`
	Kind        string   `json:"kind"`
	StaffID     string   `json:"staff_id"`
	Channel     string   `json:"channel"`
	PoolID      string   `json:"pool_id"`
	CampaignID  string   `json:"campaign_id"`
	Remaining   *int64   `json:"remaining"`
	Threshold   *int64   `json:"threshold"`
	PerMinute   *float64 `json:"per_minute"`
	ExhaustedAt *string  `json:"exhausted_at"`
	OccurredAt  string   `json:"occurred_at"`
}

func readNotice(r *consumer.Record, staff bool) (*notice, error) {
	header := func(key string) string { return string(consumer.Header(r, key)) }
	n := &notice{staff: staff, id: header("ce_id")}
	typ := header("ce_type")
	kind, ours := strings.CutPrefix(typ, "promopool.pool.")
	switch {
	case staff && typ != domain.TypeStaffNotification:
		return nil, errors.New("ce_type is not staff.notification")
	case !staff && !ours:
		return nil, errors.New("ce_type is that of no pool event")
	}
	if err := json.Unmarshal(r.Value, &n.data); err != nil {
		return nil, errors.New("the value is not the JSON of its type")
	}
	d := &n.data
	if n.kind = kind; staff {
		n.kind = d.Kind
	}
	var err1, err2 error
	n.at, err1 = parseTime(d.OccurredAt)
	if d.ExhaustedAt != nil {
		n.gone, err2 = parseTime(*d.ExhaustedAt)
	}
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	moved := !staff && (kind == "launched" || kind == "archived")
	switch {
	case domain.CheckID(d.PoolID) != nil || domain.CheckID(d.CampaignID) != nil || staff && domain.CheckID(d.StaffID) != nil:
		return nil, errors.New("an id is absent or malformed")
	case !moved && d.Remaining == nil || !moved && !staff && d.PerMinute == nil:
		return nil, errors.New("a figure is absent")
	case header("ce_time") != d.OccurredAt || header("ce_subject") != d.PoolID || staff && d.ID != n.id:
		return nil, errors.New("ce_id, ce_time or ce_subject is not what the value says")
	case header("ce_source") != domain.Source || header("ce_dataschema") != domain.DataSchema(typ) || header("ce_specversion") != "1.0" || header("content-type") != "application/json":
		return nil, errors.New("ce_source, ce_dataschema, ce_specversion or content-type is not what it must be")
	}
	return n, nil
}

// write writes the row of either table.
func (n *notice) write(w *rows, part int, r *consumer.Record) {
	d, digest := &n.data, sum([]byte(n.id), consumer.Header(r, "ce_type"), r.Value)
	w.begin(15).int32(part).int64(r.Offset).text(n.id).text(n.kind).text(d.PoolID).text(d.CampaignID)
	for _, figure := range []*int64{d.Remaining, d.Threshold} {
		if figure == nil {
			w.null()
		} else {
			w.int64(*figure)
		}
	}
	w.time(n.gone).time(n.at).int64(int64(binary.BigEndian.Uint64(digest[:8]))).int64(int64(binary.BigEndian.Uint64(digest[8:])))
	switch {
	case n.staff:
		w.text(d.StaffID).text(d.Channel).null()
	case d.PerMinute != nil:
		w.null().null().text(fmt.Sprint(*d.PerMinute))
	default:
		w.null().null().null()
	}
}
