package watching

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// Reports is where processes tell which pools they use.
type Reports interface {
	// ReportUse replaces what the worker reported before.
	ReportUse(ctx context.Context, worker string, pools []int32) error
	// ForgetUse drops reports of workers that are long gone.
	ForgetUse(ctx context.Context) error
}

// Report tells, every second until ctx ends, which pools this process has issued
// codes from, so that the watcher looks at them. touched returns those since it
// was asked last. A report that got lost costs a minute at most.
func Report(ctx context.Context, reports Reports, worker string, touched func() []int32, log zerolog.Logger) error {
	if err := reports.ForgetUse(ctx); err != nil && ctx.Err() == nil {
		log.Debug().Err(err).Msg("forget what others used")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if pools := touched(); len(pools) > 0 {
			if err := reports.ReportUse(ctx, worker, pools); err != nil && ctx.Err() == nil {
				log.Debug().Err(err).Msg("report which pools are in use")
			}
		}
	}
}
