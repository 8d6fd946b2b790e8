package promopool_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tools are reachable from the commands, and are not the service: they publish
// requests, measure, or run servers.
var tools = []string{"internal/bench", "internal/child", "internal/cli", "internal/demo", "internal/devstack", "internal/kafkatest", "internal/load", "internal/pgtest", "internal/tail", "internal/verify"}

// kafkaWrites are the methods by which kafka-go writes to Kafka. RoundTrip, of the
// transport, is any request.
var kafkaWrites = []string{
	"Produce", "RawProduce", "OffsetCommit", "TxnOffsetCommit", "CommitOffsets", "CommitMessages", "WriteMessages", "WriteCompressedMessages", "WriteCompressedMessagesAt",
	"CreateTopics", "DeleteTopics", "CreatePartitions", "AlterConfigs", "IncrementalAlterConfigs", "AlterPartitionReassignments", "ElectLeaders",
	"OffsetDelete", "DeleteGroups", "AddOffsetsToTxn", "AddPartitionsToTxn", "InitProducerID", "EndTxn",
	"CreateACLs", "DeleteACLs", "AlterClientQuotas", "AlterUserScramCredentials", "RoundTrip",
}

// kafkaWriters are what of package kafka gives somebody something that writes.
var kafkaWriters = []string{"Writer", "WriterConfig", "NewWriter", "Dial", "DialContext", "DialLeader", "DialPartition", "NewConn", "NewConnWith"}

// beyond are the uses of those names that are not within a crashpoint.Do, with why
// none of them is a write without a point.
var beyond = map[string]string{
	"internal/consumer/share.go RoundTrip":  "fetches",
	"internal/topics/metadata.go RoundTrip": "asks for metadata",
	"internal/producer/ferry.go RoundTrip":  "produces; reached by attempt alone",
}

// within are functions of ours that write, and are called within a crashpoint.Do,
// or by one another in the file named.
var within = map[string]string{"internal/producer attempt": "no other", "internal/producer request": "ferry.go", "internal/producer carry": "ferry.go"}

// databases are how connections to PostgreSQL are made, and how one that refuses to
// write is made to write.
var databases = []string{"NewWithConfig", "Connect", "ConnectConfig", "ConnectWithOptions", "OpenDB", "OpenDBFromPool", "ReadWrite", "BeginTx", "BeginTxFunc"}

var connecting = map[string]string{
	"internal/postgres/internal/conn/conn.go NewWithConfig": "those for reading, and those that take a point",
	"internal/postgres/internal/conn/conn.go BeginTx":       "of a session, with a point",
	"internal/postgres/internal/conn/conn.go ReadWrite":     "of a session, with a point",
	"internal/postgres/store.go OpenDB":                     "migrations, with a point",
}

// readWrite is how SQL text would make a connection write.
var readWrite = regexp.MustCompile(`(?i)\bread\s+write\b|transaction_read_only`)

// TestWrites holds every write of the service to a registered crash point. What the
// store writes without one PostgreSQL refuses; this test sees to it that there is no
// other way to PostgreSQL, and none at all to Kafka.
func TestWrites(t *testing.T) {
	for _, problem := range unregistered(t, os.DirFS(".")) {
		t.Error(problem)
	}
}

// unregistered tells of writes that have no crash point.
func unregistered(t *testing.T, tree fs.FS) (problems []string) {
	t.Helper()
	used := map[string]bool{}
	for _, file := range sources(t, tree) {
		f := parse(t, tree, file)
		switch pkg := path.Dir(file); {
		case strings.HasSuffix(file, ".sql"):
		case pkg == "internal/crashpoint" || slices.Contains(tools, pkg):
			problems = append(problems, armed(f, file)...)
			continue
		default:
			problems = append(problems, armed(f, file)...)
			problems = append(problems, writes(f, file, used)...)
		}
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			t.Fatal(err)
		}
		if found := readWrite.Find(text); found != nil && path.Dir(file) != "internal/postgres/internal/conn" {
			problems = append(problems, fmt.Sprintf("%s says %q, which internal/postgres/internal/conn alone may", file, found))
		}
	}
	for _, known := range []map[string]string{beyond, connecting} {
		for _, use := range slices.Sorted(maps.Keys(known)) {
			if !used[use] {
				problems = append(problems, use+" has a row in writes_test.go, and is nowhere")
			}
		}
	}
	return problems
}

