package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/consumer"
)

// cell is one run of the crash matrix.
type cell struct {
	point, fault string
	hit          int
	seed         uint64
}

func (c cell) String() string {
	return fmt.Sprintf("%s %s hit=%d seed=%d", c.point, c.fault, c.hit, c.seed)
}

// crashWorld is a small world in which writes of its processes meet faults, one
// after the other.
type crashWorld struct {
	*world
	cell  // now
	cells []cell
	rng   *rand.Rand

	made    int // names that were given
	blocked int // codes

	mu      sync.Mutex
	nodes   []*crashNode   // guarded by mu; those that are asked
	hits    map[string]int // guarded by mu; by point, over all processes
	healing int            // guarded by mu; processes that are about to be started

	happened map[string]chan struct{} // by point; closed when its fault has
	healed   sync.WaitGroup

	promises map[promise]string
	sent     int // well formed requests over Kafka
}

// promise is where to look for what was answered over HTTP: it must show the same.
type promise struct{ path, field string }

// crashNode is a process of the service that may have a plan.
type crashNode struct {
	c    *crashWorld
	cmd  *exec.Cmd
	http string // guarded by c.mu; empty before it serves
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer // guarded by mu
}

func newCrashWorld(t *testing.T, w *world, cells ...cell) *crashWorld {
	world := &crashWorld{world: w, cell: cells[0], cells: cells, rng: rand.New(rand.NewPCG(cells[0].seed, uint64(len(cells)))),
		hits: map[string]int{}, happened: map[string]chan struct{}{}, promises: map[promise]string{}}
	for _, c := range cells {
		world.happened[c.point] = make(chan struct{})
	}
	t.Cleanup(func() {
		world.mu.Lock()
		nodes := slices.Clone(world.nodes)
		world.mu.Unlock()
		for _, n := range nodes {
			n.kill()
		}
		if t.Failed() {
			for _, n := range nodes {
				n.mu.Lock()
				t.Logf("log of process %d:\n%s", n.cmd.Process.Pid, ends(n.log.String()))
				n.mu.Unlock()
			}
		}
	})
	return world
}

// Start begins a process, with plans for what has not happened yet.
func (c *crashWorld) Start() *crashNode {
	c.t.Helper()
	n := c.run("serve", "--kafka", c.kafka, "--database-url", c.database, "--topic-prefix", c.prefix, "--http-addr", "127.0.0.1:0",
		"--keep-uploads", "0s", "--buffer-bytes", "4096", "--log-level", "debug")
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
	return n
}

// run starts this binary as promopool.
func (c *crashWorld) run(args ...string) *crashNode {
	c.t.Helper()
	n := &crashNode{c: c, cmd: promopool(args...), done: make(chan struct{})}
	var left plans
	for _, cell := range c.cells {
		if !c.over(cell) {
			left = append(left, &plan{Point: cell.point, Fault: cell.fault, Hit: max(1, cell.hit-c.hitsOf(cell)), Seed: cell.seed, Provoke: provoke[cell.point]})
		}
	}
	if len(left) > 0 {
		text, err := json.Marshal(left)
		if err != nil {
			c.t.Error(err)
		}
		n.cmd.Env = append(n.cmd.Env, crashEnv+"="+string(text))
	}
	if err := start(n.cmd, n.done, n.hear); err != nil {
		c.t.Error(err)
		close(n.done)
	}
	return n
}

// hear takes a line of a process's log.
func (n *crashNode) hear(line []byte) {
	n.mu.Lock()
	fmt.Fprintf(&n.log, "%s %s\n", time.Now().Format("05.000"), line)
	n.mu.Unlock()
	var l word
	if json.Unmarshal(line, &l) != nil {
		return
	}
	c := n.c
	switch {
	case l.Message == "serving":
		c.mu.Lock()
		n.http = l.HTTP
		c.mu.Unlock()
	case l.Message != "crashpoint":
	case l.Word == hit:
		c.mu.Lock()
		c.hits[l.Point]++
		c.mu.Unlock()
	case l.Word == hanging, l.Word == killMe:
		if c.client != nil { // else there is no service yet
			c.mu.Lock()
			c.healing++
			c.mu.Unlock()
			c.healed.Go(func() { c.heal(n, l.Word == killMe) })
		}
		fallthrough
	case l.Word == failed:
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.over(cell{point: l.Point}) { // nor to another process with the same plans
			close(c.happened[l.Point])
		}
	}
}

// has reports whether the fault has happened.
func (c *crashWorld) has() bool { return c.over(c.cell) }

func (c *crashWorld) over(cell cell) bool {
	select {
	case <-c.happened[cell.point]:
		return true
	default:
		return false
	}
}

// hitsOf is how often a point was met.
func (c *crashWorld) hitsOf(cell cell) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits[cell.point]
}

// heal starts another process. One that is to be killed is, when the groups are at
// rest; the coordinator hears of it at once, as it would within 6 s.
func (c *crashWorld) heal(n *crashNode, kill bool) {
	if kill {
		c.awaitRest()
		members := c.members()
		n.kill()
		c.dismiss(members)
		c.forget(n)
	}
	c.Start()
	c.mu.Lock()
	c.healing--
	c.mu.Unlock()
}

// forget asks a process no more.
func (c *crashWorld) forget(n *crashNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(c.nodes, func(o *crashNode) bool { return o == n })
}

