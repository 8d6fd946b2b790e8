package domain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// TypeStaffNotification is the type of the event that a notice is.
const TypeStaffNotification = "promopool.staff.notification"

// ByEmail is the channel of notices. Whoever reads the topic carries them.
const ByEmail = "email"

// Notice is what one of staff is told of a crossing.
type Notice struct {
	To           *Staff
	Pool         *Pool
	CampaignName string
	No           int64        // the crossing
	Told         CrossingKind // low or exhausted
	Facts        StockFacts
	Link         string // where something can be done
}

// NoticeKind is what notices of a crossing are called; "": there are none.
func NoticeKind(k CrossingKind) string {
	switch k {
	case WentLow:
		return "pool_low"
	case Exhausted:
		return "pool_exhausted"
	}
	return ""
}

// NoticeID is the notification_id, and the ce_id, of the notice of a crossing.
func NoticeID(poolID, kind string, no int64, staff int32, channel string) string {
	return string(appendEventID(nil, kind, poolID, strconv.FormatInt(no, 10), strconv.Itoa(int(staff)), channel))
}

// Event is the notice as it is published.
func (n *Notice) Event() Event {
	kind := NoticeKind(n.Told)
	id := NoticeID(n.Pool.ID, kind, n.No, n.To.Key, ByEmail)
	b := appendString([]byte(`{"notification_id":`), id)
	b = appendString(append(b, `,"kind":`...), kind)
	b = appendString(append(b, `,"staff_id":`...), n.To.ID)
	b = appendString(append(b, `,"name":`...), n.To.Name)
	b = appendString(append(b, `,"channel":`...), ByEmail)
	b = appendString(append(b, `,"address":`...), n.To.Email)
	b = appendString(append(b, `,"subject":`...), n.Subject())
	b = appendString(append(b, `,"text":`...), n.Text())
	b = appendString(append(b, `,"pool_id":`...), n.Pool.ID)
	b = appendString(append(b, `,"campaign_id":`...), n.Pool.CampaignID)
	b = appendStanding(b, n.Facts)
	b = appendMaybeTime(append(b, `,"exhausted_at":`...), n.Facts.ExhaustedAt)
	return Event{
		Topic: ToStaffNotifications, Key: n.To.ID, ID: id, Type: TypeStaffNotification, At: n.Facts.At, PoolID: n.Pool.ID,
		Value: appendOccurred(b, n.Facts.At),
	}
}

// Subject is the notice in a line.
func (n *Notice) Subject() string {
	switch {
	case n.Told == Exhausted:
		return n.Pool.Name + " has run out of codes"
	case n.Facts.Left == 0:
		return fmt.Sprintf("%s fell below %s, and none is left", n.Pool.Name, count(*n.Facts.Threshold, "code"))
	}
	return fmt.Sprintf("%s is running low: %s left", n.Pool.Name, count(n.Facts.Left, "code"))
}

// Text is the whole of it, in paragraphs.
func (n *Notice) Text() string {
	return strings.Join([]string{"Hello " + n.To.Name + ",", n.standing(), n.pace(), n.toDo() + "\n" + n.Link}, "\n\n")
}

// standing says which pool it is about and how many codes are left.
func (n *Notice) standing() string {
	pool := fmt.Sprintf("“%s” (campaign “%s”)", n.Pool.Name, n.CampaignName)
	switch {
	case n.Told == Exhausted:
		return pool + " has run out of codes. Customers who should get one now go away empty-handed."
	case n.Facts.Left == 0:
		return fmt.Sprintf("%s has fallen below the %s at which you wanted to know, and none is left.", pool, count(*n.Facts.Threshold, "code"))
	}
	are := "are"
	if n.Facts.Left == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s is running low: %s %s left, fewer than the %s at which you wanted to know.",
		pool, count(n.Facts.Left, "code"), are, grouped(*n.Facts.Threshold))
}

// pace says how fast codes go, and when they will be gone.
func (n *Notice) pace() string {
	switch rate, last := n.Facts.PerMinute, n.Facts.ExhaustedAt; {
	case n.Facts.Left == 0 && rate == 0:
		return "No code was given out in the last five minutes."
	case n.Facts.Left == 0:
		return "Before that, customers were getting " + pace(rate) + "."
	case rate == 0:
		return "No code was given out in the last five minutes, so there is no telling how long these will last."
	case last.IsZero():
		return "Customers are getting " + pace(rate) + ", so these will last for years."
	default:
		return fmt.Sprintf("Customers are getting %s. At this pace the last one will be gone on %s UTC, %s.",
			pace(rate), last.UTC().Format("Monday, 2 January 2006, at 15:04"), within(last.Sub(n.Facts.At)))
	}
}

func (n *Notice) toDo() string {
	if n.Facts.Left == 0 {
		return "Please add codes, or archive the pool if the promotion is over:"
	}
	return "Please add codes in time, unless the promotion is meant to end with these:"
}

// pace is a rate as one says it: by the minute, or by the hour where that is less
// than one.
func pace(perMinute float64) string {
	if perMinute >= 1 {
		return "about " + count(int64(math.Round(perMinute)), "code") + " a minute"
	}
	return "about " + count(max(1, int64(math.Round(60*perMinute))), "code") + " an hour"
}

// within is how far ahead something is, as one says it.
func within(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		below, one time.Duration
		name       string
	}{
		{90 * time.Minute, time.Minute, "minute"}, {36 * time.Hour, time.Hour, "hour"}, {60 * day, day, "day"}, {600 * day, 30 * day, "month"},
	} {
		if d < unit.below {
			if n := int64(math.Round(float64(d) / float64(unit.one))); n > 0 {
				return "in about " + count(n, unit.name)
			}
			return "in less than a minute"
		}
	}
	return "in about " + count(int64(math.Round(float64(d)/float64(365*day))), "year")
}

// count is a number with its noun.
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
