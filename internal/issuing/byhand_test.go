package issuing_test

import (
	"errors"
	"fmt"

	"pgregory.net/rapid"

	"promopool/internal/domain"
)

// handRequest is a request by hand, of those that come over Kafka too.
func (m *model) handRequest(t *rapid.T) domain.Request {
	r := ask(rapid.SampledFrom(m.pools).Draw(t, "pool"), fmt.Sprint("r", rapid.IntRange(0, 400).Draw(t, "request")))
	if rapid.IntRange(0, 9).Draw(t, "another's") == 0 {
		r.CustomerID = "another"
	}
	return r
}

// given holds an issue by hand against those before and against what is blocked.
func (m *model) given(t *rapid.T, r domain.Request, i domain.Issuance) {
	key := [2]string{r.PoolID, r.RequestID}
	before, again := m.byHand[key]
	switch {
	case again && (before.Code != i.Code || before.Place != i.Place || !before.IssuedAt.Equal(i.IssuedAt)):
		t.Fatalf("%s was issued %+v, and now %+v", r.RequestID, before.Place, i.Place)
	case i.RequestID != r.RequestID || i.CustomerID != r.CustomerID:
		t.Fatalf("%s got another request's code", r.RequestID)
	}
	m.byHand[key] = i
}

func (m *model) handNext(t *rapid.T) {
	r := m.handRequest(t)
	had := m.w.Int("SELECT count(*) FROM issuances JOIN pools USING (pool) WHERE id = $1 AND request_id = $2", r.PoolID, r.RequestID)
	i, err := m.w.store.IssueNext(m.w.ctx(), "test", r, "")
	var denied *domain.Denied
	switch {
	case err == nil:
		m.given(t, r, i)
		if had == 0 {
			m.fresh(t, &i)
		}
	case !errors.As(err, &denied):
		t.Fatalf("issue the next: %v", err)
	case denied.Reason == domain.DeniedExhausted:
		m.wantExhausted(t, r.PoolID)
	}
}

func (m *model) handCode(t *rapid.T) {
	r := m.handRequest(t)
	code := m.someCode(t, r.PoolID)
	had := m.w.Int("SELECT count(*) FROM issuances JOIN pools USING (pool) WHERE id = $1 AND request_id = $2", r.PoolID, r.RequestID)
	i, err := m.w.store.IssueCode(m.w.ctx(), "test", code, r, "")
	var denied *domain.Denied
	switch {
	case err == nil && i.Code != code:
		t.Fatal("another code was issued")
	case err == nil:
		m.given(t, r, i)
		if had == 0 {
			m.fresh(t, &i)
		}
	case !errors.As(err, &denied):
		t.Fatalf("issue a code: %v", err)
	case (denied.Reason == domain.DeniedBlocked) != m.barred[[2]string{r.PoolID, code}] && denied.Reason == domain.DeniedBlocked:
		t.Fatal("a code is said to be blocked that is not")
	}
}

// fresh checks a new issue, by hand or not.
func (m *model) fresh(t *rapid.T, i *domain.Issuance) {
	if m.barred[[2]string{i.Pool.ID, i.Code}] {
		t.Fatalf("%d/%d was issued while it was blocked", i.Lot, i.Seq)
	}
}

// someCode is a code that the pool has.
func (m *model) someCode(t *rapid.T, id string) string {
	at := rapid.IntRange(0, 1000).Draw(t, "code")
	var code string
	err := m.w.sql.QueryRow(m.w.ctx(), `SELECT coalesce(max(code), '') FROM
		(SELECT code FROM codes JOIN pools USING (pool) WHERE id = $1 ORDER BY code OFFSET $2 % greatest((SELECT count(*) FROM codes JOIN pools USING (pool) WHERE id = $1), 1) LIMIT 1) c`,
		id, at).Scan(&code)
	if err != nil {
		t.Fatal(err)
	}
	if code == "" {
		t.Skip("no codes")
	}
	return code
}

func (m *model) block(t *rapid.T) {
	id := rapid.SampledFrom(m.pools).Draw(t, "pool")
	code := m.someCode(t, id)
	story, err := m.w.store.BlockCode(m.w.ctx(), "test", id, code, "leaked")
	if err != nil || story.State != domain.CodeBlocked {
		t.Fatalf("block: %s, %v", story.State, err)
	}
	m.barred[[2]string{id, code}] = true
}

func (m *model) unblock(t *rapid.T) {
	id := rapid.SampledFrom(m.pools).Draw(t, "pool")
	code := m.someCode(t, id)
	story, err := m.w.store.UnblockCode(m.w.ctx(), "test", id, code, "")
	if err != nil || story.State == domain.CodeBlocked {
		t.Fatalf("unblock: %s, %v", story.State, err)
	}
	delete(m.barred, [2]string{id, code})
}

// wantExhausted checks a verdict just after it.
func (m *model) wantExhausted(t *rapid.T, id string) {
	left := m.w.Int(`SELECT coalesce(sum(CASE WHEN multi_use THEN usable(pool, lot, next, hi) ELSE hi - next END), 0)::bigint
		FROM runs JOIN pools USING (pool) WHERE id = $1`, id)
	if left > 0 {
		t.Fatalf("%s is said to be exhausted, it has %d codes", id, left)
	}
}

// checkByHand: what was issued by hand is stored so, and told once.
func (m *model) checkByHand(t *rapid.T) {
	stored := m.w.stored(m.w.ctx())
	for key, i := range m.byHand {
		if got := stored[key]; got.Place != i.Place || !got.IssuedAt.Equal(i.IssuedAt) || got.CustomerID != i.CustomerID {
			t.Errorf("%s was issued %+v, stored is %+v", key[1], i.Place, got.Place)
		}
	}
	if n := m.w.Int(`SELECT count(*) FROM (SELECT id FROM outbox GROUP BY id HAVING count(*) > 1) o`); n > 0 {
		t.Errorf("%d issues by hand are told twice", n)
	}
	if n := m.w.Int(`SELECT count(*) FROM code_history h LEFT JOIN issuances i ON i.pool = h.pool AND i.request_id = h.request_id
		JOIN pools p ON p.pool = h.pool LEFT JOIN outbox o ON o.subject = p.id AND convert_from(o.value, 'UTF8')::json->>'request_id' = h.request_id
		WHERE h.action = 'issued' AND (i.seq IS NULL OR o.no IS NULL)`); n > 0 {
		t.Errorf("%d issues by hand are not stored or not told", n)
	}
}
