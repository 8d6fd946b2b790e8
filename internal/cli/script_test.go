package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"promopool": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// Scripts run the binary. Beside testscript's commands they have await,
// await-file, await-get, fetch, get, nofile and sigterm, below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":      await,
			"await-file": awaitFile,
			"await-get":  awaitGet,
			"fetch":      fetch,
			"get":        get,
			"nofile":     noFile,
			"sigterm":    sigTerm,
		},
	})
}

// await FILE REGEXP waits until a line of the file matches, and sets $1, $2, …
// of the script to its groups.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await file regexp")
	}
	want, err := regexp.Compile("(?m)^" + args[1] + "$")
	ts.Check(err)
	var got []byte
	for range 1500 {
		got, _ = os.ReadFile(ts.MkAbs(args[0]))
		if groups := want.FindSubmatch(got); groups != nil {
			for i, g := range groups {
				ts.Setenv(fmt.Sprint(i), string(g))
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("not within 30 s in %s: %s\n%s", args[0], args[1], got)
}

// await-file PATTERN waits until something matches it.
func awaitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await-file pattern")
	}
	for range 1500 {
		if found, _ := filepath.Glob(ts.MkAbs(args[0])); found != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("not within 30 s: %s", args[0])
}

// get URL STATUS asks once.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get url status")
	}
	r, err := http.Get(args[0])
	ts.Check(err)
	r.Body.Close()
	if got := fmt.Sprint(r.StatusCode); got != args[1] {
		ts.Fatalf("GET %s: got %s, want %s", args[0], got, args[1])
	}
}

// fetch URL FILE keeps what is answered.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fetch url file")
	}
	r, err := http.Get(args[0])
	ts.Check(err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// await-get URL STATUS asks until it is answered so.
func awaitGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await-get url status")
	}
	var got string
	for range 1500 {
		r, err := http.Get(args[0])
		ts.Check(err)
		r.Body.Close()
		if got = fmt.Sprint(r.StatusCode); got == args[1] {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("GET %s: not within 30 s %s, but %s", args[0], args[1], got)
}

// nofile PATTERN wants nothing that matches it.
func noFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nofile pattern")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) > 0 {
		ts.Fatalf("left behind: %v", found)
	}
}

// sigterm FILE sends SIGTERM to the process whose number the file holds.
// (testscript's kill knows no SIGTERM.)
func sigTerm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sigterm pidfile")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
}
