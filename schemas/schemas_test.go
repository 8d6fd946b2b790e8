// Package schemas_test holds the published schemas, their examples, and the
// code that writes and reads the events together.
package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/segmentio/kafka-go"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"promopool/internal/consumer"
	"promopool/internal/domain"
	"promopool/internal/topics"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// schema is the compiled schema of an event type such as promopool.code.issued.
func schema(t *testing.T, eventType string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	file := strings.TrimPrefix(eventType, "promopool.") + ".json"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := doc.(map[string]any)["$id"], domain.DataSchema(eventType); got != want {
		t.Errorf("the $id of %s is %v, want %s", file, got, want)
	}
	if err := c.AddResource(file, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(s *jsonschema.Schema, event []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// wantFields checks that an event of ours has just the fields that its schema
// names, all of them required.
func wantFields(t *rapid.T, s *jsonschema.Schema, event []byte) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(event, &fields); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(fields))
	if want := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, want) {
		t.Fatalf("fields %v, want %v", got, want)
	}
	if want := slices.Sorted(slices.Values(s.Required)); !slices.Equal(got, want) {
		t.Fatalf("fields %v, required are %v", got, want)
	}
}

var (
	eventID = rapid.StringN(1, -1, domain.MaxIDBytes).Filter(domain.ValidEventID)
	moment  = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 9e16).Draw(t, "µs")).UTC()
	})
	context = rapid.SampledFrom([][]byte{nil, []byte(`{}`), []byte(`{"a": [1, {"b": null}]}`)})
)

func TestIssuedConforms(t *testing.T) {
	s := schema(t, domain.TypeCodeIssued)
	rapid.Check(t, func(t *rapid.T) {
		i := &domain.Issuance{
			Pool: &domain.Pool{
				ID:            rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "pool"),
				CampaignID:    rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "campaign"),
				ParameterName: rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_]{0,62}`).Draw(t, "parameter"),
			},
			Code:       rapid.StringN(1, -1, 200).Draw(t, "code"),
			RequestID:  eventID.Draw(t, "request"),
			CustomerID: eventID.Draw(t, "customer"),
			Context:    context.Draw(t, "context"),
			IssuedAt:   moment.Draw(t, "issued_at"),
			ValidFrom:  moment.Draw(t, "valid_from"),
		}
		if rapid.Bool().Draw(t, "ends") {
			i.ValidUntil = moment.Draw(t, "valid_until")
		}
		event := domain.AppendIssued(nil, i)
		if err := valid(s, event); err != nil {
			t.Fatalf("%v\n%s", err, event)
		}
		wantFields(t, s, event)
	})
}

func TestRejectedConforms(t *testing.T) {
	s := schema(t, domain.TypeCodeRejected)
	rapid.Check(t, func(t *rapid.T) {
		o := &domain.Outcome{
			Request: &domain.Request{
				RequestID: eventID.Draw(t, "request"), PoolID: eventID.Draw(t, "pool"), CustomerID: eventID.Draw(t, "customer"),
				Context: context.Draw(t, "context"),
			},
			Verdict: domain.Rejected, Reason: rapid.SampledFrom(domain.Reasons).Draw(t, "reason"), DecidedAt: moment.Draw(t, "at"),
		}
		event := domain.AppendRejected(nil, o)
		if err := valid(s, event); err != nil {
			t.Fatalf("%v\n%s", err, event)
		}
		wantFields(t, s, event)
	})
}

// TestRedemptionsConform: what is said of redemptions is as their schemas say.
func TestRedemptionsConform(t *testing.T) {
	schemas := map[string]*jsonschema.Schema{}
	for _, typ := range []string{domain.TypeCodeRedeemed, domain.TypeRedemptionRejected, domain.TypeRedemptionRolledBack} {
		schemas[typ] = schema(t, typ)
	}
	optional := rapid.OneOf(rapid.Just(""), eventID)
	rapid.Check(t, func(t *rapid.T) {
		r := domain.Redemption{
			RedemptionRequest: domain.RedemptionRequest{
				PoolID: eventID.Draw(t, "pool"), RedemptionID: eventID.Draw(t, "redemption"), Code: eventID.Draw(t, "code"),
				CustomerID: optional.Draw(t, "customer"), OrderID: optional.Draw(t, "order"), Context: context.Draw(t, "context"),
			},
			IssuedTo: optional.Draw(t, "issued_to"), DecidedAt: moment.Draw(t, "at"),
			Reason:     rapid.SampledFrom(append(domain.RedemptionReasons, domain.NotRejected)).Draw(t, "reason"),
			Processing: rapid.SampledFrom([]domain.Processing{domain.Internal, domain.External}).Draw(t, "processing"),
		}
		if rapid.Bool().Draw(t, "occurred") {
			r.OccurredAt = moment.Draw(t, "occurred_at")
		}
		events := []domain.Event{r.Event()}
		if r.Redeemed() && rapid.Bool().Draw(t, "rolled back") {
			r.RolledBackAt = moment.Draw(t, "rolled_back_at")
			again, back := r.Event(), r.RolledBackEvent()
			if again.ID != events[0].ID || back.ID == again.ID {
				t.Fatalf("ids %s, again %s, rolled back %s", events[0].ID, again.ID, back.ID)
			}
			events = append(events, again, back)
		}
		for _, e := range events {
			if err := valid(schemas[e.Type], e.Value); err != nil {
				t.Fatalf("%s: %v\n%s", e.Type, err, e.Value)
			}
			wantFields(t, schemas[e.Type], e.Value)
		}
	})
}

// aPool is any launched pool.
var aPool = rapid.Custom(func(t *rapid.T) *domain.Pool {
	return &domain.Pool{
		Key: rapid.Int32Min(1).Draw(t, "key"), ID: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "pool"),
		CampaignID: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`).Draw(t, "campaign"), Name: rapid.StringN(1, -1, 200).Draw(t, "name"),
		LaunchedAt: moment.Draw(t, "launched_at"), ArchivedAt: moment.Draw(t, "archived_at"), State: domain.Active,
	}
})

