package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/crashpoint"
	"promopool/internal/topics"
)

// ErrFenced is what work returns when another process has taken its partition
// over. The member leaves the group and joins again: its view of who owns what
// was out of date.
var ErrFenced = errors.New("fenced: the partition has another owner")

// NoOffset is the offset of an assignment whose group has committed none.
const NoOffset = int64(-1)

const (
	// The smallest session that brokers allow by default: how long the
	// partitions of a killed process wait for their next owner.
	sessionTimeout = 6 * time.Second
	// How late a member learns that others wait for it to join again.
	heartbeat = 250 * time.Millisecond
	// A member sends no heartbeats from the end of one generation until it
	// joins the next, so the coordinator waits for it as long as its session
	// lasts and no longer.
	rebalanceTimeout = sessionTimeout
	// drainTimeout is what workers have for the batch in hand. With a heartbeat
	// before it, it must fit into the session.
	drainTimeout = sessionTimeout - 2*heartbeat

	joinBackoff      = 100 * time.Millisecond
	commitEvery      = 100 * time.Millisecond
	countEvery       = 5 * time.Second
	firstRejoin      = 200 * time.Millisecond
	lastRejoin       = 10 * time.Second
	steadyMembership = time.Minute

	// DefaultStall is how long a worker may go without Progress. Raised, a stuck
	// partition waits longer for another owner; lowered to near the length of a
	// slow batch, members leave for no reason.
	DefaultStall = 30 * time.Second
)

// Assignment is one partition for the length of one generation.
type Assignment struct {
	Partition  int
	Offset     int64 // committed by the group, or NoOffset
	Generation int32

	// Commit says that everything below offset is done. It returns at once; the
	// group commits the highest offsets of all partitions together, soon and
	// when the generation ends. A commit that is lost means redelivery.
	Commit func(offset int64)
	// Progress says that the worker is not stuck. To be called on every turn of
	// its loop, also when there was nothing to do and when it waits for
	// something that every other process would have to wait for.
	Progress func()
}

// Work does one partition until ctx ends; then it finishes what it has begun,
// within a few seconds, and returns nil. An error makes the member leave the
// group, giving back all its partitions, and join again.
type Work func(ctx context.Context, a Assignment) error

// Group is a membership in a consumer group of one topic.
type Group struct {
	client  *kafka.Client
	brokers []string
	point   *crashpoint.Point // of its offsets
	name    string
	topic   string
	stall   time.Duration
	health  *Health
	log     zerolog.Logger

	assigned    prometheus.Gauge
	generations prometheus.Counter
	lostCommits prometheus.Counter
	departures  *prometheus.CounterVec

	// owned by Run
	partitions int // of the topic, as of before the last join
}

// NewGroup returns a membership that Run takes up. While it is none, health
// says so. Its offsets are committed at a point.
func NewGroup(client *kafka.Client, brokers []string, point *crashpoint.Point, name, topic string, stall time.Duration, health *Health, log zerolog.Logger, reg prometheus.Registerer) *Group {
	labels := prometheus.Labels{"group": name}
	g := &Group{
		client:  client,
		brokers: brokers,
		point:   point,
		name:    name,
		topic:   topic,
		stall:   stall,
		health:  health,
		log:     log.With().Str("component", "group").Str("group", name).Str("topic", topic).Logger(),
		assigned: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promopool_group_assigned_partitions", ConstLabels: labels,
			Help: "Partitions that this process works on.",
		}),
		generations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_group_generations_total", ConstLabels: labels,
			Help: "Generations of the consumer group that this process was part of.",
		}),
		lostCommits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promopool_group_commit_failures_total", ConstLabels: labels,
			Help: "Offset commits that failed; what they covered is committed again or delivered again.",
		}),
		departures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promopool_group_departures_total", ConstLabels: labels,
			Help: "Times that this process left the group on its own account, by cause.",
		}, []string{"cause"}),
	}
	reg.MustRegister(g.assigned, g.generations, g.lostCommits, g.departures)
	for _, cause := range []string{"fenced", "stalled", "work"} {
		g.departures.WithLabelValues(cause)
	}
	return g
}

// Run is a member of the group until ctx ends. It starts work for every
// partition it is assigned, and does not take up the next generation before
// all work of the last has returned, or has used up its time. On return the
// group knows that the member has left.
func (g *Group) Run(ctx context.Context, work Work) error {
	pause := firstRejoin
	g.report("has not joined yet")
	for ctx.Err() == nil {
		if !g.awaitTopic(ctx) {
			return nil
		}
		joined := time.Now()
		err := g.member(ctx, work)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(joined) > steadyMembership {
			pause = firstRejoin
		}
		g.departures.WithLabelValues(cause(err)).Inc()
		g.report("has left, joining again")
		g.log.Warn().Err(err).Dur("pause", pause).Msg("left the group, joining again")
		sleep(ctx, pause)
		pause = min(2*pause, lastRejoin)
	}
	return nil
}

func cause(err error) string {
	switch {
	case errors.Is(err, ErrFenced):
		return "fenced"
	case errors.Is(err, errStalled):
		return "stalled"
	default:
		return "work"
	}
}

// awaitTopic waits until the topic exists, since a group joined before it would
// assign nothing and not notice.
func (g *Group) awaitTopic(ctx context.Context) bool {
	for told := false; ctx.Err() == nil; sleep(ctx, joinBackoff) {
		if g.partitions = g.countPartitions(ctx); g.partitions > 0 {
			return true
		}
		if !told {
			g.log.Warn().Msg("the topic is not to be seen, waiting for it")
			told = true
		}
	}
	return false
}

// countPartitions is 0 when it cannot tell. The client answers from its cache.
func (g *Group) countPartitions(ctx context.Context) int {
	res, err := g.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{g.topic}})
	if err != nil || len(res.Topics) != 1 || res.Topics[0].Error != nil {
		return 0
	}
	return len(res.Topics[0].Partitions)
}

// member joins the group and goes through its generations until ctx ends (nil)
// or a worker wants out. It leaves the group before it returns.
func (g *Group) member(ctx context.Context, work Work) error {
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                g.name,
		Brokers:           g.brokers,
		Topics:            []string{g.topic},
		Dialer:            &kafka.Dialer{ClientID: topics.ClientID, Timeout: 3 * time.Second, KeepAlive: 15 * time.Second, DualStack: true},
		HeartbeatInterval: heartbeat,
		SessionTimeout:    sessionTimeout,
		RebalanceTimeout:  rebalanceTimeout,
		JoinGroupBackoff:  joinBackoff,
		StartOffset:       kafka.FirstOffset,
		// Added partitions are noticed by generation: the library's own watch
		// ends generations in a loop, with no pause, while the topic is absent.
		WatchPartitionChanges: false,
	})
	if err != nil {
		return err
	}
	defer cg.Close() // waits for the generation to end, then sends LeaveGroup

	for told := false; ; {
		gen, err := cg.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.RebalanceInProgress):
			continue // the others go on without us and begin another round
		case err != nil:
			g.report("cannot join: " + err.Error())
			if !told {
				g.log.Warn().Err(err).Msg("cannot join the group, retrying until it succeeds")
				told = true
			}
			continue
		}
		told = false
		g.report("")
		if err := g.generation(ctx, gen, work); err != nil {
			return err
		}
	}
}

func (g *Group) report(problem string) { g.health.Report("consumer group "+g.name, problem) }

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
