package issuing

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/domain"
)

const (
	stepLookUp = "look_up"
	stepAssign = "assign"
	stepCommit = "commit"
)

// causes are why a decision was made again, by the error that said so.
var causes = []struct {
	name string
	err  error
}{
	{"fenced", ErrFenced}, {"cursor", ErrCursor}, {"raced", ErrRaced}, {"again", ErrAgain}, {"blocked", ErrBlocked},
	{"place_taken", ErrPlaceTaken}, {"poison", ErrPoison}, {"unknown", ErrUnknown},
}

type metrics struct {
	outcomes  *prometheus.CounterVec
	lost      *prometheus.CounterVec
	steps     *prometheus.HistogramVec
	batch     prometheus.Histogram
	merged    prometheus.Histogram
	refills   prometheus.Counter
	giveBacks prometheus.Counter
	handBacks prometheus.Counter

	// by verdict and reason, so that the hot path looks nothing up
	issued, repeated prometheus.Counter
	rejected         [domain.Poison + 1]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, buffered *atomic.Int64) *metrics {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_requests_total", Help: "Code requests answered, by outcome: issued, repeated, or the reason of rejection."}, []string{"outcome"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_decisions_again_total", Help: "Transactions that did not commit and were decided again, by cause."}, []string{"cause"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "promopool_issuing_step_seconds", Help: "Time of one step of a batch.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 15)}, []string{"step"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "promopool_batch_requests", Help: "Requests in a batch of one partition.", Buckets: prometheus.ExponentialBuckets(1, 2, 13)}),
		merged: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "promopool_transaction_batches", Help: "Batches of partitions that shared a transaction.", Buckets: prometheus.LinearBuckets(1, 1, 12)}),
		refills: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_refills_total", Help: "Grants of codes to partitions."}),
		giveBacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_give_backs_total", Help: "Idle buffers that a partition handed back to stay within the memory budget."}),
		handBacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_hand_backs_total", Help: "Pools of which every buffer was handed back because little was left."}),
	}
	reg.MustRegister(m.outcomes, m.lost, m.steps, m.batch, m.merged, m.refills, m.giveBacks, m.handBacks,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "promopool_buffered_bytes", Help: "Bytes of codes that this process has at hand."}, func() float64 { return float64(buffered.Load()) }))
	m.issued, m.repeated = m.outcomes.WithLabelValues("issued"), m.outcomes.WithLabelValues("repeated")
	for r := domain.Reason(1); r <= domain.Poison; r++ {
		m.rejected[r] = m.outcomes.WithLabelValues(r.String())
	}
	for _, c := range causes {
		m.lost.WithLabelValues(c.name)
	}
	return m
}

func (m *metrics) step(step string, since time.Time) {
	m.steps.WithLabelValues(step).Observe(time.Since(since).Seconds())
}

func (m *metrics) again(err error) {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			m.lost.WithLabelValues(c.name).Inc()
			return
		}
	}
}

func (m *metrics) group(batches int) { m.merged.Observe(float64(batches)) }

func (m *metrics) decided(outcomes []domain.Outcome) {
	m.batch.Observe(float64(len(outcomes)))
	var issued, repeated float64
	for i := range outcomes {
		switch outcomes[i].Verdict {
		case domain.Issued:
			issued++
		case domain.Repeated:
			repeated++
		case domain.Rejected:
			m.rejected[outcomes[i].Reason].Inc()
		}
	}
	m.issued.Add(issued)
	m.repeated.Add(repeated)
}
