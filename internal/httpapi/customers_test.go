package httpapi_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"promopool/internal/domain"
	"promopool/internal/postgres"
)

// shredder erases when it is asked the second time, for there is no Kafka to wait for.
// One topic is held for a day, and one for good.
type shredder struct{ store *postgres.Store }

func (s shredder) Erase(ctx context.Context, who domain.Actor, customer string) (domain.Erasure, []domain.Held, error) {
	held := []domain.Held{{Topic: "requests", Until: time.Now().AddDate(0, 0, 1)}, {Topic: "outcomes"}}
	if domain.IsPseudonym(customer) {
		return domain.Erasure{}, nil, domain.ErrPseudonym
	}
	open, err := s.store.OpenErasures(ctx, 0)
	if err != nil {
		return domain.Erasure{}, nil, err
	}
	e, err := s.store.BeginErasure(ctx, who, customer)
	if err != nil || len(open) == 0 {
		return e, held, err
	}
	if _, err := s.store.ListCodes(ctx, 1000); err != nil {
		return e, held, err
	}
	for more := true; more; {
		if more, err = s.store.ErasePiece(ctx, e, 100); err != nil {
			return e, held, err
		}
	}
	// Nobody carries what is in the outbox.
	events, err := s.store.Unpublished(ctx, 1000)
	for _, event := range events {
		if err == nil {
			err = s.store.Published(ctx, []int64{event.No})
		}
	}
	if err == nil {
		err = s.store.MarkErasure(ctx, e, domain.ErasureMarks{Stream: "stream", Ends: []int64{0}, RedemptionEnds: []int64{0}})
	}
	if err == nil {
		_, err = s.store.FinishErasure(ctx, e)
	}
	if err == nil {
		e, err = s.store.Erasure(ctx, e.No)
	}
	return e, held, err
}

func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(s.t.Context())
	if _, err := conn.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(err)
	}
}

// TestCustomerPages: the codes of a customer come in pages, each once, whatever the
// customer is called.
func TestCustomerPages(t *testing.T) {
	s := open(t)
	s.Want(201, "POST", "/v1/pools", `{"campaign_id": "summer", "name": "p", "description": "p"}`)
	s.Fill("p", 5, "c0", "c1", "c2", "c3", "c4", "c5")
	s.Want(200, "POST", "/v1/pools/p/launch", "")
	const name = `§/ "?#%2F..` + "\u00e9"
	s.exec("UPDATE issuances SET customer_id = $1, issued_at = issued_at - seq * interval '1 second'", name)
	path := "/v1/customers/" + url.PathEscape(name) + "/codes"
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.Want(200, "GET", path+"?limit=2"+cursor, "")
		for _, item := range page.Get("items").([]any) {
			got = append(got, item.(map[string]any)["code"].(string))
		}
		if cursor = ""; page.Get("next") != nil {
			cursor = "&cursor=" + page.Get("next").(string)
		}
		if pages > 5 {
			t.Fatal("no end")
		}
	}
	if diff := cmp.Diff([]string{"c0", "c1", "c2", "c3", "c4"}, got); diff != "" {
		t.Errorf("the last first (-want +got)\n%s", diff)
	}
	if none := s.Want(200, "GET", "/v1/customers/nobody/codes", ""); len(none.Get("items").([]any)) != 0 {
		t.Errorf("got %s", none.body)
	}
	for _, query := range []string{"?cursor=YQ", "?cursor=!", "?limit=0", "?limit=1001", "?state=issued", "?cursor=MS0y"} {
		s.Want(400, "GET", path+query, "")
	}
	for _, id := range []string{"%00", "%FF", fmt.Sprintf("%0201d", 1)} {
		s.Want(404, "GET", "/v1/customers/"+id+"/codes", "")
		s.Want(404, "DELETE", "/v1/customers/"+id, "")
	}
	// What erased customers are called is nobody's id.
	s.Want(404, "DELETE", "/v1/customers/"+domain.NewPseudonyms(make([]byte, 32)).Customer("x"), "")
}
