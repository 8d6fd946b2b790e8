package watching

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/domain"
)

// shown is how many pools have a figure of their own.
const shown = 1000

type gauges struct {
	left    *prometheus.GaugeVec
	others  prometheus.Gauge
	checked prometheus.Gauge

	shown map[string]bool // ids that left has
}

func newGauges(store Store, reg prometheus.Registerer) gauges {
	g := gauges{
		shown: map[string]bool{},
		left: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promopool_pool_codes_left", Help: "Codes of a pool whose notice is on that may be issued now or later, of the first thousand such pools, as the process has it that watches them."}, []string{"pool_id"}),
		others: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_other_pools_codes_left", Help: "The same of all other active single-use pools together."}),
		checked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_stock_checked_timestamp_seconds", Help: "When this process looked at the stock of pools last; 0: it does not watch them."}),
	}
	reg.MustRegister(g.left, g.others, g.checked)
	for _, kind := range domain.CrossingKinds {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "promopool_crossings_total", Help: "Crossings of a pool's stock that this process has told, by kind.", ConstLabels: prometheus.Labels{"kind": string(kind)},
		}, func() float64 { return float64(store.Crossings(kind)) }))
	}
	return g
}

// show brings the figures up to date. None is away for a moment, since somebody
// may read them meanwhile.
func (g *gauges) show(r *rota, now time.Time) {
	var others float64
	show := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(r.pools)) {
		p := r.pools[key]
		switch {
		case p.looked.IsZero() || !p.counts:
		case p.notice && len(show) < shown:
			show[p.id] = true
			g.left.WithLabelValues(p.id).Set(float64(p.left))
		default:
			others += float64(p.left)
		}
	}
	for id := range g.shown {
		if !show[id] {
			g.left.DeleteLabelValues(id)
		}
	}
	g.shown = show
	g.others.Set(others)
	g.checked.Set(float64(now.UnixMilli()) / 1000)
}

// clear takes them away: another process has better ones.
func (g *gauges) clear() {
	g.left.Reset()
	clear(g.shown)
	g.others.Set(0)
	g.checked.Set(0)
}
