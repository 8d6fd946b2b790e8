package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// GenerateConfig says how generating codes is measured.
type GenerateConfig struct {
	Config
	// Codes is how many are generated at once.
	Codes int64
}

// Generate measures how long it takes to generate codes by the HTTP interface, and
// to issue one of them.
func Generate(ctx context.Context, c GenerateConfig) (*Figures, error) {
	return inRounds(ctx, c.Config, func(ctx context.Context, w *world, f *Figures, n int) error {
		pool := fmt.Sprintf("generate-%d", n)
		if err := w.activePool(ctx, pool); err != nil {
			return err
		}
		return w.with(ctx, func(_ *served, base string) error {
			body := fmt.Appendf(nil, `{"count": %d, "length": 16}`, c.Codes)
			began := time.Now()
			var task filling
			if err := ask(ctx, http.MethodPost, base+"/v1/pools/"+pool+"/generate", body, &task); err != nil {
				return err
			}
			done, err := filled(ctx, base, task, c.Codes)
			if err != nil {
				return err
			}
			first, err := w.firstCode(ctx, pool)
			if err != nil {
				return err
			}
			f.add("task done", "s", done.Sub(began).Seconds())
			f.add("first code issued", "s", first.Sub(began).Seconds())
			w.say("  done after %.3f s, first code after %.3f s", done.Sub(began).Seconds(), first.Sub(began).Seconds())
			return nil
		})
	})
}
