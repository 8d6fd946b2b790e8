package cli

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"promopool/internal/consumer"
	"promopool/internal/tail"
	"promopool/internal/topics"
)

func (p *program) tailCommand() *cobra.Command {
	var brokers []string
	var prefix, topic, from string
	var count int64
	var asJSON, showCodes bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come",
		Long: `tail prints the events of a topic, oldest first by partition, and goes on with
what comes until it is interrupted or has printed --count. It joins no group and
changes nothing.

A person sees codes masked. --json prints every record whole, one object a line.`,
		Example: `  promopool tail --kafka kafka:9092
  promopool tail --kafka kafka:9092 --topic dead-letters --from beginning
  promopool tail --kafka kafka:9092 --from -5 --count 10 --json | jq .data.pool_id`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "kafka"); err != nil {
				return err
			}
			names, err := followed(topics.Named(prefix), topic)
			if err != nil {
				return usageError{err}
			}
			place, err := parseFrom(from)
			if err != nil {
				return usageError{err}
			}
			client := topics.Client(brokers)
			defer topics.Close(client)
			t, err := tail.Open(cmd.Context(), client, names, place)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(p.stdout)
			printer := tail.Printer{Out: out, Colour: terminal(p.stdout) && os.Getenv("NO_COLOR") == "", ShowCodes: showCodes}
			printed := int64(0)
			return untilSignal(cmd.Context(), t.Follow(cmd.Context(), func(topic string, partition int, records []consumer.Record) error {
				for i := range records {
					if asJSON {
						err = tail.PrintJSON(out, topic, partition, &records[i])
					} else {
						err = printer.Print(topic, partition, &records[i])
					}
					if printed++; err != nil || printed == count {
						break
					}
				}
				if flushed := out.Flush(); err == nil {
					err = flushed
				}
				if err == nil && count > 0 && printed >= count {
					err = tail.Stop
				}
				return err
			}))
		},
	}
	f := cmd.Flags()
	kafkaFlag(f, &brokers)
	prefixFlag(f, &prefix)
	f.StringVar(&topic, "topic", "outcomes", "`topic` to follow: "+strings.Join(topicWords, ", ")+", or all of them")
	among(cmd, "topic", append([]string{"all"}, topicWords...)...)
	f.StringVar(&from, "from", "end", "`place` to begin at in each partition: beginning, end, an offset, or -N for N before the end")
	f.Int64Var(&count, "count", 0, "stop after this `number` of events; 0: never")
	f.BoolVar(&asJSON, "json", false, "print each record as a JSON object, codes included")
	f.BoolVar(&showCodes, "show-codes", false, "print codes in full: whoever reads them can use them")
	return cmd
}

// topicWords name the topics that can be followed.
var topicWords = []string{"outcomes", "redemption-outcomes", "pool-events", "notifications", "dead-letters", "requests", "redemption-requests"}

func followed(names topics.Names, topic string) ([]string, error) {
	if topic == "all" {
		return names.All(), nil
	}
	named := map[string]string{
		"outcomes": names.Outcomes, "redemption-outcomes": names.RedemptionOutcomes, "pool-events": names.PoolEvents, "notifications": names.Notifications,
		"dead-letters": names.DeadLetters, "requests": names.Requests, "redemption-requests": names.RedemptionRequests,
	}
	if named[topic] == "" {
		return nil, fmt.Errorf("topic %q is none of %s and all", topic, strings.Join(topicWords, ", "))
	}
	return []string{named[topic]}, nil
}

func parseFrom(s string) (tail.From, error) {
	switch s {
	case "beginning":
		return tail.From{Beginning: true}, nil
	case "end":
		return tail.From{}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return tail.From{}, fmt.Errorf("place %q is none of beginning, end, an offset and -N", s)
	}
	return tail.From{Offset: n, Absolute: !strings.HasPrefix(s, "-")}, nil
}