// TestPoolEventsConform: whatever a pool's stock does, what is told of it is as the
// schemas say.
func TestPoolEventsConform(t *testing.T) {
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range []string{
		domain.TypePoolLaunched, domain.TypePoolArchived, domain.TypePoolLow, domain.TypePoolExhausted, domain.TypePoolReplenished, domain.TypeStaffNotification,
	} {
		schemas[name] = schema(t, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := aPool.Draw(t, "a pool")
		check := func(e domain.Event) {
			if err := valid(schemas[e.Type], e.Value); err != nil {
				t.Fatalf("%s: %v\n%s", e.Type, err, e.Value)
			}
			wantFields(t, schemas[e.Type], e.Value)
			if e.Key == "" || e.ID == "" || e.PoolID != p.ID {
				t.Fatalf("%+v", e)
			}
		}
		check(domain.LaunchedEvent(p))
		check(domain.ArchivedEvent(p))
		w := domain.Watch{State: domain.StockOK}
		issued := int64(0)
		for range 4 {
			p.NotifyBelow, p.Notify = nil, rapid.Bool().Draw(t, "notify")
			if below := rapid.Int64Range(1, 1000).Draw(t, "below"); p.Notify {
				p.NotifyBelow = &below
			}
			left, now := rapid.Int64Range(0, 1000).Draw(t, "left"), moment.Draw(t, "now")
			issued += rapid.Int64Range(0, 1000).Draw(t, "issued")
			facts := domain.FactsOf(p, domain.Samples{{At: now.Add(-time.Hour)}}, now, left, issued)
			var crossed []domain.Crossing
			w, crossed = w.Judge(p, left)
			for _, c := range crossed {
				if c.Kind == domain.Quiet {
					continue
				}
				check(domain.CrossingEvent(p, c, facts))
				if c.Kind != domain.Replenished && p.Notify {
					n := domain.Notice{
						To:   &domain.Staff{Key: 7, ID: "anna", Name: rapid.StringN(1, -1, 200).Draw(t, "to"), Email: "anna@example.com"},
						Pool: p, CampaignName: "Summer", No: c.No, Told: c.Kind, Facts: facts, Link: "http://localhost/pools/" + p.ID,
					}
					check(n.Event())
				}
			}
		}
	})
}

