// Package planted checks the checkers. Each patch in testdata plants one bug of those
// that the simulation, the crash points, the conformance of the store and the auditor
// are there for; on a tree with the bug the test that bugs names for it has to fail,
// and to say why. The tree itself stays as it is: what a patch touches is overlaid when
// the test is built. In a plain run of the tests it is only seen to that every patch
// still applies, and that one bug is caught.
package planted

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
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

var which = flag.String("bug", "", "the bug to plant: what its name begins with; all: every one")

const (
	// quick is the bug that a plain run of the tests plants. That its test passes
	// without it such a run shows anyway.
	quick = "12"
	// enough bounds one run of a test with a bug.
	enough = 3 * time.Minute
	root   = "../.."
)

// TestApplies: a patch that does not apply plants nothing.
func TestApplies(t *testing.T) {
	files, err := filepath.Glob("testdata/*.patch")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".patch"); !slices.ContainsFunc(bugs, func(b bug) bool { return b.name == name }) {
			t.Errorf("%s is no bug of bugs_test.go", f)
		}
	}
	for _, b := range bugs {
		if _, err := b.plant(); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
		if b.says == "" {
			t.Errorf("%s: nothing is expected of the test", b.name)
		}
		if !b.hasTest() {
			t.Errorf("%s: %s has no test %s", b.name, b.pkg, b.run)
		}
	}
}

// hasTest reports whether the test that is to fail, or the case of it, is there.
func (b bug) hasTest() bool {
	test, rule, _ := strings.Cut(strings.NewReplacer("^", "", "$", "").Replace(b.run), "/")
	files, _ := filepath.Glob(filepath.Join(root, b.pkg, "*_test.go"))
	return slices.ContainsFunc(files, func(f string) bool {
		text, err := os.ReadFile(f)
		return err == nil && bytes.Contains(text, []byte("func "+test+"(")) && (rule == "" || bytes.Contains(text, []byte(`"`+rule+`"`)))
	})
}

// plant is the text of what the bug touches, by file.
func (b bug) plant() (map[string]string, error) {
	patch, err := os.ReadFile(filepath.Join("testdata", b.name+".patch"))
	if err != nil {
		return nil, err
	}
	return apply(string(patch), func(file string) (string, error) {
		text, err := os.ReadFile(filepath.Join(root, file))
		return string(text), err
	})
}

// TestPlanted: each bug is caught by the test that is there for it, which passes
// without the bug.
func TestPlanted(t *testing.T) {
	wanted := cmp.Or(*which, quick)
	chosen := slices.DeleteFunc(slices.Clone(bugs), func(b bug) bool { return wanted != "all" && !strings.HasPrefix(b.name, wanted) })
	if len(chosen) == 0 {
		t.Fatalf("there is no bug %q", wanted)
	}
	n := nursery{dir: t.TempDir(), clean: map[string]string{}, passed: map[string]bool{}}
	var table strings.Builder
	for i, b := range chosen {
		t.Run(b.name, func(t *testing.T) {
			began := time.Now()
			said := n.try(t, b)
			outcome := "caught"
			if t.Failed() {
				outcome = "MISSED"
			}
			line := fmt.Sprintf("%-30s %-8s %-24s %4.0f s  %s", b.name, outcome, b.breaks, time.Since(began).Seconds(), b.caughtBy())
			fmt.Fprintf(os.Stderr, "%2d/%d %s\n        %s\n", i+1, len(chosen), line, said)
			fmt.Fprintln(&table, line)
		})
	}
	t.Logf("%d bugs:\n%s", len(chosen), table.String())
}

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
