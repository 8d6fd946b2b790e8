package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/domain"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

// TestVerifyBroken: an event that nobody decided on, told apart by the exit
// status from an audit that could not be made.
func TestVerifyBroken(t *testing.T) {
	broker, database, prefix := kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate), kafkatest.Prefix(t)
	names := topics.Named(prefix)
	client := topics.Client([]string{broker})
	defer topics.Close(client)
	if err := topics.Ensure(t.Context(), client, names, 1); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		args = append([]string{"verify", "--kafka", broker, "--topic-prefix", prefix}, args...)
		return Main(args, &stdout, &stderr), stdout.String(), stderr.String()
	}
	if status, out, _ := run("--database-url", database); status != done || !strings.Contains(out, " invariants hold.") {
		t.Errorf("status %d before, want %d:\n%s", status, done, out)
	}

	at := time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)
	forged := domain.Issuance{Pool: &domain.Pool{ID: "p", CampaignID: "c", ParameterName: "n"}, Code: "FORGED", RequestID: "r", CustomerID: "x", IssuedAt: at, ValidFrom: at}
	var headers []kafka.Header
	for _, h := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", domain.IssuedEventID("p", "r")}, {"ce_type", domain.TypeCodeIssued}, {"ce_source", domain.Source},
		{"ce_time", domain.EventTime(at)}, {"ce_subject", "p"}, {"ce_dataschema", domain.DataSchema(domain.TypeCodeIssued)},
		{"content-type", "application/json"}, {"ce_requestpartition", "0"}, {"ce_requestoffset", "7"},
	} {
		headers = append(headers, kafka.Header{Key: h[0], Value: []byte(h[1])})
	}
	p := producer.New(client, nil, zerolog.Nop(), prometheus.NewRegistry())
	if err := p.Publish(t.Context(), names.Outcomes, 0, []producer.Record{{Value: domain.AppendIssued(nil, &forged), Headers: headers, Time: at}}); err != nil {
		t.Fatal(err)
	}
	status, out, stderr := run("--database-url", database)
	for _, want := range []string{"1 code.issued", "BROKEN", "no such pool", "To do: ", "1 of ", " invariants BROKEN."} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if status != failed || strings.Contains(out, "FORGED") || stderr != "promopool: invariants are broken\n" {
		t.Errorf("status %d, want %d; %s%s", status, failed, out, stderr)
	}
	status, out, _ = run("--database-url", database, "--json")
	var report struct {
		Checks []struct{ Invariant, Violations int }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != failed || len(report.Checks) != 11 || report.Checks[3].Violations != 1 {
		t.Errorf("status %d, report %+v, %v", status, report, err)
	}
	if status, out, _ := run("--database-url", "postgres://127.0.0.1:1/none"); status != misused || out != "" {
		t.Errorf("status %d without a database, want %d; %s", status, misused, out)
	}
}