// sources are the files of the program and its SQL.
func sources(t *testing.T, tree fs.FS) (files []string) {
	t.Helper()
	err := fs.WalkDir(tree, "internal", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"), strings.HasSuffix(file, ".sql") && strings.HasPrefix(file, "internal/postgres/"):
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parse(t *testing.T, tree fs.FS, file string) *ast.File {
	t.Helper()
	if filepath.Ext(file) != ".go" {
		return &ast.File{}
	}
	text, err := fs.ReadFile(tree, file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// armed tells where a program would inject faults: tests alone may.
func armed(f *ast.File, file string) (problems []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Arm" {
			problems = append(problems, file+" calls Arm: the program as it is shipped injects no faults")
		}
		return true
	})
	return problems
}

// writes tells of what a file writes outside of crashpoint.Do.
func writes(f *ast.File, file string, used map[string]bool) (problems []string) {
	pkg, base := path.Dir(file), path.Base(file)
	var look func(n ast.Node, guarded bool)
	look = func(n ast.Node, guarded bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Do" && isName(s.X, "crashpoint") && !guarded {
					for _, arg := range n.Args {
						look(arg, true)
					}
					return false
				}
			case *ast.SelectorExpr:
				use := file + " " + n.Sel.Name
				used[use] = true
				switch {
				case isName(n.X, "crashpoint"), guarded:
				case slices.Contains(databases, n.Sel.Name) && connecting[use] == "":
					problems = append(problems, use+": internal/postgres/internal/conn alone makes connections and transactions that write")
				case slices.Contains(kafkaWrites, n.Sel.Name) && beyond[use] == "",
					slices.Contains(kafkaWriters, n.Sel.Name) && isName(n.X, "kafka"),
					within[pkg+" "+n.Sel.Name] != "" && !strings.Contains(within[pkg+" "+n.Sel.Name], base):
					problems = append(problems, use+": a write without a crash point, see internal/crashpoint")
				case n.Sel.Name == "Publish" && (pkg == "internal/producer" || pkg == "internal/app"),
					(n.Sel.Name == "Producer" || n.Sel.Name == "New") && isName(n.X, "producer") && pkg != "internal/app":
					problems = append(problems, use+": a Producer publishes without a crash point, for tools; the service takes one of its publishers")
				}
			}
			return true
		})
	}
	look(f, false)
	return problems
}

func isName(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

// TestWritesPlanted plants writes without a point, one by one, and sees the test
// above find each.
func TestWritesPlanted(t *testing.T) {
	for _, plant := range []struct{ name, file, from, to, want string }{
		{"Offsets", "internal/consumer/generation.go", "err := crashpoint.Do(context.Background(), w.point, func() error {", "err := once(func() error {", "generation.go CommitOffsets"},
		{"Topics", "internal/topics/ensure.go", "crashpoint.Do(ctx, crashpoint.CreateTopics, func() (err error) {", "once(func() (err error) {", "ensure.go CreateTopics"},
		{"Produce", "internal/producer/producer.go", "crashpoint.Do(ctx, point, func() error {", "once(func() error {", "producer.go attempt"},
		{"ProduceByOther", "internal/outbox/outbox.go", "", "func (c *Carrier) tell() { c.client.Produce(nil, nil) }", "outbox.go Produce"},
		{"Writer", "internal/consumer/group.go", "", "var w kafka.Writer", "group.go Writer"},
		{"Publish", "internal/app/app.go", "imports := importing.New(", "publisher.Publish(ctx, \"t\", 0, nil)\n\timports := importing.New(", "app.go Publish"},
		{"Producer", "internal/customers/erasing.go", "", "var p = producer.New(nil, nil, l, nil)", "erasing.go New"},
		{"Connection", "internal/postgres/granting.go", "", "func open() { pgxpool.NewWithConfig(nil, nil) }", "granting.go NewWithConfig"},
		{"Transaction", "internal/postgres/granting.go", "", "func (s *Store) open() { s.conns.Reads().BeginTx(nil, o) }", "granting.go BeginTx"},
		{"SQL", "internal/postgres/queries/issuing.sql", "-- name: ", "SET TRANSACTION READ WRITE;\n-- name: ", "queries/issuing.sql says"},
		{"Armed", "internal/cli/serve.go", "", "func arm() { crashpoint.Arm(nil) }", "serve.go calls Arm"},
	} {
		t.Run(plant.name, func(t *testing.T) {
			text, err := os.ReadFile(plant.file)
			if err != nil {
				t.Fatal(err)
			}
			planted := strings.Replace(string(text), plant.from, plant.to, 1)
			if plant.from == "" {
				planted = string(text) + plant.to
			}
			if planted == string(text) {
				t.Fatalf("%s has no %q: the plant is out of date", plant.file, plant.from)
			}
			found := unregistered(t, overlaid{os.DirFS("."), plant.file, planted})
			if len(found) != 1 || !strings.Contains(found[0], plant.want) {
				t.Errorf("got %q, want one problem with %q", found, plant.want)
			}
		})
	}
}

// overlaid is a tree in which one file has another text.
type overlaid struct {
	fs.FS
	file, text string
}

func (o overlaid) ReadFile(name string) ([]byte, error) {
	if name == o.file {
		return []byte(o.text), nil
	}
	return fs.ReadFile(o.FS, name)
}
