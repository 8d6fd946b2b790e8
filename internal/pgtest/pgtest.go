// Package pgtest gives tests real PostgreSQL databases: one server for all
// tests of a binary, started by the first that asks, and a fresh database for
// each call. The server ends with the test binary, even when that is killed,
// and its files go with it.
package pgtest

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"promopool/internal/devstack"
)

// small lets a dozen test binaries have a server each.
var small = map[string]string{"shared_buffers": "128MB", "max_wal_size": "1GB"}

// startTimeout covers the download of a PostgreSQL where there is none.
const startTimeout = 5 * time.Minute

// Database returns the URL of a new database, dropped after the test. It is
// empty, or as migrate leaves one: migrate runs once for all tests that pass
// it, and they get copies, some 50 ms each. Pass a declared function: two
// closures of the same code are taken for one.
func Database(t testing.TB, migrate ...func(ctx context.Context, url string) error) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	template := "template0"
	for _, m := range migrate {
		if template, err = s.template(t.Context(), template, m); err != nil {
			t.Fatalf("migrated template: %v", err)
		}
	}
	name, err := s.create(t.Context(), template)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return s.url(name)
}

// Server returns a server of the test's own, which it may stop and restart. It
// ends with the test.
func Server(t testing.TB) *devstack.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	p, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Settings: small})
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close PostgreSQL: %v", err)
		}
	})
	return p
}

// shared is package-level state because a test binary has no other place for
// what its tests share.
var shared = sync.OnceValues(start)

type server struct {
	base *url.URL
	stop io.Closer // the warden's standard input; closed by the end of the process

	mu        sync.Mutex
	databases int                 // guarded by mu
	templates map[string]string   // guarded by mu; name by what it was made of
	bottles   map[string][]bottle // guarded by mu; by template
}

func start() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Settings: small})
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(p.URL)
	if err != nil {
		return nil, err
	}
	stop, err := removeAtExit(p.Folder())
	if err != nil {
		return nil, err
	}
	return &server{base: base, stop: stop, templates: map[string]string{}, bottles: map[string][]bottle{}}, nil
}

// removeAtExit leaves a shell behind that removes the folder once this process
// is gone: a test binary has no hook for its end, least of all for a kill.
func removeAtExit(folder string) (io.Closer, error) {
	const script = `cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; rm -rf "$1" 2>/dev/null && exit; done`
	warden := exec.Command("/bin/sh", "-c", script, "sh", folder)
	warden.Dir = "/"
	warden.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // spared by Ctrl-C
	stdin, err := warden.StdinPipe()
	if err != nil {
		return nil, err
	}
	return stdin, warden.Start()
}

func (s *server) template(ctx context.Context, base string, migrate func(context.Context, string) error) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("%s+%x", base, reflect.ValueOf(migrate).Pointer())
	if name, ok := s.templates[key]; ok {
		return name, nil
	}
	name := fmt.Sprintf("template_%d", len(s.templates)+1)
	if err := s.exec(ctx, createStatement(name, base)); err != nil {
		return "", err
	}
	if err := migrate(ctx, s.url(name)); err != nil {
		return "", err
	}
	s.templates[key] = name
	return name, nil
}

func (s *server) create(ctx context.Context, template string) (string, error) {
	s.mu.Lock()
	s.databases++
	name := fmt.Sprintf("test_%d", s.databases)
	s.mu.Unlock()
	return name, s.exec(ctx, createStatement(name, template))
}

func createStatement(name, template string) string {
	return strings.Join([]string{"CREATE DATABASE", name, "TEMPLATE", template}, " ")
}

func (s *server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func (s *server) url(database string) string {
	u := *s.base
	u.Path = "/" + database
	return u.String()
}
