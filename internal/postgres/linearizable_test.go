package postgres_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"promopool/internal/domain"
	"promopool/internal/redeeming"
)

// act is what a client does to a code.
type act struct {
	code int
	verb string // redeem, roll back, block, unblock
	id   string // of the redemption
}

// shelf is all that is true of a code: whether it is blocked, by which redemption it
// is redeemed, and what was answered, as "id reason" each, with a * where it was
// rolled back.
type shelf struct {
	blocked bool
	by      string
	said    string
}

func (s shelf) answers() map[string]string {
	all := map[string]string{}
	for line := range strings.SplitSeq(s.said, "\n") {
		if id, reason, ok := strings.Cut(line, " "); ok {
			all[id] = reason
		}
	}
	return all
}

func (s shelf) with(id, answer string) shelf {
	all := s.answers()
	all[id] = answer
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, id+" "+all[id])
	}
	s.said = strings.Join(lines, "\n")
	return s
}

// does is what becomes of a code by an act, and what is answered.
func (s shelf) does(a act) (answer string, next shelf) {
	before, known := s.answers()[a.id]
	switch a.verb {
	case "block":
		s.blocked = true
		return "", s
	case "unblock":
		s.blocked = false
		return "", s
	case "roll back":
		switch {
		case !known:
			return "none", s
		case before == "redeemed":
			s.by = ""
			return "", s.with(a.id, "redeemed*")
		case before == "redeemed*":
			return "", s
		}
		return "rejected", s
	}
	switch {
	case known:
		return before, s
	case s.blocked:
		return "blocked", s.with(a.id, "blocked")
	case s.by != "":
		return "already_redeemed", s.with(a.id, "already_redeemed")
	}
	s.by = a.id
	return "redeemed", s.with(a.id, "redeemed")
}

// TestRedeemLinearizable: whatever many clients do to codes at once, redeeming,
// rolling back, blocking and asking again, there is an order of it in which each
// answer is right, and that agrees with when each was asked and answered.
func TestRedeemLinearizable(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.shop("p", func(*domain.Pool) {})
	const clients, acts, codes = 8, 60, 6 // some of them issued
	var mu sync.Mutex
	var history []porcupine.Operation
	var redeemed, asked [codes][]string // ids, as far as anyone was told
	began := time.Now()
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(client), 7))
			for n := range acts {
				a := act{code: chance.IntN(codes), verb: []string{"redeem", "redeem", "redeem", "roll back", "block", "unblock"}[chance.IntN(6)]}
				a.id = fmt.Sprint(a.code, "-", client, "-", n)
				mu.Lock()
				a.id = pick(chance, a.verb, redeemed[a.code], asked[a.code], a.id)
				mu.Unlock()
				call := time.Since(began)
				answer, err := d.act(a)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: a, Call: int64(call), Output: answer, Return: int64(time.Since(began))})
				if a.verb == "redeem" {
					asked[a.code] = append(asked[a.code], a.id)
				}
				if answer == "redeemed" {
					redeemed[a.code] = append(redeemed[a.code], a.id)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	model := porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, codes)
			for _, o := range history {
				code := o.Input.(act).code
				parts[code] = append(parts[code], o)
			}
			return parts
		},
		Init: func() any { return shelf{} },
		Step: func(state, input, output any) (bool, any) {
			answer, next := state.(shelf).does(input.(act))
			return answer == output.(string), next
		},
	}
	switch porcupine.CheckOperationsTimeout(model, history, 20*time.Second) {
	case porcupine.Illegal:
		t.Errorf("no order explains the answers to %d acts", len(history))
	case porcupine.Unknown:
		t.Error("no order was found in time")
	}
	answers := map[string]int{}
	for _, o := range history {
		answers[o.Input.(act).verb+": "+o.Output.(string)]++
	}
	for _, want := range []string{"redeem: redeemed", "redeem: redeemed*", "redeem: already_redeemed", "redeem: blocked", "roll back: ", "roll back: rejected", "roll back: none"} {
		if answers[want] == 0 {
			t.Errorf("%q never happened: %v", want, answers)
		}
	}
	// A wrong answer would have been seen.
	for i := range history {
		if history[i].Output == "already_redeemed" {
			history[i].Output = "redeemed"
			break
		}
	}
	if porcupine.CheckOperationsTimeout(model, history, 20*time.Second) == porcupine.Ok {
		t.Error("two redemptions of one code are explained")
	}
	d.Sound()
}

// pick chooses the redemption of an act: for the most part a new one to redeem, and
// one to roll back of which somebody knows.
func pick(chance *rand.Rand, verb string, redeemed, asked []string, fresh string) string {
	known := redeemed[max(0, len(redeemed)-3):]
	n := chance.IntN(4)
	switch verb {
	case "roll back":
		if n == 0 {
			known = asked
		}
	case "redeem":
		if n > 0 {
			return fresh
		}
	}
	if n == 1 || len(known) == 0 {
		return fresh // which nobody has heard of, unless it is to be redeemed
	}
	return known[chance.IntN(len(known))]
}

func (d *desk) act(a act) (string, error) {
	code := fmt.Sprint("c", a.code)
	switch a.verb {
	case "block":
		_, err := d.BlockCode(d.ctx, "anna", "p", code, "")
		return "", err
	case "unblock":
		_, err := d.UnblockCode(d.ctx, "anna", "p", code, "")
		return "", err
	case "roll back":
		_, _, err := d.RollBack(d.ctx, "anna", "p", a.id, "")
		switch {
		case errors.Is(err, domain.ErrNotFound):
			return "none", nil
		case errors.Is(err, domain.ErrNotRedeemed):
			return "rejected", nil
		}
		return "", err
	}
	judged, err := d.Redeem(d.ctx, []redeeming.Ask{{RedemptionRequest: wish("p", a.id, code, "anna")}})
	if err != nil {
		return "", err
	}
	switch {
	case !judged[0].Redeemed():
		return judged[0].Reason.String(), nil
	case !judged[0].RolledBackAt.IsZero():
		return "redeemed*", nil
	}
	return "redeemed", nil
}
