package consumer

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"promopool/internal/producer"
)

const (
	stepFetch   = "fetch"
	stepPublish = "publish"
)

// Metrics counts what the partitions of a process do.
type Metrics struct {
	steps   *prometheus.HistogramVec
	retries *prometheus.CounterVec
	behind  *prometheus.GaugeVec
	letters *prometheus.CounterVec

	mu     sync.Mutex
	oldest map[int]time.Time // guarded by mu; by partition, what waits for its answer
}

// NewMetrics registers the metrics of package consumer.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		oldest: map[int]time.Time{},
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "promopool_consumer_step_seconds", Help: "Time of one step of a batch, beside those of issuing.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 15)}, []string{"step"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_retries_total", Help: "Steps of a partition tried again after a failure, by step."}, []string{"step"}),
		behind: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promopool_consumer_lag_records", Help: "Records of an owned partition that are not fetched yet."}, []string{"partition"}),
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_dead_letters_total", Help: "Deliveries that were no request, by reason."}, []string{"reason"}),
	}
	for _, step := range []string{"open", stepFetch, "commit", stepPublish} {
		m.retries.WithLabelValues(step)
	}
	for _, d := range Defects {
		m.letters.WithLabelValues(string(d))
	}
	reg.MustRegister(m.steps, m.retries, m.behind, m.letters,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "promopool_oldest_unanswered_seconds", Help: "Age of the oldest request that is fetched and not answered; 0 when there is none."}, m.age))
	return m
}

func (m *Metrics) step(step string, since time.Time) {
	m.steps.WithLabelValues(step).Observe(time.Since(since).Seconds())
}

func (m *Metrics) retried(step string) { m.retries.WithLabelValues(step).Inc() }

func (m *Metrics) lag(partition int, records int64) {
	m.behind.WithLabelValues(strconv.Itoa(partition)).Set(float64(records))
}

func (m *Metrics) waiting(partition int, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.oldest[partition]; !ok && !since.IsZero() {
		m.oldest[partition] = since
	}
}

func (m *Metrics) published(partition int, letters []producer.DeadLetter) {
	for i := range letters {
		m.letters.WithLabelValues(letters[i].Reason).Inc()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.oldest, partition)
}

// forget drops a partition that is no longer ours.
func (m *Metrics) forget(partition int) {
	m.behind.DeleteLabelValues(strconv.Itoa(partition))
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.oldest, partition)
}

func (m *Metrics) age() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var oldest time.Duration
	for _, since := range m.oldest {
		oldest = max(oldest, time.Since(since))
	}
	return oldest.Seconds()
}