func TestReasonsAgree(t *testing.T) {
	var redemption []any
	for _, r := range domain.RedemptionReasons {
		if r != domain.CustomerNeeded { // goes by the name of another
			redemption = append(redemption, r.String())
		}
	}
	if diff := cmp.Diff(redemption, schema(t, domain.TypeRedemptionRejected).Properties["reason"].Enum.Values); diff != "" {
		t.Errorf("reasons of redemptions (-domain +schema):\n%s", diff)
	}
	var want []any
	for _, r := range domain.Reasons {
		want = append(want, r.String())
	}
	if diff := cmp.Diff(want, schema(t, domain.TypeCodeRejected).Properties["reason"].Enum.Values); diff != "" {
		t.Errorf("reasons (-domain +schema):\n%s", diff)
	}
}

// TestRequestedAgrees: the schema and the decoder accept the same events, as
// far as a schema can tell.
func TestRequestedAgrees(t *testing.T) {
	agrees(t, domain.TypeCodeRequested, []string{"request_id", "pool_id", "customer_id"}, []string{"expires_at", "context", "more"},
		func(r *consumer.Record) *consumer.Malformed { _, m := consumer.Decode(r); return m })
}

func TestRedemptionRequestedAgrees(t *testing.T) {
	agrees(t, domain.TypeRedemptionRequested, []string{"redemption_id", "pool_id", "code"}, []string{"customer_id", "order_id", "occurred_at", "context", "more"},
		func(r *consumer.Record) *consumer.Malformed { _, m := consumer.DecodeRedemption(r); return m })
}

func agrees(t *testing.T, eventType string, required, optional []string, decode func(*consumer.Record) *consumer.Malformed) {
	s := schema(t, eventType)
	values := rapid.SampledFrom([]string{
		`"r-1"`, `"r-1"`, `"r-1"`, `"r-1"`, `""`, `"\u0000"`, `"a\nb"`, `null`, `17`, `[]`, `{}`, `{"a": {"b": 1}}`, `true`,
		`"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("x", 201) + `"`,
		`"2026-07-01T10:00:00Z"`, `"2026-07-01T10:00:00.123456789+02:00"`, `"2026-07-01t10:00:00z"`, `"2026-07-01T10:00:00"`, `"2026-07-01"`,
		`"2026-02-30T10:00:00Z"`, `"2026-07-01T24:00:00Z"`, `"2026-07-01T9:00:00Z"`, `"2026-07-01T10:00:00,5Z"`, `"2026-07-01T10:00:00+24:00"`,
	})
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for _, name := range required {
			if rapid.IntRange(0, 20).Draw(t, "there") > 0 {
				members = append(members, fmt.Sprintf("%q: %s", name, values.Draw(t, name)))
			}
		}
		for _, name := range optional {
			if rapid.Bool().Draw(t, "there") {
				members = append(members, fmt.Sprintf("%q: %s", name, values.Draw(t, name)))
			}
		}
		event := []byte("{" + strings.Join(members, ", ") + "}")
		err := valid(s, event)
		if m := decode(&consumer.Record{Value: event}); (m == nil) != (err == nil) {
			t.Fatalf("%s\nis malformed by the decoder: %+v\nand by the schema: %v", event, m, err)
		}
	})
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			event := read(t, file)
			name := strings.Split(filepath.Base(file), ".")
			eventType := "promopool." + name[0] + "." + name[1]
			record := &consumer.Record{Value: event}
			if name[2] == "structured" {
				record.Headers = []kafka.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}}
				var envelope struct{ Data json.RawMessage }
				if err := json.Unmarshal(event, &envelope); err != nil {
					t.Fatal(err)
				}
				event = envelope.Data
			}
			if err := valid(schema(t, eventType), event); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			var m *consumer.Malformed
			switch eventType {
			case domain.TypeCodeRequested:
				_, m = consumer.Decode(record)
			case domain.TypeRedemptionRequested:
				_, m = consumer.DecodeRedemption(record)
			}
			if m != nil {
				t.Errorf("%s is malformed: %+v", file, *m)
			}
		})
	}
}

