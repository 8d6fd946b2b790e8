package consumer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"github.com/segmentio/kafka-go"

	"promopool/internal/kafkatest"
)

// cast is several members of one group and what each of them works on.
type cast struct {
	*broker
	mu      sync.Mutex
	working map[string]map[int]int64 // member → partition → offset it was given
	faults  []string
}

func newCast(t *testing.T, partitions int) *cast {
	return &cast{broker: newBroker(t, partitions), working: make(map[string]map[int]int64)}
}

type member struct {
	*Group
	leave func()
	left  chan struct{}
}

// join adds a member that does work, by default nothing until it is told to stop.
func (c *cast) join(name string, stall time.Duration, work Work) *member {
	if work == nil {
		work = func(ctx context.Context, a Assignment) error {
			<-ctx.Done()
			return nil
		}
	}
	ctx, leave := context.WithCancel(context.Background())
	log := zerolog.New(zerolog.NewTestWriter(c.t)).With().Str("member", name).Logger()
	m := &member{
		Group: NewGroup(c.client, []string{c.addr}, nil, c.topic+".group", c.topic, stall, &Health{}, log, prometheus.NewRegistry()),
		left:  make(chan struct{}),
	}
	m.leave = func() { leave(); <-m.left }
	go func() {
		defer close(m.left)
		if err := m.Run(ctx, func(ctx context.Context, a Assignment) error {
			c.begin(name, a)
			defer c.end(name, a)
			return work(ctx, a)
		}); err != nil {
			c.t.Error(err)
		}
	}()
	c.t.Cleanup(m.leave)
	return m
}

func (c *cast) begin(name string, a Assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, ps := range c.working {
		if _, ok := ps[a.Partition]; ok && other != "frozen" {
			c.faults = append(c.faults, fmt.Sprintf("%s begins partition %d, on which %s works", name, a.Partition, other))
		}
	}
	if c.working[name] == nil {
		c.working[name] = make(map[int]int64)
	}
	c.working[name][a.Partition] = a.Offset
}

func (c *cast) end(name string, a Assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.working[name], a.Partition)
}

// share says how many partitions each member works on.
func (c *cast) share() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := make(map[string]int)
	for name, ps := range c.working {
		if len(ps) > 0 {
			n[name] = len(ps)
		}
	}
	return n
}

