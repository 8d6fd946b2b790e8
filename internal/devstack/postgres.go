package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"promopool/internal/child"
)

// role is the superuser, and the name of the database made for the service.
const role = "promopool"

// StopMode is how PostgreSQL is told to stop.
type StopMode syscall.Signal

// The ways to stop.
const (
	Fast      = StopMode(syscall.SIGINT)  // ends sessions, writes a checkpoint
	Immediate = StopMode(syscall.SIGQUIT) // as in a crash: the next start recovers from the log
)

// PostgresConfig says where a server lives. Its zero value is a server on a
// free port in a temporary folder.
type PostgresConfig struct {
	// DataDir keeps the tables between runs. Default: a temporary folder that
	// Close removes.
	DataDir string
	// Port on 127.0.0.1. Default 0: a free one.
	Port int
	// Settings of postgresql.conf, over those of this package.
	Settings map[string]string
	Log      zerolog.Logger
}

// Postgres is a PostgreSQL server that this process started, reached over
// loopback without a password. Its port stays the same when it is stopped and
// started again. Its methods must not be called concurrently.
type Postgres struct {
	URL string // of the database promopool, as superuser

	folder   *folder
	owned    bool // the folder is ours to close
	bin      binaries
	user     *syscall.Credential // nil: our own
	settings map[string]string
	port     int
	name     string // told apart by it from a stranger on the same port
	failed   chan error

	mu      sync.Mutex
	server  *child.Process // guarded by mu; nil when stopped
	stopped bool           // guarded by mu; the server was told to end
}

// StartPostgres returns when the server answers. The context bounds the start
// only: the server runs until Close, or until this process ends.
func StartPostgres(ctx context.Context, c PostgresConfig) (*Postgres, error) {
	f, err := openFolder(c.DataDir)
	if err != nil {
		return nil, err
	}
	p, err := startPostgres(ctx, f, c)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	p.owned = true
	return p, nil
}

func startPostgres(ctx context.Context, f *folder, c PostgresConfig) (*Postgres, error) {
	p := &Postgres{
		folder:   f,
		settings: maps.Clone(settings),
		name:     fmt.Sprintf("promopool-%08x", rand.Uint32()),
		failed:   make(chan error, 1),
	}
	maps.Copy(p.settings, c.Settings)
	var err error
	if p.user, err = unprivileged(); err != nil {
		return nil, err
	}
	major, err := dataVersion(p.dataDir())
	if err != nil {
		return nil, err
	}
	if p.bin, err = findBinaries(ctx, major, c.Log); err != nil {
		return nil, err
	}
	if major == 0 {
		if err := p.initialise(ctx); err != nil {
			return nil, err
		}
	}
	// A free port may be taken by another before PostgreSQL binds it.
	for range attempts {
		if p.port = c.Port; p.port == 0 {
			p.port = child.FreePort()
		}
		p.URL = p.url(role)
		err = p.Start(ctx)
		if c.Port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if err := p.createDatabase(ctx); err != nil {
		return nil, errors.Join(err, p.Stop(Immediate))
	}
	return p, nil
}

// settings suit a developer's machine under load. What makes commits durable
// is not among them: it stays at PostgreSQL's default, on.
var settings = map[string]string{
	"listen_addresses":        "127.0.0.1",
	"unix_socket_directories": "",
	"max_connections":         "200",
	"shared_buffers":          "512MB",
	// A checkpoint every few minutes even under full load; at most this much disk.
	"max_wal_size":       "4GB",
	"checkpoint_timeout": "15min",
	// Tables here grow from nothing to millions of rows in a minute.
	"autovacuum_naptime": "15s",
	// Parallel queries take this before /dev/shm, which containers keep tiny.
	"min_dynamic_shared_memory": "64MB",
	// The detail of an error shows values, and a code is money.
	"log_error_verbosity": "terse",
	"timezone":            "UTC",
	"log_timezone":        "UTC",
	"log_checkpoints":     "off",
	"log_line_prefix":     "%m [%p] %a ",
}

// Folder is where the server's files are.
func (p *Postgres) Folder() string { return p.folder.path }

func (p *Postgres) dataDir() string { return filepath.Join(p.folder.path, "postgres") }
func (p *Postgres) logFile() string { return filepath.Join(p.folder.path, "postgres.log") }

func (p *Postgres) url(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", role, p.port, database)
}

// dataVersion is the major version that wrote dir, 0 when there is nothing in it.
func dataVersion(dir string) (int, error) {
	version, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(version)))
}

