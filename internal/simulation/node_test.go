package simulation

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/issuing"
	"promopool/internal/producer"
	"promopool/internal/topics"
)

const (
	requests    = "requests"
	outcomes    = "outcomes"
	deadLetters = "dead-letters"
	stream      = "0123456789abcdef"
)

// node is a process of the service: the consumer's partitions on an issuer and a
// producer, as the program wires them, on the models of the store and of Kafka.
type node struct {
	w      *world
	name   string
	parts  *consumer.Partitions
	issuer *issuing.Issuer
	store  *store

	frozen bool
	thaws  time.Time
	dead   bool
	killed chan struct{}
}

func (w *world) newNode(name string) *node {
	n := &node{w: w, name: name, killed: make(chan struct{})}
	n.store = &store{db: w.db, call: n.call}
	client := &kafka.Client{Addr: kafka.TCP("simulation"), Transport: &transport{log: w.log, call: n.network, some: w.some}}
	reg := prometheus.NewRegistry()
	n.issuer = issuing.New(n.store, name, reg, zerolog.Nop())
	n.issuer.Yield = pauseBriefly
	p := producer.New(client, nil, zerolog.Nop(), reg)
	p.Yield = func() { time.Sleep(50*time.Microsecond + 17*time.Nanosecond) }
	topic := func(name string) topics.Topic {
		return topics.Topic{Name: name, Partitions: w.partitions, ID: w.log.topics[name].id, Stream: stream}
	}
	n.parts = &consumer.Partitions{
		Fetcher:     consumer.NewFetcher(client, requests, consumer.DefaultFetchBytes).Of(topic(requests)),
		Issuer:      n.issuer,
		Outcomes:    producer.NewOutcomes(p, outcomes, w.partitions, stream, w.partitions),
		DeadLetters: producer.NewDeadLetters(p, crashpoint.PublishDeadLetters, deadLetters, w.partitions, requests, stream),
		Tails:       consumer.NewTails(client, topic(requests), topic(outcomes), topic(deadLetters)),
		Stream:      stream,
		Count:       w.partitions,
		Health:      new(consumer.Health),
		Stop:        func(err error) { w.fail("%s stops: %v", name, err) },
		Metrics:     consumer.NewMetrics(reg),
		Log:         zerolog.Nop(),
	}
	return n
}

// actor tells in whose name a call is made; it rides in the context.
type actor struct{}

func actorOf(ctx context.Context) string {
	name, _ := ctx.Value(actor{}).(string)
	return name
}

// call runs a transaction on a backend. The client may be gone before the answer
// comes; a transaction in which it has a hand ends then, others go on.
func (n *node) call(ctx context.Context, kind, detail string, interactive bool, work func(*session) error) error {
	if n.dead || ctx.Err() != nil {
		return errLost
	}
	db := n.w.db
	name := n.name + " " + actorOf(ctx) + " " + kind + " " + detail
	db.mu.Lock()
	s := db.session(name)
	s.kind, s.began = kind, n.w.events
	s.node = n
	s.interactive = interactive
	db.mu.Unlock()
	result := make(chan error, 1)
	go func() {
		db.mu.Lock()
		err := work(s)
		s.close()
		db.mu.Unlock()
		result <- err
	}()
	select {
	case err := <-result:
		n.w.count(kind + outcomeOf(err))
		if s.wrote || n.frozen {
			if n.w.park(&gate{name: name + "/answer", kind: "answer", owner: n}) == drop {
				return errLost
			}
		}
		return err
	case <-ctx.Done():
		n.w.count("answer not waited for")
	case <-n.killed:
	}
	if interactive {
		db.mu.Lock()
		s.end()
		db.mu.Unlock()
	}
	return errLost
}

// outcomeOf names what became of a transaction.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, issuing.ErrFenced):
		return ": fenced"
	case errors.Is(err, issuing.ErrCursor):
		return ": handed back meanwhile"
	case errors.Is(err, issuing.ErrRaced):
		return ": another was first"
	case errors.Is(err, issuing.ErrAgain):
		return ": too old"
	case errors.Is(err, issuing.ErrBlocked):
		return ": blocked"
	case errors.Is(err, issuing.ErrPlaceTaken):
		return ": place taken"
	case errors.Is(err, issuing.ErrPoison):
		return ": poison"
	case errors.Is(err, issuing.ErrCorrupt):
		return ": corrupt"
	case errors.Is(err, issuing.ErrUnknown):
		return ": no answer"
	case errors.Is(err, domain.ErrNotFound), errors.Is(err, errState), errors.Is(err, errIssued):
		return ": refused"
	}
	return ": " + err.Error()
}

// pace is the model's: every step of a backend is a gate.
func (w *world) pace(s *session, step string, ready func() bool) verdict {
	g := &gate{name: s.name + "/" + step, kind: step, sess: s, ready: ready, faults: before}
	if s.interactive {
		g.owner = s.node
	}
	if step == "commit" {
		g.faults = beforeOrAfter
		s.wrote = true
	}
	if s.staff {
		g.faults = never
	}
	return w.park(g)
}

// network carries a request to a broker and back.
func (n *node) network(ctx context.Context, kind, detail string, read bool, ready func() bool, work func()) error {
	if n.dead || ctx.Err() != nil {
		return io.ErrUnexpectedEOF
	}
	g := &gate{name: n.name + " " + actorOf(ctx) + " " + kind + " " + detail, kind: kind, ready: ready, faults: before}
	if !read {
		g.faults = beforeOrAfter
	}
	result := make(chan error, 1)
	go func() {
		v := n.w.park(g)
		if v != drop {
			work()
		}
		if v != proceed {
			result <- io.ErrUnexpectedEOF
			return
		}
		result <- nil
	}()
	select {
	case err := <-result:
		n.w.count(kind + outcomeOf2(err))
		if !read || n.frozen {
			if n.w.park(&gate{name: g.name + "/answer", kind: "answer", owner: n}) == drop {
				return io.ErrUnexpectedEOF
			}
		}
		return err
	case <-ctx.Done():
		g.gone = read
		return ctx.Err()
	case <-n.killed:
		g.gone = read
		return io.ErrUnexpectedEOF
	}
}

func outcomeOf2(err error) string {
	if err != nil {
		return ": no answer"
	}
	return ""
}

// generation is a partition in the hands of a process, until it is told otherwise.
type generation struct {
	no        int
	node      *node
	partition int
	cancel    context.CancelFunc

	reached, sent int64
	done          bool
	err           error
}

// own begins to work on a partition.
func (w *world) own(n *node, partition int) *generation {
	w.generations++
	g := &generation{no: w.generations, node: n, partition: partition}
	name := "p" + strconv.Itoa(partition) + "#" + strconv.Itoa(g.no)
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), actor{}, name))
	g.cancel = cancel
	a := consumer.Assignment{
		Partition: partition, Offset: w.groupOffset[partition], Generation: int32(g.no),
		Commit: func(offset int64) { g.reached = max(g.reached, offset) },
		// A process may be slow at any turn of its loops.
		Progress: func() {
			if !n.dead {
				w.park(&gate{name: n.name + " " + name + " turn", kind: "turn", owner: n})
			}
		},
	}
	w.live = append(w.live, g)
	go func() {
		err := n.parts.Work(ctx, a)
		w.mu.Lock()
		g.done, g.err = true, err
		w.mu.Unlock()
	}()
	w.settle()
	return g
}