// await polls until the members share the partitions so, and says how long it took.
func (c *cast) await(want map[string]int) time.Duration {
	c.t.Helper()
	start := time.Now()
	poll(c.t, fmt.Sprint("members to share ", want), func() bool { return maps.Equal(c.share(), want) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		c.t.Error(f)
	}
	took := time.Since(start)
	c.t.Logf("%v after %s", want, took.Round(time.Millisecond))
	return took
}

func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (c *cast) committed(partition int) int64 {
	c.t.Helper()
	res, err := c.client.OffsetFetch(context.Background(), &kafka.OffsetFetchRequest{
		GroupID: c.topic + ".group", Topics: map[string][]int{c.topic: {partition}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(res.Topics[c.topic]) == 0 { // a group that nobody has joined
		return NoOffset
	}
	return res.Topics[c.topic][0].CommittedOffset
}

func TestGroupJoinsAndLeaves(t *testing.T) {
	c := newCast(t, 12)
	a := c.join("a", DefaultStall, nil)
	c.await(map[string]int{"a": 12})
	b := c.join("b", DefaultStall, nil)
	c.await(map[string]int{"a": 6, "b": 6})
	c.join("c", DefaultStall, nil)
	c.await(map[string]int{"a": 4, "b": 4, "c": 4})
	b.leave()
	// Well within the session: the member said that it leaves.
	if took := c.await(map[string]int{"a": 6, "c": 6}); took > 2*time.Second {
		t.Errorf("taken over after %s", took)
	}
	a.leave()
	c.await(map[string]int{"c": 12})
}

func TestGroupCommits(t *testing.T) {
	c := newCast(t, 2)
	offsets := make(chan int64)
	if got := c.committed(0); got != NoOffset {
		t.Errorf("at first: got %d, want none", got)
	}
	m := c.join("a", DefaultStall, func(ctx context.Context, a Assignment) error {
		if a.Offset != NoOffset {
			t.Errorf("got offset %d, want none", a.Offset)
		}
		if a.Partition == 1 {
			<-ctx.Done()
			a.Commit(7) // the batch in hand
			return nil
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case o := <-offsets:
				a.Commit(o)
			}
		}
	})
	offsets <- 3
	poll(t, "the commit", func() bool { return c.committed(0) == 3 })
	offsets <- 5
	offsets <- 4 // lower: of no effect
	poll(t, "the commit", func() bool { return c.committed(0) == 5 })
	m.leave()
	if got := c.committed(1); got != 7 {
		t.Errorf("at the end of the generation: got %d, want 7", got)
	}

	c.join("b", DefaultStall, nil)
	c.await(map[string]int{"b": 2})
	c.mu.Lock()
	defer c.mu.Unlock()
	if got, want := c.working["b"], map[int]int64{0: 5, 1: 7}; !maps.Equal(got, want) {
		t.Errorf("next member starts at %v, want %v", got, want)
	}
}

// The next generation begins when the batch in hand is done, and from there.
func TestGroupWaitsForBatchInHand(t *testing.T) {
	c := newCast(t, 2)
	c.join("a", DefaultStall, func(ctx context.Context, a Assignment) error {
		<-ctx.Done()
		time.Sleep(500 * time.Millisecond) // the batch in hand takes its time
		a.Commit(a.Offset + 11)
		return nil
	})
	c.await(map[string]int{"a": 2})
	c.join("b", DefaultStall, nil)
	c.await(map[string]int{"a": 1, "b": 1})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ps := range c.working {
		for p, o := range ps {
			if o != 10 {
				t.Errorf("partition %d begins at %d, want 10", p, o)
			}
		}
	}
}

func TestGroupWorkFails(t *testing.T) {
	c := newCast(t, 4)
	var mu sync.Mutex
	fenced := 0
	m := c.join("a", DefaultStall, func(ctx context.Context, a Assignment) error {
		mu.Lock()
		first := a.Partition == 2 && fenced == 0
		if first {
			fenced++
		}
		mu.Unlock()
		if first {
			return fmt.Errorf("claim: %w", ErrFenced)
		}
		<-ctx.Done()
		return nil
	})
	c.await(map[string]int{"a": 4})
	mu.Lock()
	defer mu.Unlock()
	if fenced != 1 {
		t.Error("never fenced")
	}
	poll(t, "the departure to be counted", func() bool { return count(t, m.departures.WithLabelValues("fenced")) == 1 })
}

func TestGroupStalls(t *testing.T) {
	c := newCast(t, 2)
	const stall = 500 * time.Millisecond
	release := make(chan struct{})
	var once sync.Once
	busy := func(ctx context.Context, a Assignment) error {
		for ctx.Err() == nil {
			a.Progress()
			sleep(ctx, 10*time.Millisecond)
		}
		return nil
	}
	m := c.join("a", stall, func(ctx context.Context, a Assignment) error {
		if a.Partition == 0 {
			stuck := false
			once.Do(func() { stuck = true })
			if stuck {
				<-release // deaf to ctx: frozen
				a.Commit(99)
				return nil
			}
		}
		return busy(ctx, a)
	})
	c.await(map[string]int{"a": 2})
	poll(t, "the departure", func() bool { return count(t, m.departures.WithLabelValues("stalled")) == 1 })
	poll(t, "both partitions to be worked on again", func() bool {
		return count(t, m.generations) >= 2 && c.share()["a"] == 2
	})
	close(release)
	c.join("b", stall, busy)
	poll(t, "an even share", func() bool { return maps.Equal(c.share(), map[string]int{"a": 1, "b": 1}) })
	if got := c.committed(0); got != NoOffset {
		t.Errorf("the one left behind has committed %d", got)
	}
}

// A member that is killed says nothing: its partitions wait for its session to
// run out, and go on from what it has committed.
func TestGroupMemberKilled(t *testing.T) {
	c := newCast(t, 2)
	child := exec.Command(os.Args[0], "-test.run=TestGroupMemberOfOtherProcess", "-test.v")
	child.Env = append(os.Environ(), "TEST_MEMBER_BROKER="+c.addr, "TEST_MEMBER_TOPIC="+c.topic)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	poll(t, "the other process to commit", func() bool { return c.committed(0) == 42 && c.committed(1) == 42 })
	c.join("a", DefaultStall, nil)
	c.await(map[string]int{"a": 1})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if took := c.await(map[string]int{"a": 2}); took > sessionTimeout+2*time.Second {
		t.Errorf("taken over after %s, want %s and a little", took, sessionTimeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got, want := c.working["a"], map[int]int64{0: 42, 1: 42}; !maps.Equal(got, want) {
		t.Errorf("goes on from %v, want %v", got, want)
	}
}

func TestGroupMemberOfOtherProcess(t *testing.T) {
	addr := os.Getenv("TEST_MEMBER_BROKER")
	if addr == "" {
		t.Skip("is run by TestGroupMemberKilled")
	}
	c := &cast{broker: connect(t, addr), working: make(map[string]map[int]int64)}
	c.topic = os.Getenv("TEST_MEMBER_TOPIC")
	m := c.join("child", DefaultStall, func(ctx context.Context, a Assignment) error {
		a.Commit(42)
		<-ctx.Done()
		return nil
	})
	<-m.left
}

func TestGroupAwaitsTopic(t *testing.T) {
	c := newCast(t, 1)
	c.topic += "-later"
	c.join("a", DefaultStall, nil)
	c.create(3)
	c.await(map[string]int{"a": 3})
}

func TestGroupSeesAddedPartitions(t *testing.T) {
	c := newCast(t, 2)
	c.join("a", DefaultStall, nil)
	c.join("b", DefaultStall, nil)
	c.await(map[string]int{"a": 1, "b": 1})
	res, err := c.client.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: c.topic, Count: 6}},
	})
	if err == nil {
		err = res.Errors[c.topic]
	}
	if err != nil {
		t.Fatal(err)
	}
	c.await(map[string]int{"a": 3, "b": 3})
}

func TestGroupWorkReturns(t *testing.T) {
	c := newCast(t, 1)
	m := c.join("a", DefaultStall, func(context.Context, Assignment) error { return nil })
	poll(t, "the departure", func() bool { return count(t, m.departures.WithLabelValues("work")) >= 2 })
}

func TestGroupSurvivesBroker(t *testing.T) {
	if !kafkatest.Real() {
		t.Skip("needs a real Kafka: make test-kafka")
	}
	b := kafkatest.StartForTest(t, kafkatest.Options{})
	c := &cast{broker: connect(t, b.Addr), working: make(map[string]map[int]int64)}
	c.create(4)
	c.join("a", DefaultStall, func(ctx context.Context, a Assignment) error {
		for o := max(a.Offset, 0); ctx.Err() == nil; o++ {
			a.Progress()
			a.Commit(o)
			sleep(ctx, 5*time.Millisecond)
		}
		return nil
	})
	c.join("b", DefaultStall, nil)
	c.await(map[string]int{"a": 2, "b": 2})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, end := range []func() error{b.Kill, b.Stop} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		poll(t, "the generation to end", func() bool { return len(c.share()) == 0 })
		if err := b.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		c.await(map[string]int{"a": 2, "b": 2})
	}
}

func count(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue()
}
