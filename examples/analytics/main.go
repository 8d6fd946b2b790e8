// Analytics is an example: it counts the codes that promopool has issued, by
// pool and hour, from all that the topic of outcomes still holds. It knows what
// schemas/code.issued.json says, and nothing else of promopool.
//
//	analytics -kafka 127.0.0.1:9092
//
// Outcomes are delivered at least once: a repeat has the ce_id of the first, and
// is not counted.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/segmentio/kafka-go"
)

// issued is what is counted of the data of code.issued.
type issued struct {
	PoolID   string    `json:"pool_id"`
	IssuedAt time.Time `json:"issued_at"`
}

// cell is where an issue is counted.
type cell struct {
	hour, pool string
}

// report is what was counted.
type report struct {
	issues  map[cell]int
	seen    map[string]bool // ce_id: in a real system a key of the table that is written to
	repeats int
}

func main() {
	broker := flag.String("kafka", "127.0.0.1:9092", "host:port of a broker")
	prefix := flag.String("prefix", "promo.", "what the names of promopool's topics begin with")
	flag.Parse()
	r := report{issues: map[cell]int{}, seen: map[string]bool{}}
	if err := r.read(context.Background(), *broker, *prefix+"code-outcomes"); err != nil {
		log.Fatal(err)
	}
	r.print()
}

// read counts what the topic holds now.
func (r *report) read(ctx context.Context, broker, topic string) error {
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	if meta.Topics[0].Error != nil {
		return fmt.Errorf("topic %s: %w", topic, meta.Topics[0].Error)
	}
	var ask []kafka.OffsetRequest
	for _, p := range meta.Topics[0].Partitions {
		ask = append(ask, kafka.FirstOffsetOf(p.ID), kafka.LastOffsetOf(p.ID))
	}
	ends, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return err
	}
	for _, p := range ends.Topics[topic] {
		if err := r.readPartition(ctx, broker, topic, p.Partition, p.FirstOffset, p.LastOffset); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) readPartition(ctx context.Context, broker, topic string, partition int, from, end int64) error {
	if from >= end {
		return nil
	}
	in := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: partition, MaxWait: 100 * time.Millisecond})
	defer in.Close()
	if err := in.SetOffset(from); err != nil {
		return err
	}
	for {
		m, err := in.ReadMessage(ctx)
		if err != nil {
			return err
		}
		if err := r.count(m); err != nil {
			return fmt.Errorf("offset %d of partition %d: %w", m.Offset, partition, err)
		}
		if m.Offset >= end-1 {
			return nil
		}
	}
}

func (r *report) count(m kafka.Message) error {
	if header(m, "ce_type") != "promopool.code.issued" {
		return nil
	}
	id := header(m, "ce_id")
	if r.seen[id] {
		r.repeats++
		return nil
	}
	r.seen[id] = true
	var i issued
	if err := json.Unmarshal(m.Value, &i); err != nil {
		return err
	}
	r.issues[cell{i.IssuedAt.UTC().Format("2006-01-02 15:00"), i.PoolID}]++
	return nil
}

func header(m kafka.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func (r *report) print() {
	cells := slices.SortedFunc(maps.Keys(r.issues), func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.pool, b.pool))
	})
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "HOUR (UTC)\tPOOL\tISSUED")
	for _, c := range cells {
		fmt.Fprintf(out, "%s\t%s\t%d\n", c.hour, c.pool, r.issues[c])
	}
	out.Flush()
	fmt.Printf("%d repeats dropped\n", r.repeats)
}
