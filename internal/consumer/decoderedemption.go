package consumer

import (
	"time"

	"promopool/internal/domain"
)

// DecodeRedemption reads a redemption.requested event, on the terms of Decode.
func DecodeRedemption(r *Record) (domain.RedemptionRequest, *Malformed) {
	s, m := dataOf(r, domain.TypeRedemptionRequested)
	if m != nil {
		return domain.RedemptionRequest{}, m
	}
	var req domain.RedemptionRequest
	if s.redemption(&req) {
		s.end()
	}
	if s.bad != nil {
		return domain.RedemptionRequest{}, s.bad
	}
	return req, nil
}

// field is one that the data of an event may have.
type field struct {
	name     string
	required bool
	read     func(name string) bool
	seen     bool
}

// redemption reads the data of redemption.requested.
func (s *scanner) redemption(req *domain.RedemptionRequest) bool {
	return s.fields([]field{
		{name: "redemption_id", required: true, read: s.textInto(&req.RedemptionID, false)},
		{name: "pool_id", required: true, read: s.textInto(&req.PoolID, false)},
		{name: "code", required: true, read: s.textInto(&req.Code, false)},
		{name: "customer_id", read: s.textInto(&req.CustomerID, true)},
		{name: "order_id", read: s.textInto(&req.OrderID, true)},
		{name: "occurred_at", read: func(name string) (ok bool) { req.OccurredAt, ok = s.pastMoment(name); return ok }},
		{name: "context", read: func(string) (ok bool) { req.Context, ok = s.context(); return ok }},
	})
}

// fields reads an object that has these, each once, and any others.
func (s *scanner) fields(fields []field) bool {
	if s.peek() != '{' {
		s.notA("The data", "an object", 1)
		return false
	}
	for first := true; s.next(first); first = false {
		name, known := string(s.name), false
		for i := range fields {
			f := &fields[i]
			if f.name != name {
				continue
			}
			if f.seen {
				return s.fail(duplicateField, "The field "+name+" is given twice.")
			}
			if f.seen, known = true, true; !f.read(name) {
				return false
			}
		}
		if !known && !s.value(2) {
			return false
		}
	}
	if s.bad != nil {
		return false
	}
	for _, f := range fields {
		if f.required && !f.seen {
			return s.fail(missingField, "The field "+f.name+" is missing.")
		}
	}
	return true
}

// textInto reads an id, or another text with the same bounds.
func (s *scanner) textInto(to *string, orNull bool) func(string) bool {
	return func(name string) bool {
		switch c := s.peek(); {
		case orNull && c == 'n':
			return s.word("null")
		case orNull && c != '"':
			s.notA("The field "+name, "a string or null", 2)
			return false
		}
		text, ok := s.id(nil, name)
		*to = string(text)
		return ok
	}
}

// pastMoment reads a time that answers repeat, which have years of four digits.
func (s *scanner) pastMoment(name string) (time.Time, bool) {
	t, ok := s.moment(name)
	if ok && !t.IsZero() && (t.Year() < 0 || t.Year() > 9999) {
		return t, s.fail(badTime, "The field "+name+" must be a time in the years 0 to 9999, in UTC.")
	}
	return t, ok
}
