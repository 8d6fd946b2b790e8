// Package kafkatest gives tests and the bench a Kafka broker. Start runs a real
// Apache Kafka, one node in KRaft mode, from the jars that Maven fetches into
// the user's cache. It can be killed, stopped and started again on the same
// port with its data kept, and it dies with the process that started it.
// ForTest gives a test the broker that it should run against: devstack's, inside
// the process, or with PROMOPOOL_TEST_KAFKA=real the real one.
package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/child"
)

// Options of a broker. The zero value is a broker on a free port of 127.0.0.1
// with its data in a temporary folder.
type Options struct {
	// Dir holds the data, the settings and kafka.log. Empty: a temporary
	// folder, which Close removes.
	Dir string

	// Port on 127.0.0.1. 0: a free one. Restart keeps it.
	Port int

	// MinSession is the shortest session timeout that a consumer may ask for.
	// 0: 6 s, as brokers have it. Lower, and a dead member is noticed sooner.
	MinSession time.Duration

	// Heap of the JVM, as its -Xmx wants it. Empty: 512m.
	Heap string

	// Settings are further lines of server.properties and go before ours.
	Settings map[string]string
}

// Broker is a running, or stopped, Apache Kafka.
type Broker struct {
	Addr string // host:port
	Dir  string

	temporary bool
	heap      string
	libs      string
	jvm       *child.Process // the one started last
}

// Start runs a broker and returns when it answers. ctx bounds the start only.
// The broker is killed when this process ends, however it ends.
func Start(ctx context.Context, o Options) (*Broker, error) {
	libs, err := jars(ctx)
	if err != nil {
		return nil, err
	}
	b := &Broker{Dir: o.Dir, heap: o.Heap, libs: libs}
	if b.heap == "" {
		b.heap = "512m"
	}
	if b.Dir == "" {
		sweep()
		if b.Dir, err = os.MkdirTemp("", tempPattern(os.Getpid())); err != nil {
			return nil, err
		}
		b.temporary = true
	}
	if b.Dir, err = filepath.Abs(b.Dir); err != nil {
		return nil, err
	}
	port := o.Port
	if port == 0 {
		port = child.FreePort()
	}
	b.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))

	if err := b.format(ctx, properties(b.Dir, port, o)); err != nil {
		return nil, errors.Join(err, b.removeTemporary())
	}
	if err := b.Restart(ctx); err != nil {
		return nil, errors.Join(err, b.removeTemporary())
	}
	return b, nil
}

// Restart runs a stopped or killed broker again, with its data and its port,
// and returns when it answers.
func (b *Broker) Restart(ctx context.Context) error {
	if err := b.run(); err != nil {
		return err
	}
	client := kafka.Client{Addr: kafka.TCP(b.Addr), Timeout: time.Second, Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// The port is open before the broker is registered, and only the
		// latter lets topics be created.
		if m, err := client.Metadata(ctx, &kafka.MetadataRequest{}); err == nil && len(m.Brokers) > 0 && m.Brokers[0].Port != 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-b.jvm.Done():
			return fmt.Errorf("kafka on %s ended at its start: %s", b.Addr, b.logTail())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("kafka on %s: %w: %s", b.Addr, ctx.Err(), b.logTail()), b.Kill())
		}
	}
}

// Kill ends the broker with SIGKILL. What it has acknowledged is in its log.
func (b *Broker) Kill() error { return b.end(syscall.SIGKILL) }

// Stop ends the broker with SIGTERM and waits for its shutdown, for 30 s at most.
func (b *Broker) Stop() error { return b.end(syscall.SIGTERM) }

// Close kills the broker and removes its data if it lies in a temporary folder.
func (b *Broker) Close() error { return errors.Join(b.Kill(), b.removeTemporary()) }

func (b *Broker) end(sig syscall.Signal) error {
	if b.jvm == nil {
		return nil
	}
	if err := b.jvm.Signal(sig); err != nil {
		return err
	}
	select {
	case <-b.jvm.Done():
		return nil
	case <-time.After(30 * time.Second):
		err := b.jvm.Signal(syscall.SIGKILL)
		<-b.jvm.Done()
		return errors.Join(fmt.Errorf("kafka on %s did not end in 30 s and was killed", b.Addr), err)
	}
}

// run starts the JVM.
func (b *Broker) run() error {
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("java", "-server", "-XX:+UseG1GC", "-Xms"+b.heap, "-Xmx"+b.heap,
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", filepath.Join(b.libs, "*"), "kafka.Kafka", b.propertiesFile())
	cmd.Stdout, cmd.Stderr = log, log
	b.jvm, err = child.Start(cmd, syscall.SIGKILL)
	return err
}

// format writes the settings, and the empty log directory if there is none yet.
func (b *Broker) format(ctx context.Context, properties []byte) error {
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(b.propertiesFile(), properties, 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "data", "meta.properties")); err == nil {
		return nil
	}
	id := make([]byte, 16)
	rand.Read(id)
	id[0] &= 0x7f // an id may not begin with a dash
	out, err := exec.CommandContext(ctx, "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(b.libs, "*"), "kafka.tools.StorageTool",
		"format", "-t", base64.RawURLEncoding.EncodeToString(id), "-c", b.propertiesFile()).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: %s", err, install)
	}
	if err != nil {
		return fmt.Errorf("format kafka's log directory: %w\n%s", err, out)
	}
	return nil
}

// properties of one node that is broker and controller. The coordinator's
// linger is 0: by default it holds every offset commit back for 5 ms, in hope
// of company.
func properties(dir string, port int, o Options) []byte {
	session := o.MinSession
	if session == 0 {
		session = 6 * time.Second
	}
	var p bytes.Buffer
	fmt.Fprintf(&p, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=%[4]d
group.coordinator.append.linger.ms=0
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
`, port, child.FreePort(), filepath.Join(dir, "data"), session.Milliseconds())
	for _, k := range slices.Sorted(maps.Keys(o.Settings)) {
		fmt.Fprintf(&p, "%s=%s\n", k, o.Settings[k]) // of two lines the last counts
	}
	return p.Bytes()
}

func (b *Broker) propertiesFile() string { return filepath.Join(b.Dir, "server.properties") }
func (b *Broker) logFile() string        { return filepath.Join(b.Dir, "kafka.log") }

func (b *Broker) logTail() string {
	log, err := os.ReadFile(b.logFile())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4<<10):])
}

func (b *Broker) removeTemporary() error {
	if !b.temporary {
		return nil
	}
	return os.RemoveAll(b.Dir)
}

// tempPattern names temporary folders after the process that uses them, so that
// what a killed process has left can be told and swept.
func tempPattern(pid int) string { return fmt.Sprintf("promopool-kafka-%d-*", pid) }

func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "promopool-kafka-*"))
	for _, dir := range dirs {
		parts := strings.Split(filepath.Base(dir), "-")
		pid, err := strconv.Atoi(parts[2])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another user's stays
		}
	}
}
