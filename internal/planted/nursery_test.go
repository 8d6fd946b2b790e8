package planted

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// nursery has the test binaries of one run.
type nursery struct {
	dir    string
	clean  map[string]string // without a bug, by package
	passed map[string]bool   // commands that pass without a bug
}

// try plants a bug and wants its test to fail. It returns what the test said.
func (n *nursery) try(t *testing.T, b bug) string {
	t.Helper()
	texts, err := b.plant()
	if err != nil {
		t.Fatal(err)
	}
	if *which != "" && !n.passed[b.command()] {
		if n.clean[b.pkg] == "" {
			n.clean[b.pkg] = n.build(t, b.pkg, nil)
		}
		if out, err := n.run(t, b, n.clean[b.pkg]); err != nil {
			t.Fatalf("%s fails without a bug: %v\n%s", b.command(), err, tail(out))
		}
		n.passed[b.command()] = true
	}
	out, err := n.run(t, b, n.build(t, b.pkg, texts))
	switch {
	case err == nil:
		t.Errorf("%s passes", b.command())
	case !strings.Contains(out, "--- FAIL: "), !strings.Contains(out, b.says):
		t.Errorf("%s fails (%v), and does not say %q:\n%s", b.command(), err, b.says, tail(out))
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, b.says) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// build makes the test binary of a package, with texts in the place of files.
func (n *nursery) build(t *testing.T, pkg string, texts map[string]string) string {
	t.Helper()
	binary := filepath.Join(n.dir, strings.ReplaceAll(pkg, "/", "-"))
	args := []string{"test", "-c", "-ldflags=-s -w"}
	if texts != nil {
		binary += "-planted"
		args = append(args, "-overlay", overlay(t, texts))
	}
	cmd := exec.Command("go", append(args, "-o", binary, "./"+pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the test of %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// overlay writes texts and says in which files' place they are.
func overlay(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for i, file := range slices.Sorted(maps.Keys(texts)) {
		at, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		replace[at] = filepath.Join(dir, fmt.Sprint(i, "-", filepath.Base(file)))
		if err := os.WriteFile(replace[at], []byte(texts[file]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// run runs the test of a bug, as go test would.
func (n *nursery) run(t *testing.T, b bug, binary string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough+10*time.Second)
	defer cancel()
	args := []string{"-test.count=1", "-test.timeout=" + enough.String(), "-test.run=" + b.run}
	cmd := exec.CommandContext(ctx, binary, append(args, b.args...)...)
	cmd.Dir = filepath.Join(root, b.pkg)
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// tail is the end of what a test has said.
func tail(out string) string { return out[max(0, len(out)-4000):] }
