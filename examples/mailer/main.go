// Mailer is an example: a notification service that sends promopool's notices
// to staff as e-mails. It knows what schemas/staff.notification.json says, and
// nothing else of promopool.
//
//	mailer -kafka 127.0.0.1:9092 -smtp mail.example.com:25 -from promopool@example.com -sent sent.txt
//
// A notice is delivered at least once, and so is its e-mail: what was sent is
// kept in a file, and an e-mail that goes out twice, since the mailer died
// before it was written down, has the same Message-ID.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"mime"
	"mime/quotedprintable"
	"net/smtp"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
)

// notification is the data of staff.notification, as far as an e-mail needs it.
type notification struct {
	NotificationID string    `json:"notification_id"`
	Name           string    `json:"name"`
	Channel        string    `json:"channel"`
	Address        string    `json:"address"`
	Subject        string    `json:"subject"`
	Text           string    `json:"text"`
	OccurredAt     time.Time `json:"occurred_at"`
}

type mailer struct {
	server, from string
	sent         map[string]bool // notification_id
	log          *os.File        // of what was sent
}

func main() {
	broker := flag.String("kafka", "127.0.0.1:9092", "host:port of a broker")
	prefix := flag.String("prefix", "promo.", "what the names of promopool's topics begin with")
	server := flag.String("smtp", "127.0.0.1:25", "host:port of the mail server")
	from := flag.String("from", "promopool@localhost", "sender of the e-mails")
	file := flag.String("sent", "sent.txt", "file that remembers what was sent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	m := &mailer{server: *server, from: *from, sent: map[string]bool{}}
	if err := m.remember(*file); err != nil {
		log.Fatal(err)
	}
	if err := m.run(ctx, *broker, *prefix+"staff-notifications"); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// remember reads what was sent before.
func (m *mailer) remember(file string) (err error) {
	if m.log, err = os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	lines := bufio.NewScanner(m.log)
	for lines.Scan() {
		m.sent[lines.Text()] = true
	}
	return lines.Err()
}

// run sends each notice, then moves on. A mail server that is away is asked
// again: no notice is left out.
func (m *mailer) run(ctx context.Context, broker, topic string) error {
	in := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{broker}, Topic: topic, GroupID: "mailer", StartOffset: kafka.FirstOffset, MaxWait: time.Second,
	})
	defer in.Close()
	for {
		record, err := in.FetchMessage(ctx) // ReadMessage would commit before the e-mail is out
		if err != nil {
			return err
		}
		var n notification
		if err := json.Unmarshal(record.Value, &n); err != nil {
			log.Printf("offset %d of partition %d is no notification: %v", record.Offset, record.Partition, err)
		} else if err := m.deliver(ctx, n); err != nil {
			return err
		}
		if err := in.CommitMessages(ctx, record); err != nil {
			return err
		}
	}
}

func (m *mailer) deliver(ctx context.Context, n notification) error {
	if n.Channel != "email" || m.sent[n.NotificationID] {
		return nil
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := smtp.SendMail(m.server, nil, m.from, []string{n.Address}, m.mail(n))
		if err == nil {
			break
		}
		log.Printf("notification %s: %v, trying again", n.NotificationID, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.sent[n.NotificationID] = true
	if _, err := fmt.Fprintln(m.log, n.NotificationID); err != nil {
		return err
	}
	return m.log.Sync()
}

// mail is the e-mail (RFC 5322).
func (m *mailer) mail(n notification) []byte {
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", "promopool <"+m.from+">")
	header("To", mime.QEncoding.Encode("utf-8", oneLine(n.Name))+" <"+oneLine(n.Address)+">")
	header("Subject", mime.QEncoding.Encode("utf-8", oneLine(n.Subject)))
	header("Date", n.OccurredAt.UTC().Format(time.RFC1123Z))
	header("Message-ID", "<"+n.NotificationID+"@promopool>")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	body := quotedprintable.NewWriter(&b)
	_, _ = body.Write([]byte(strings.ReplaceAll(n.Text, "\n", "\r\n")))
	_ = body.Close()
	b.WriteString("\r\n")
	return b.Bytes()
}

// oneLine keeps a value from adding headers of its own.
func oneLine(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