// TestExampleOutcomes: the examples are what the service would answer.
func TestExampleOutcomes(t *testing.T) {
	r, m := consumer.Decode(&consumer.Record{Value: read(t, "examples/code.requested.json")})
	if m != nil {
		t.Fatal(*m)
	}
	at := time.Date(2026, 6, 30, 10, 0, 0, 123456000, time.UTC)
	july := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	wantSame(t, "examples/code.issued.json", domain.AppendIssued(nil, &domain.Issuance{
		Pool: &domain.Pool{ID: r.PoolID, CampaignID: "summer", ParameterName: "promo_code"},
		Code: "SUMMER-7KQ2-M9XD", RequestID: r.RequestID, CustomerID: r.CustomerID, Context: r.Context,
		IssuedAt: at, ValidFrom: july, ValidUntil: july.AddDate(0, 0, 30),
	}))
	erased := domain.NewPseudonyms(bytes.Repeat([]byte{1}, 32)).Customer(r.CustomerID)
	wantSame(t, "examples/code.issued.erased.json", domain.AppendIssued(nil, &domain.Issuance{
		Pool: &domain.Pool{ID: r.PoolID, CampaignID: "summer", ParameterName: "promo_code"},
		Code: "SUMMER-7KQ2-M9XD", RequestID: r.RequestID, CustomerID: erased,
		IssuedAt: at, ValidFrom: july, ValidUntil: july.AddDate(0, 0, 30),
	}))
	wantSame(t, "examples/code.rejected.erased.json", domain.AppendRejected(nil, &domain.Outcome{
		Request: &r, Verdict: domain.Rejected, Reason: domain.PoolExhausted, DecidedAt: at, Alias: erased,
	}))
	r.Context = nil
	wantSame(t, "examples/code.rejected.json", domain.AppendRejected(nil, &domain.Outcome{
		Request: &r, Verdict: domain.Rejected, Reason: domain.PoolExhausted, DecidedAt: at,
	}))
}

// TestExampleRedemptions: the same of redemptions.
func TestExampleRedemptions(t *testing.T) {
	r, m := consumer.DecodeRedemption(&consumer.Record{Value: read(t, "examples/redemption.requested.json")})
	if m != nil {
		t.Fatal(*m)
	}
	redeemed := domain.Redemption{
		RedemptionRequest: r, IssuedTo: r.CustomerID, DecidedAt: time.Date(2026, 7, 4, 16, 20, 1, 250001000, time.UTC), Processing: domain.Internal,
	}
	wantSame(t, "examples/code.redeemed.json", redeemed.Event().Value)
	redeemed.RolledBackAt = time.Date(2026, 7, 5, 9, 0, 0, 0, time.UTC)
	wantSame(t, "examples/code.redemption_rolled_back.json", redeemed.RolledBackEvent().Value)
	rejected := redeemed
	rejected.Reason, rejected.Context = domain.RedeemedBefore, nil
	wantSame(t, "examples/redemption.rejected.json", rejected.Event().Value)
}

