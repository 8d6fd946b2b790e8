package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
)

// clerk erases customers at the second call, and counts the calls.
type clerk struct{ calls int }

func (c *clerk) Erase(_ context.Context, who domain.Actor, customer string) (domain.Erasure, []domain.Held, error) {
	c.calls++
	if domain.IsPseudonym(customer) {
		return domain.Erasure{}, nil, domain.ErrPseudonym
	}
	until := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	e := domain.Erasure{Actor: who, CustomerID: customer, BegunAt: until.AddDate(0, 0, -30), Issuances: 2, Redemptions: 1}
	if c.calls > 1 {
		e.DoneAt = until.AddDate(0, 0, -29)
	}
	return e, []domain.Held{{Topic: "promo.code-requests", Until: until.AddDate(0, 0, -1)}, {Topic: "promo.code-outcomes", Until: until}}, nil
}

func TestCustomerFromTerminal(t *testing.T) {
	c := newCounter(t)
	c.Run(done, words("campaign create Summer")...)
	c.Run(done, words("pool create Beach --campaign summer --description sun")...)
	c.Fill("beach", "SUN-1", "SUN-2")
	c.Run(done, words("launch beach")...)
	c.Shows(words("customer codes c/1"), "ISSUED POOL CODE STATE VALID UNTIL REQUEST")
	conn, err := pgx.Connect(t.Context(), c.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `INSERT INTO issuances (pool, lot, seq, issued_at, valid_from, request_id, customer_id)
			SELECT pool, lot, s, '2026-07-01T10:00:00Z'::timestamptz + s * interval '1 hour', now(), 'r-' || s, 'c/1' FROM lots, generate_series(0, 1) s;
		INSERT INTO unlisted (at, pools, lots, firsts, counts) SELECT now(), ARRAY[pool], ARRAY[lot], ARRAY[0], ARRAY[2] FROM lots`); err != nil {
		t.Fatal(err)
	}
	c.Shows(words("customer codes c/1"), "2026-07-01 11:00:00 UTC beach SUN-2 issued - r-1", "2026-07-01 10:00:00 UTC beach SUN-1 issued - r-0")
	if out, _ := c.Run(done, words("customer codes c/1 --json")...); !strings.Contains(out, `"redeemed_at": null`) {
		t.Errorf("got %s", out)
	}

	c.Shows(words("customer erase c/1 --yes --no-wait"), "state still being erased", "issuances 2", "redemptions 1", "held by topics until 2100-01-02", "promo.code-requests until 2100-01-01")
	c.clerk.calls = 0
	c.Shows(words("customer erase c/1 --yes"), "state erased 2099-12-04")
	if c.clerk.calls != 2 {
		t.Errorf("asked %d times, want until it is done", c.clerk.calls)
	}
	c.Fails("there is nothing to erase", "customer", "erase", domain.NewPseudonyms(make([]byte, 32)).Customer("x"), "--yes")
}

// TestEraseConfirmed: nothing is erased but by a yes.
func TestEraseConfirmed(t *testing.T) {
	c := newCounter(t)
	c.clerk.calls = 1
	for _, said := range []struct {
		answer string
		status int
	}{{"y\n", done}, {"YES\n", done}, {"n\n", failed}, {"\n", failed}, {"", failed}, {"yes, please\n", failed}} {
		file := filepath.Join(t.TempDir(), "answer")
		if err := os.WriteFile(file, []byte(said.answer), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var out, asked bytes.Buffer
		before, stdin := c.clerk.calls, os.Stdin
		os.Stdin = in
		got := Main([]string{"customer", "erase", "c-1"}, &out, &asked)
		os.Stdin = stdin
		in.Close()
		if got != said.status || (c.clerk.calls > before) != (said.status == done) || !strings.Contains(asked.String(), `Erase customer "c-1" for good? [y/N]`) {
			t.Errorf("%q: status %d, asked %d times: %s", said.answer, got, c.clerk.calls-before, asked.String())
		}
	}
}
