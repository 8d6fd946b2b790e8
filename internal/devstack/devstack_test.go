package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"
)

// TestMain lets the test binary be the process that is killed: with this
// variable set it runs a stack until it dies.
func TestMain(m *testing.M) {
	if os.Getenv("DEVSTACK_VICTIM") != "" {
		s, err := Start(context.Background(), Config{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.folder.path)
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, c Config) *Stack {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func queryInt(t *testing.T, url, sql string) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// broker is what the tests ask of Kafka, by the service's client.
type broker struct {
	t *testing.T
	*kafka.Client
}

func dial(t *testing.T, addr string) broker {
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	t.Cleanup(transport.CloseIdleConnections)
	return broker{t, &kafka.Client{Addr: kafka.TCP(addr), Timeout: 10 * time.Second, Transport: transport}}
}

func (b broker) Create(topic string, config ...kafka.ConfigEntry) {
	b.t.Helper()
	r, err := b.CreateTopics(b.t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: topic, NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: config},
	}})
	if err = errors.Join(err, r.Errors[topic]); err != nil {
		b.t.Fatal(err)
	}
}

func (b broker) Publish(topic, value string) {
	b.t.Helper()
	r, err := b.Produce(b.t.Context(), &kafka.ProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))}),
	})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b broker) Read(topic string, offset int64) string {
	b.t.Helper()
	r, err := b.Fetch(b.t.Context(), &kafka.FetchRequest{Topic: topic, Offset: offset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for {
		record, err := r.Records.ReadRecord()
		if err != nil {
			b.t.Fatal(err)
		}
		value, err := kafka.ReadAll(record.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		if record.Offset == offset { // a fetch answers whole batches
			return string(value)
		}
	}
}

func (b broker) Commit(group, topic string, offset int64) {
	b.t.Helper()
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{b.Addr.String()}, Topics: []string{topic},
		SessionTimeout: 6 * time.Second, HeartbeatInterval: 500 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	defer g.Close()
	generation, err := g.Next(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := generation.CommitOffsets(map[string]map[int]int64{topic: {0: offset}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b broker) Committed(group, topic string) int64 {
	b.t.Helper()
	r, err := b.OffsetFetch(b.t.Context(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Topics[topic][0].CommittedOffset
}

func (b broker) ClusterID() string {
	b.t.Helper()
	m, err := b.Metadata(b.t.Context(), &kafka.MetadataRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	return m.ClusterID
}

func TestStackKeepsData(t *testing.T) {
	// Below a folder that only its owner enters, as /root is.
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data")
	s := start(t, Config{DataDir: dir})
	conn, err := pgx.Connect(t.Context(), s.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	b := dial(t, s.Kafka)
	b.Create("kept")
	b.Publish("kept", "hello")
	b.Commit("group", "kept", 1)
	cluster := b.ClusterID()

	if _, err := Start(t.Context(), Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second stack in the same folder: got %v, want it refused", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = start(t, Config{DataDir: dir})
	b = dial(t, s.Kafka)
	if got := queryInt(t, s.PostgresURL, "SELECT n FROM kept"); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	if got := b.Read("kept", 0); got != "hello" {
		t.Errorf("got %q, want the record", got)
	}
	if got := b.Committed("group", "kept"); got != 1 {
		t.Errorf("got offset %d, want 1", got)
	}
	if got := b.ClusterID(); got != cluster {
		t.Errorf("got cluster %q, want %q", got, cluster)
	}
}

func TestStackTemporary(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	a, b := start(t, Config{}), start(t, Config{}) // the second's sweep spares the first
	for _, s := range []*Stack{a, b} {
		if got := queryInt(t, s.PostgresURL, "SELECT count(*)::int FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'on'"); got != 2 {
			t.Errorf("got %d of fsync and synchronous_commit on, want 2", got)
		}
	}
	if dial(t, a.Kafka).ClusterID() == dial(t, b.Kafka).ClusterID() {
		t.Error("got one cluster id for two brokers, want two")
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want nothing left", left, err)
	}
}

func TestStackKilled(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "DEVSTACK_VICTIM=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	folder := strings.TrimSpace(line)
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()

	// Every process of PostgreSQL inherited the lock. (Asking for the processes
	// would count those that have ended and were not reaped.)
	eventually(t, "PostgreSQL ends", func() bool {
		dir, err := lock(folder)
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		dir.Close()
		return err == nil
	})
	start(t, Config{})
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want the killed stack's folder swept", err)
	}
}

func TestPostgresDiesAlone(t *testing.T) {
	s := start(t, Config{})
	if err := s.database.server.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.Failed():
		if !strings.Contains(err.Error(), "ended by itself") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing told")
	}
}

func TestPostgresPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = StartPostgres(t.Context(), PostgresConfig{Port: port})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}

func TestPostgresLastWords(t *testing.T) {
	_, err := StartPostgres(t.Context(), PostgresConfig{Settings: map[string]string{"work_mem": "lots"}})
	if err == nil || !strings.Contains(err.Error(), "work_mem") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line with the server's reason", err)
	}
}

// TestPostgresLogHidesValues: a code that clashes is in no line of the log.
func TestPostgresLogHidesValues(t *testing.T) {
	p, err := StartPostgres(t.Context(), PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	conn, err := pgx.Connect(t.Context(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{"CREATE TABLE codes (code text UNIQUE CHECK (code <> 'n0'))", "SET log_min_duration_statement = 0"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		_, err = conn.Exec(t.Context(), "INSERT INTO codes VALUES ($1)", "c0de")
	}
	if err == nil {
		t.Error("no clash")
	}
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"codes"}, []string{"code"}, pgx.CopyFromRows([][]any{{"c0de"}})); err == nil {
		t.Error("no clash in COPY")
	}
	log, err := os.ReadFile(p.logFile())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "codes_code_key") || strings.Contains(string(log), "c0de") {
		t.Errorf("the log says:\n%s", log)
	}
}

func TestStartCancelled(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // in initdb
	defer cancel()
	if _, err := Start(ctx, Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want nothing left", left, err)
	}
}

func TestKafkaRestart(t *testing.T) {
	k, err := StartKafka(t.Context(), KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	addr := k.Addr
	b := dial(t, addr)
	b.Create("t", kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: "60000"}, kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "delete"})
	b.Publish("t", "before")

	k.Stop()
	if _, err := b.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{"t"}}); err == nil {
		_, err = net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			t.Error("a stopped broker answers")
		}
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.Addr != addr {
		t.Errorf("got %s, want %s", k.Addr, addr)
	}
	b = dial(t, addr)
	b.Publish("t", "after")
	if got := b.Read("t", 0) + " " + b.Read("t", 1); got != "before after" {
		t.Errorf("got %q, want both records", got)
	}
	configs, err := b.DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: "t", ConfigNames: []string{"retention.ms"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := configs.Resources[0].ConfigEntries[0].ConfigValue; got != "60000" {
		t.Errorf("got retention.ms %s, want 60000", got)
	}
}

func TestKafkaTopicsByRequestOnly(t *testing.T) {
	k, err := StartKafka(t.Context(), KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	m, err := dial(t, k.Addr).Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{"absent"}})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(m.Topics[0].Error, kafka.UnknownTopicOrPartition) {
		t.Errorf("got %v, want an unknown topic", m.Topics[0].Error)
	}
}

func TestFolderSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	held, err := openFolder("")
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	dead := filepath.Join(os.TempDir(), temporary+"dead")
	if err := os.MkdirAll(filepath.Join(dead, "postgres"), 0o700); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(held.path); err != nil {
		t.Errorf("held folder: %v", err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dead folder: got %v, want it gone", err)
	}
}

func TestInstalledNewestFirst(t *testing.T) {
	var dirs []string
	for _, version := range []string{"14.2", "15.18", "17.1", "16rc1"} {
		dir := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s (Some 1.2-3)'\n", version)
		for _, program := range []string{"postgres", "initdb"} {
			if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	var got []int
	for _, b := range installed(t.Context(), dirs) {
		got = append(got, b.major)
	}
	if fmt.Sprint(got) != "[17 16 15]" {
		t.Errorf("got %v, want 17, 16 and 15", got)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 500 {
		if holds() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s: not within 10 s", what)
}