// TestExampleNotices: the same of what is told of pools.
func TestExampleNotices(t *testing.T) {
	launched, below := time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC), int64(100)
	p := &domain.Pool{
		Key: 1, ID: "summer-sale", CampaignID: "summer", Name: "Summer sale", Notify: true, NotifyBelow: &below, State: domain.Active,
		LaunchedAt: launched, ArchivedAt: launched.AddDate(0, 3, 0),
	}
	wantSame(t, "examples/pool.launched.json", domain.LaunchedEvent(p).Value)
	wantSame(t, "examples/pool.archived.json", domain.ArchivedEvent(p).Value)

	at := time.Date(2026, 7, 1, 12, 0, 0, 123456000, time.UTC)
	facts := domain.FactsOf(p, domain.Samples{{At: at.Add(-time.Hour)}, {At: at.Add(-time.Minute)}}, at, 84, 58)
	low := domain.Crossing{No: 1, From: domain.StockOK, To: domain.StockLow, Kind: domain.WentLow}
	wantSame(t, "examples/pool.low.json", domain.CrossingEvent(p, low, facts).Value)
	n := domain.Notice{
		To:   &domain.Staff{Key: 1, ID: "anna-novak", Name: "Anna Novak", Email: "anna@example.com"},
		Pool: p, CampaignName: "Summer 2026", No: 1, Told: low.Kind, Facts: facts, Link: "https://promo.example.com/pools/summer-sale",
	}
	wantSame(t, "examples/staff.notification.json", n.Event().Value)
	facts.At, facts.Left, facts.ExhaustedAt = at.Add(7*time.Minute), 0, time.Time{}
	wantSame(t, "examples/pool.exhausted.json", domain.CrossingEvent(p, domain.Crossing{No: 2, Kind: domain.Exhausted}, facts).Value)
	facts.At, facts.Left = at.Add(time.Hour), 5000
	facts.ExhaustedAt = domain.ExhaustedAt(facts.At, facts.Left, facts.PerMinute)
	wantSame(t, "examples/pool.replenished.json", domain.CrossingEvent(p, domain.Crossing{No: 3, Kind: domain.Replenished}, facts).Value)
}

// wantSame compares JSON texts but for blanks.
func wantSame(t *testing.T, file string, event []byte) {
	t.Helper()
	var want, got bytes.Buffer
	if json.Compact(&want, read(t, file)) != nil || json.Compact(&got, event) != nil {
		t.Fatal("not JSON", file)
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Errorf("%s (-file +event):\n%s", file, diff)
	}
}

func asyncAPI(t *testing.T) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(read(t, "asyncapi.yaml"), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at follows a JSON pointer.
func at(doc any, pointer string) (any, bool) {
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		members, _ := doc.(map[string]any)
		var ok bool
		if doc, ok = members[name]; !ok {
			return nil, false
		}
	}
	return doc, true
}

