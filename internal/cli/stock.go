package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

type stock struct {
	Total, Available, Scheduled, Held, Issued, Redeemed, Expired, Withdrawn int64
	PerMinute                                                               float64 `json:"per_minute"`
	ExhaustedAt                                                             string  `json:"exhausted_at"`
}

func (s stock) write(w io.Writer) {
	for _, row := range []struct {
		name  string
		count int64
		note  string
	}{
		{"available", s.Available, ""}, {"  held", s.Held, "of them, taken ahead by workers"}, {"scheduled", s.Scheduled, "their window is not open yet"},
		{"issued", s.Issued, ""}, {"redeemed", s.Redeemed, ""}, {"expired", s.Expired, "never issued"}, {"withdrawn", s.Withdrawn, "blocked, or redeemed and never issued"}, {"total", s.Total, ""},
	} {
		fmt.Fprintf(w, "%s\t%12d\t%s\n", row.name, row.count, row.note)
	}
	fmt.Fprintf(w, "issued/min\t%12s\tof late\n", strconv.FormatFloat(s.PerMinute, 'f', -1, 64))
	if s.ExhaustedAt != "" {
		fmt.Fprintf(w, "gone by\t%s\tat that rate\n", localTime(s.ExhaustedAt))
	}
}

func (p *program) stockCommand() *cobra.Command {
	var r remote
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "stock POOL",
		Short: "Count a pool's codes",
		Long: `stock counts the codes of a pool by what became of them, all at one moment.
With --watch it goes on until it is interrupted, a line at a time.`,
		Example: `  promopool stock beach
  promopool stock beach --watch --interval 5s
  promopool stock beach --json | jq .available`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return untilSignal(cmd.Context(), p.watchStock(cmd.Context(), &r, args[0], interval))
			}
			b, err := r.read(cmd.Context(), args[0], "stock")
			if err != nil {
				return err
			}
			return show(p, &r, b, func(w io.Writer, s stock) { s.write(w) })
		},
	}
	r.flags(cmd.Flags())
	cmd.Flags().BoolVar(&watch, "watch", false, "print a line again and again")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "`time` between the lines of --watch, at least 100ms")
	return cmd
}

// watchStock prints a line now and after each interval. A server that is away
// is told of and waited for; a pool that is not there ends it.
func (p *program) watchStock(ctx context.Context, r *remote, id string, interval time.Duration) error {
	ticks := time.NewTicker(max(interval, 100*time.Millisecond))
	defer ticks.Stop()
	if !r.asJSON {
		fmt.Fprintf(p.stdout, "%-8s %12s %12s %12s %12s %12s %12s\n", "TIME", "AVAILABLE", "HELD", "SCHEDULED", "EXPIRED", "ISSUED", "ISSUED/MIN")
	}
	var last sample
	for {
		b, err := r.read(ctx, id, "stock")
		switch problem := (*problem)(nil); {
		case errors.Is(err, context.Canceled):
			return err
		case err == nil:
			if last, err = p.writeSample(r, b, last); err != nil {
				return err
			}
		case last.at.IsZero() || errors.As(err, &problem) && problem.Status < http.StatusInternalServerError:
			return err
		default:
			fmt.Fprintln(p.stderr, "promopool:", oneLine(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
		}
	}
}

// sample is a stock and when it was read.
type sample struct {
	stock
	at time.Time
}

func (p *program) writeSample(r *remote, b json.RawMessage, last sample) (sample, error) {
	now := sample{at: time.Now()}
	if err := json.Unmarshal(b, &now.stock); err != nil {
		return last, fmt.Errorf("answer of %s: %w", r.server, err)
	}
	if r.asJSON {
		_, err := p.stdout.Write(b) // one line, as it came
		return now, err
	}
	rate := "-"
	if !last.at.IsZero() {
		rate = fmt.Sprintf("%.0f", float64(now.Issued-last.Issued)/now.at.Sub(last.at).Minutes())
	}
	_, err := fmt.Fprintf(p.stdout, "%-8s %12d %12d %12d %12d %12d %12s\n",
		now.at.Format(time.TimeOnly), now.Available, now.Held, now.Scheduled, now.Expired, now.Issued, rate)
	return now, err
}