// initialise builds the data folder beside its place and renames it when
// complete, so that a start killed half way is begun anew.
func (p *Postgres) initialise(ctx context.Context) error {
	const building = "postgres.new"
	path := filepath.Join(p.folder.path, building)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if p.user != nil {
		if err := os.Chown(path, int(p.user.Uid), int(p.user.Gid)); err != nil {
			return err
		}
	}
	args := []string{"-D", p.seen(building), "--username=" + role, "--auth=trust", "--encoding=UTF8", "--no-locale"}
	if p.folder.temp {
		args = append(args, "--no-sync") // nobody reads it after a power cut
	}
	var out bytes.Buffer
	cmd := p.command("initdb", args)
	cmd.Stdout, cmd.Stderr = &out, &out
	c, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		// initdb's own child ends with the pipe between them.
		if err := c.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		<-c.Done()
		return ctx.Err()
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, tail(out.Bytes()))
	}
	return os.Rename(path, p.dataDir())
}

// seen is the path of a file of the folder as the server's user can open it.
// As root, the folder may lie where the unprivileged user can't go (/root);
// through the inherited descriptor it can.
func (p *Postgres) seen(name string) string {
	if p.user != nil {
		return "/proc/self/fd/3/" + name
	}
	return filepath.Join(p.folder.path, name)
}

// command prepares a program of PostgreSQL, with the locked folder as its
// descriptor 3: as long as it lives, nobody sweeps the folder.
func (p *Postgres) command(program string, args []string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin.dir, program), args...)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.ExtraFiles = []*os.File{p.folder.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user}
	return cmd
}

// Start starts a stopped server on the port it had, and returns when it answers.
func (p *Postgres) Start(ctx context.Context) error {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	args := []string{"-D", p.seen("postgres"), "-p", strconv.Itoa(p.port), "-c", "cluster_name=" + p.name}
	for _, name := range slices.Sorted(maps.Keys(p.settings)) {
		args = append(args, "-c", name+"="+p.settings[name])
	}
	cmd := p.command("postgres", args)
	cmd.Stdout, cmd.Stderr = log, log
	// SIGQUIT: the server ends its backends at once and frees what it shares
	// with them, which it can't after a SIGKILL.
	server, err := child.Start(cmd, syscall.SIGQUIT)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	p.mu.Lock()
	p.server, p.stopped = server, false
	p.mu.Unlock()

	if err := p.awaitAnswer(ctx, server); err != nil {
		err = p.explain(err, before)
		return errors.Join(err, p.Stop(Immediate))
	}
	go p.watch(server, before)
	return nil
}

// awaitAnswer returns nil once our server, and no other on that port, answers.
func (p *Postgres) awaitAnswer(ctx context.Context, server *child.Process) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a stranger on the port may accept and say nothing
		select {
		case <-server.Done():
			cancel()
		case <-asking.Done():
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-server.Done():
			return server.Wait()
		case <-time.After(20 * time.Millisecond):
		}
		if p.answers(asking) {
			return nil
		}
	}
}

func (p *Postgres) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return false
	}
	defer conn.Close(ctx)
	var name string
	err = conn.QueryRow(ctx, "SHOW cluster_name").Scan(&name)
	return err == nil && name == p.name
}

// explain adds the server's last words to the reason why it did not start.
func (p *Postgres) explain(err error, from int64) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	said := logged(p.logFile(), from)
	if bytes.Contains(said, []byte("Address already in use")) {
		return fmt.Errorf("start PostgreSQL: port %d: %w", p.port, syscall.EADDRINUSE)
	}
	return fmt.Errorf("start PostgreSQL (%s): %w: %s", p.bin.dir, err, tail(said))
}

// watch tells when the server ends without having been told to.
func (p *Postgres) watch(server *child.Process, from int64) {
	<-server.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != server || p.stopped {
		return
	}
	err := fmt.Errorf("PostgreSQL ended by itself: %w: %s", server.Wait(), tail(logged(p.logFile(), from)))
	select {
	case p.failed <- err:
	default: // an earlier failure has not been heard yet
	}
}

// Stop returns when the server has ended. It may be called on a stopped one.
func (p *Postgres) Stop(mode StopMode) error {
	p.mu.Lock()
	server := p.server
	p.server, p.stopped = nil, true
	p.mu.Unlock()
	if server == nil {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.Signal(mode), syscall.SIGQUIT, syscall.SIGKILL} {
		if err := server.Signal(signal); err != nil {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		select {
		case <-server.Done():
			return nil
		case <-time.After(20 * time.Second):
		}
	}
	return errors.New("stop PostgreSQL: it does not end")
}

// Restart stops the server and starts it again on the same port.
func (p *Postgres) Restart(ctx context.Context, mode StopMode) error {
	if err := p.Stop(mode); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Close stops the server and removes a temporary folder.
func (p *Postgres) Close() error {
	mode := Fast
	if p.folder.temp {
		mode = Immediate // a checkpoint of files about to be removed is wasted
	}
	err := p.Stop(mode)
	if p.owned {
		err = errors.Join(err, p.folder.close())
	}
	return err
}

func (p *Postgres) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", role).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+role)
	return err
}

// logged is what was written to the file since the given size of it.
func logged(path string, from int64) []byte {
	said, err := os.ReadFile(path)
	if err != nil || int64(len(said)) < from {
		return nil
	}
	return said[from:]
}

// tail puts the last lines of a log on one line.
func tail(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}