func (n *crashNode) kill() {
	_ = n.cmd.Process.Kill()
	<-n.done
}

// stop ends a process as a supervisor does: asked, then killed.
func (c *crashWorld) stop(n *crashNode) {
	c.forget(n)
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(10 * time.Second):
		c.awaitRest()
		members := c.members()
		n.kill()
		c.dismiss(members)
	}
}

// stopAll stops what runs.
func (c *crashWorld) stopAll() {
	c.mu.Lock()
	nodes := slices.Clone(c.nodes)
	c.mu.Unlock()
	for _, n := range nodes {
		c.stop(n)
	}
}

// awaitRest waits until nobody joins or leaves the groups, some seconds at most.
func (c *crashWorld) awaitRest() {
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		groups := c.groups()
		if len(groups) == 2 && !slices.ContainsFunc(groups, func(g kafka.DescribeGroupsResponseGroup) bool {
			return g.GroupState != "Stable" && g.GroupState != "Empty" && g.GroupState != "Dead"
		}) {
			return
		}
	}
}

// members are those of each group.
func (c *crashWorld) members() map[string][]string {
	all := map[string][]string{}
	for _, g := range c.groups() {
		for _, m := range g.Members {
			all[g.GroupID] = append(all[g.GroupID], m.MemberID)
		}
	}
	return all
}

// dismiss has the coordinator let go of members, as when their sessions end.
func (c *crashWorld) dismiss(members map[string][]string) {
	for group, ids := range members {
		var gone []kafka.LeaveGroupRequestMember
		for _, id := range ids {
			gone = append(gone, kafka.LeaveGroupRequestMember{ID: id})
		}
		_, _ = c.client.LeaveGroup(c.t.Context(), &kafka.LeaveGroupRequest{GroupID: group, Members: gone})
	}
}

// bases are the processes to be asked, the newest first: one before it may hang.
func (c *crashWorld) bases() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range slices.Backward(c.nodes) {
		if n.http != "" {
			all = append(all, n.http)
		}
	}
	return all
}

// patience is how long the service may take to go on, whatever happens to one of
// its writes.
const patience = 60 * time.Second

// ask puts a question until a process answers it with success, or says one of the
// words that mean the same.
func (c *crashWorld) ask(method, path, body string, same ...string) map[string]any {
	c.t.Helper()
	return c.askAs("application/json", method, path, body, same...)
}

func (c *crashWorld) askAs(mediaType, method, path, body string, same ...string) map[string]any {
	c.t.Helper()
	last := "no process serves"
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, base := range c.bases() {
			ctx, cancel := context.WithTimeout(c.t.Context(), 4*time.Second)
			status, answer, err := send(ctx, method, base+path, body, "Content-Type", mediaType)
			cancel()
			last = fmt.Sprint(status, " ", string(answer), " ", err)
			alike := slices.ContainsFunc(same, func(s string) bool { return strings.Contains(string(answer), s) })
			switch {
			case err == nil && (status < 300 || alike):
				var said map[string]any
				_ = json.Unmarshal(answer, &said)
				return said
			case err == nil && status < 500:
				c.t.Fatalf("%s %s %s: %s", method, path, body, last)
			}
		}
		c.revive()
	}
	c.t.Fatalf("%s %s: no answer within %s: %s", method, path, patience, last)
	return nil
}

// revive starts another process where one has ended by itself, as a supervisor does.
func (c *crashWorld) revive() {
	c.mu.Lock()
	var ended []*crashNode
	for _, n := range c.nodes {
		select {
		case <-n.done:
			ended = append(ended, n)
		default:
		}
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(n *crashNode) bool { return slices.Contains(ended, n) })
	alone := len(c.nodes) == 0 && c.healing == 0
	c.mu.Unlock()
	if alone {
		c.Start()
	}
}

// serving waits for a process that answers.
func (c *crashWorld) serving() {
	c.t.Helper()
	c.ask("GET", "/healthz", "")
}

// name gives a new name.
func (c *crashWorld) name(kind string) string {
	c.made++
	return fmt.Sprintf("%s-%d", kind, c.made)
}

// keep remembers what was answered.
func (c *crashWorld) keep(path, field string, value any) {
	c.promises[promise{path, field}] = fmt.Sprint(value)
}

// Check wants everything answered, all promises kept and every invariant to hold.
func (c *crashWorld) Check() {
	c.t.Helper()
	c.healed.Wait()
	c.traffic()
	l := newLedger()
	outcomes := c.reader(c.names.Outcomes)
	answered := map[string]bool{}
	met := outcomes.more(patience, func(p int, rec *consumer.Record) bool {
		a := parse(c.t, p, rec)
		if err := l.add(a); err != nil {
			c.t.Error(err)
		}
		if strings.HasPrefix(a.RequestID, "k-") {
			answered[a.RequestID] = true
		}
		return len(answered) >= c.sent
	})
	if !met {
		c.t.Errorf("%d of %d requests are answered", len(answered), c.sent)
	}
	for deadline := time.Now().Add(patience); c.number("SELECT count(*) FROM outbox") > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Errorf("%d events wait in the outbox", c.number("SELECT count(*) FROM outbox"))
			break
		}
		c.revive()
	}
	for p, was := range c.promises {
		if got := fmt.Sprint(c.ask("GET", p.path, "")[p.field]); got != was {
			c.t.Errorf("%s: %s is %s, and was %s", p.path, p.field, got, was)
		}
	}
	c.Verify()
}
