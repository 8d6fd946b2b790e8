package redeeming

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/domain"
)

type metrics struct {
	outcomes  *prometheus.CounterVec
	rollBacks prometheus.Counter
	seconds   prometheus.Histogram
	size      prometheus.Histogram
}

// Outcomes of redemptions beside the reasons of rejection.
const (
	redeemed = "redeemed"
	recorded = "recorded" // another system has judged
	repeated = "repeated"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_redemptions_total", Help: "Redemptions answered, by outcome: redeemed, recorded (another system has judged), repeated, or the reason of rejection."}, []string{"outcome"}),
		rollBacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_redemptions_rolled_back_total", Help: "Redemptions that this process has rolled back."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "promopool_redemption_seconds", Help: "Time from asking for a redemption, or for several in a batch, until the answer was durable.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "promopool_redemption_group_requests", Help: "Redemptions that shared a transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
	}
	reg.MustRegister(m.outcomes, m.rollBacks, m.seconds, m.size)
	for _, o := range []string{redeemed, recorded, repeated, domain.RedemptionPoison.String()} {
		m.outcomes.WithLabelValues(o)
	}
	for _, r := range domain.RedemptionReasons {
		m.outcomes.WithLabelValues(r.String())
	}
	return m
}

func (m *metrics) answered(judged []domain.Judgement, took time.Duration) {
	if len(judged) > 0 {
		m.seconds.Observe(took.Seconds())
	}
	for _, j := range judged {
		switch {
		case j.Repeated:
			m.outcomes.WithLabelValues(repeated).Inc()
		case !j.Redeemed():
			m.outcomes.WithLabelValues(j.Reason.String()).Inc()
		case j.Processing == domain.External:
			m.outcomes.WithLabelValues(recorded).Inc()
		default:
			m.outcomes.WithLabelValues(redeemed).Inc()
		}
	}
}

func (m *metrics) group(n int) { m.size.Observe(float64(n)) }
func (m *metrics) rolledBack() { m.rollBacks.Inc() }
