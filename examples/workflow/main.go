// Workflow is an example: a workflow system that asks promopool for a code for
// each customer on its standard input, and waits for the answers. It knows what
// schemas/code.requested.json, code.issued.json and code.rejected.json say, and
// nothing else of promopool.
//
//	printf 'c-1\nc-2\n' | workflow -kafka 127.0.0.1:9092 -pool summer-sale
//
// It prints a line for each customer: the code, or why there is none.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
)

// requested is the data of code.requested.
type requested struct {
	RequestID  string         `json:"request_id"`
	PoolID     string         `json:"pool_id"`
	CustomerID string         `json:"customer_id"`
	Context    map[string]any `json:"context,omitempty"`
}

// answer is what code.issued and code.rejected have in common, and what each of
// them has of its own.
type answer struct {
	RequestID  string `json:"request_id"`
	CustomerID string `json:"customer_id"`
	Code       string `json:"code"`        // issued
	ValidUntil string `json:"valid_until"` // issued; "": no end
	Reason     string `json:"reason"`      // rejected
	Detail     string `json:"detail"`      // rejected
}

func main() {
	broker := flag.String("kafka", "127.0.0.1:9092", "host:port of a broker")
	prefix := flag.String("prefix", "promo.", "what the names of promopool's topics begin with")
	pool := flag.String("pool", "", "the pool to take codes from")
	patience := flag.Duration("timeout", time.Minute, "how long to wait for all answers")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	w := workflow{broker: *broker, requests: *prefix + "code-requests", outcomes: *prefix + "code-outcomes", waiting: map[string]requested{}}
	refused, err := w.run(ctx, *pool)
	if err != nil {
		log.Fatal(err)
	}
	if refused > 0 {
		os.Exit(1)
	}
}

type workflow struct {
	broker, requests, outcomes string
	waiting                    map[string]requested // by request_id
}

// run asks for everybody and waits. It returns how many got no code.
func (w *workflow) run(ctx context.Context, pool string) (refused int, err error) {
	// Where the answers begin is found out before anything is asked.
	answers, err := w.listen(ctx)
	if err != nil {
		return 0, err
	}
	started := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		// The same step of the same workflow asks under the same id however often it
		// is run, so a retry never costs a second code. Ids that begin with the time
		// are the cheapest for the database.
		id := fmt.Sprintf("%012x-welcome-%s", started.UnixMilli(), in.Text())
		w.waiting[id] = requested{RequestID: id, PoolID: pool, CustomerID: in.Text(), Context: map[string]any{"workflow": "welcome", "step": 1}}
	}
	if err := w.ask(ctx); err != nil {
		return 0, err
	}
	again := time.NewTicker(15 * time.Second)
	defer again.Stop()
	for len(w.waiting) > 0 {
		select {
		case a := <-answers:
			if _, ours := w.waiting[a.RequestID]; !ours {
				continue // of others, or a repeat
			}
			delete(w.waiting, a.RequestID)
			switch {
			case a.Reason != "":
				refused++
				fmt.Printf("%s\tno code: %s\n", a.CustomerID, a.Detail)
			case a.ValidUntil != "":
				fmt.Printf("%s\t%s\tuntil %s\n", a.CustomerID, a.Code, a.ValidUntil)
			default:
				fmt.Printf("%s\t%s\n", a.CustomerID, a.Code)
			}
		case <-again.C:
			// Perhaps a request was lost on its way. To ask twice is safe.
			if err := w.ask(ctx); err != nil {
				return refused, err
			}
		case <-ctx.Done():
			return refused, fmt.Errorf("%d requests were not answered in time: run promopool serve?", len(w.waiting))
		}
	}
	return refused, nil
}

// ask publishes every request that waits for its answer.
func (w *workflow) ask(ctx context.Context) error {
	out := &kafka.Writer{
		Addr: kafka.TCP(w.broker), Topic: w.requests, Balancer: kafka.Murmur2Balancer{Consistent: true},
		RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond, // the defaults are none, and a second
	}
	defer out.Close()
	var messages []kafka.Message
	for _, r := range w.waiting {
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		messages = append(messages, kafka.Message{Key: []byte(r.CustomerID), Value: data, Headers: []kafka.Header{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(r.RequestID)},
			{Key: "ce_type", Value: []byte("promopool.code.requested")},
			{Key: "ce_source", Value: []byte("/examples/workflow")},
			{Key: "content-type", Value: []byte("application/json")},
		}})
	}
	return out.WriteMessages(ctx, messages...)
}

// listen reads all outcomes from now on.
func (w *workflow) listen(ctx context.Context) (<-chan answer, error) {
	client := &kafka.Client{Addr: kafka.TCP(w.broker)}
	meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{w.outcomes}})
	if err != nil {
		return nil, err
	}
	if meta.Topics[0].Error != nil {
		return nil, fmt.Errorf("topic %s: %w", w.outcomes, meta.Topics[0].Error)
	}
	var ask []kafka.OffsetRequest
	for _, p := range meta.Topics[0].Partitions {
		ask = append(ask, kafka.LastOffsetOf(p.ID))
	}
	ends, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{w.outcomes: ask}})
	if err != nil {
		return nil, err
	}
	answers := make(chan answer)
	for _, p := range ends.Topics[w.outcomes] {
		in := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{w.broker}, Topic: w.outcomes, Partition: p.Partition, MaxWait: time.Second})
		if err := in.SetOffset(p.LastOffset); err != nil {
			return nil, err
		}
		go read(ctx, in, answers)
	}
	return answers, nil
}

// read hands on the answers of one partition.
func read(ctx context.Context, in *kafka.Reader, to chan<- answer) {
	defer in.Close()
	for {
		m, err := in.ReadMessage(ctx)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				log.Print(err)
			}
			return
		}
		var a answer
		if err := json.Unmarshal(m.Value, &a); err != nil {
			log.Printf("offset %d of partition %d is no outcome: %v", m.Offset, m.Partition, err)
			continue
		}
		select {
		case to <- a:
		case <-ctx.Done():
			return
		}
	}
}
