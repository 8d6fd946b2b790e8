package tail

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"promopool/internal/consumer"
	"promopool/internal/domain"
)

// Printer writes records for a person, one line each.
type Printer struct {
	Out       io.Writer
	Colour    bool
	ShowCodes bool
}

// what a person wants to see of any of our events
type shown struct {
	RequestID    string `json:"request_id"`
	RedemptionID string `json:"redemption_id"`
	PoolID       string `json:"pool_id"`
	CustomerID   string `json:"customer_id"`
	Code         string `json:"code"`
	Reason       string `json:"reason"`
	StaffID      string `json:"staff_id"`
	Subject      string `json:"subject"`
	Remaining    *int64 `json:"remaining"`
}

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
	plain  = "\x1b[0m"
)

// Print writes one record.
func (p *Printer) Print(topic string, partition int, r *consumer.Record) error {
	at := p.paint(faint, r.Time.UTC().Format("15:04:05.000"))
	place := p.paint(faint, fmt.Sprintf("%s/%d/%d", topic, partition, r.Offset))
	var line string
	if why := consumer.Header(r, "dl_reason"); why != nil {
		line = fmt.Sprintf("%s  %s from %s/%s/%s  %s, %d bytes", p.paint(red, "dead letter "),
			clean(why), clean(consumer.Header(r, "dl_topic")), clean(consumer.Header(r, "dl_partition")), clean(consumer.Header(r, "dl_offset")),
			clean(consumer.Header(r, "dl_detail")), len(r.Value))
	} else {
		line = p.event(r)
	}
	_, err := fmt.Fprintf(p.Out, "%s  %s  %s\n", at, line, place)
	return err
}

func (p *Printer) event(r *consumer.Record) string {
	kind := string(consumer.Header(r, "ce_type"))
	var d shown
	if json.Unmarshal(r.Value, &d) != nil {
		return fmt.Sprintf("%s  %d bytes", p.paint(red, "not an event"), len(r.Value))
	}
	name := fmt.Sprintf("%-14s", strings.TrimPrefix(kind, "promopool."))
	switch kind {
	case domain.TypeCodeIssued, domain.TypeCodeRedeemed:
		name = p.paint(green, name)
	case domain.TypeCodeRejected, domain.TypeRedemptionRejected, domain.TypeRedemptionRolledBack:
		name = p.paint(yellow, name)
	}
	fields := []string{name}
	left := ""
	if d.Remaining != nil && d.Subject == "" {
		left = fmt.Sprintf("%d left", *d.Remaining)
	}
	for _, f := range []string{d.PoolID, d.RequestID, d.RedemptionID, d.CustomerID, p.mask(d.Code), d.Reason, left, d.StaffID, d.Subject} {
		if f != "" {
			fields = append(fields, clean([]byte(f)))
		}
	}
	return strings.Join(fields, "  ")
}

// mask leaves enough of a code to tell it from others, and too little to use it.
func (p *Printer) mask(code string) string {
	if p.ShowCodes || code == "" {
		return code
	}
	runes := []rune(code)
	left := min(2, len(runes)/4)
	return string(runes[:left]) + strings.Repeat("•", len(runes)-left)
}

func (p *Printer) paint(colour, s string) string {
	if !p.Colour {
		return s
	}
	return colour + s + plain
}

// clean keeps foreign text from moving the terminal's cursor.
func clean(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, string(b))
}

// line is a record as JSON.
type line struct {
	Topic     string            `json:"topic"`
	Partition int               `json:"partition"`
	Offset    int64             `json:"offset"`
	Time      string            `json:"time"`
	Key       *string           `json:"key"`
	Headers   map[string]string `json:"headers"`
	Data      any               `json:"data"`                  // the value, where it is JSON
	Bytes     []byte            `json:"data_base64,omitempty"` // where it is not
}

// PrintJSON writes one record as an object on one line, codes included.
func PrintJSON(w io.Writer, topic string, partition int, r *consumer.Record) error {
	l := line{Topic: topic, Partition: partition, Offset: r.Offset, Time: domain.EventTime(r.Time), Headers: map[string]string{}}
	if r.Key != nil {
		key := string(r.Key)
		l.Key = &key
	}
	for _, h := range r.Headers {
		l.Headers[h.Key] = string(h.Value)
	}
	if json.Valid(r.Value) {
		l.Data = json.RawMessage(r.Value)
	} else {
		l.Bytes = r.Value
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(l)
}