func TestAsyncAPIReferences(t *testing.T) {
	doc := asyncAPI(t)
	found := 0
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				found++
				if pointer, ok := strings.CutPrefix(ref, "#"); !ok {
					read(t, ref)
				} else if _, ok := at(doc, pointer); !ok {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(doc)
	if found == 0 {
		t.Error("no references")
	}
}

// TestEveryEvent: every event that the code speaks of has a schema, an example
// and its place in the description, and these have no other.
func TestEveryEvent(t *testing.T) {
	spoken := map[string]bool{}
	err := filepath.WalkDir("../internal", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, _ := strconv.Unquote(l.Value); eventType.MatchString(text) {
					spoken[text] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(spoken))

	var schemas []string
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		schemas = append(schemas, "promopool."+strings.TrimSuffix(file, ".json"))
		read(t, "examples/"+file)
	}
	if diff := cmp.Diff(want, schemas); diff != "" {
		t.Errorf("schemas (-code +files):\n%s", diff)
	}

	doc, described := asyncAPI(t), map[string]bool{}
	messages, _ := at(doc, "/components/messages")
	for name, m := range messages.(map[string]any) {
		said, _ := at(m, "/name")
		if typ := said.(string); eventType.MatchString(typ) {
			described[typ] = true
			if binary, ok := at(m, "/headers/properties/ce_type/const"); ok && binary != typ {
				t.Errorf("the message %s has the ce_type %v", typ, binary)
			}
			if ref, ok := at(m, "/payload/schema/$ref"); ok && ref != "./"+strings.TrimPrefix(typ, "promopool.")+".json" {
				t.Errorf("the message %s has the schema %v", typ, ref)
			}
		}
		if !isSent(doc, name) {
			t.Errorf("no channel has the message %s", name)
		}
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("messages (-code +asyncapi.yaml):\n%s", diff)
	}
}

var eventType = regexp.MustCompile(`^promopool\.[a-z_]+\.[a-z_]+$`)

// isSent reports whether a channel has the message.
func isSent(doc map[string]any, message string) bool {
	channels, _ := at(doc, "/channels")
	for _, c := range channels.(map[string]any) {
		if _, ok := at(c, "/messages/"+message); ok {
			return true
		}
	}
	return false
}

// TestAsyncAPIAgrees: what the description says of names is what the code says.
func TestAsyncAPIAgrees(t *testing.T) {
	doc := asyncAPI(t)
	names := topics.Named("promo.")
	for pointer, want := range map[string]any{
		"/channels/codeRequests/address":                                                          names.Requests,
		"/channels/codeOutcomes/address":                                                          names.Outcomes,
		"/channels/deadLetters/address":                                                           names.DeadLetters,
		"/operations/answerCodeRequests/bindings/kafka/groupId/enum":                              []any{names.IssuingGroup},
		"/channels/redemptionRequests/address":                                                    names.RedemptionRequests,
		"/channels/redemptionOutcomes/address":                                                    names.RedemptionOutcomes,
		"/operations/answerRedemptionRequests/bindings/kafka/groupId/enum":                        []any{names.RedeemingGroup},
		"/components/messages/redemptionRequested/headers/properties/ce_type/const":               domain.TypeRedemptionRequested,
		"/components/messages/redemptionRequestedStructured/payload/schema/properties/type/const": domain.TypeRedemptionRequested,
		"/components/messages/codeRedeemed/headers/properties/ce_dataschema/const":                domain.DataSchema(domain.TypeCodeRedeemed),
		"/components/messages/redemptionRejected/headers/properties/ce_dataschema/const":          domain.DataSchema(domain.TypeRedemptionRejected),
		"/components/messages/codeRedemptionRolledBack/headers/properties/ce_dataschema/const":    domain.DataSchema(domain.TypeRedemptionRolledBack),
		"/components/schemas/redemptionHeaders/properties/ce_source/const":                        domain.Source,
		"/components/messages/codeRequested/headers/properties/ce_type/const":                     domain.TypeCodeRequested,
		"/components/messages/codeRequestedStructured/payload/schema/properties/type/const":       domain.TypeCodeRequested,
		"/components/messages/codeIssued/headers/properties/ce_type/const":                        domain.TypeCodeIssued,
		"/components/messages/codeIssued/headers/properties/ce_dataschema/const":                  domain.DataSchema(domain.TypeCodeIssued),
		"/components/messages/codeRejected/headers/properties/ce_type/const":                      domain.TypeCodeRejected,
		"/components/messages/codeRejected/headers/properties/ce_dataschema/const":                domain.DataSchema(domain.TypeCodeRejected),
		"/components/schemas/outcomeHeaders/properties/ce_source/const":                           domain.Source,
		"/components/messages/deadLetter/headers/properties/dl_reason/enum":                       deadLetterReasons(),
		"/components/messages/poolLow/headers/properties/ce_dataschema/const":                     domain.DataSchema(domain.TypePoolLow),
		"/channels/poolEvents/address":                                                            names.PoolEvents,
		"/channels/staffNotifications/address":                                                    names.Notifications,
		"/components/schemas/eventHeaders/properties/ce_source/const":                             domain.Source,
	} {
		got, _ := at(doc, pointer)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-code +asyncapi.yaml):\n%s", pointer, diff)
		}
	}
}

func deadLetterReasons() []any {
	var reasons []any
	for _, d := range consumer.Defects {
		reasons = append(reasons, string(d))
	}
	return append(reasons, domain.Poison.String())
}
