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
	"flag"
	"fmt"
	"os"
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
