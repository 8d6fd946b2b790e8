package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/rs/zerolog"

	"promopool/internal/child"
)

// oldest is the first major version of PostgreSQL that promopool works with.
const oldest = 15

// binaries is a folder with postgres and initdb.
type binaries struct {
	dir   string
	major int
}

// findBinaries returns the machine's newest PostgreSQL, and fetches one where
// there is none. Data that exist already want the major version that wrote
// them; major is 0 where there are none.
func findBinaries(ctx context.Context, major int, log zerolog.Logger) (binaries, error) {
	if found := installed(ctx, searchPath()); len(found) > 0 {
		for _, b := range found {
			if major == 0 || b.major == major {
				return b, nil
			}
		}
	}
	log.Info().Msg("no PostgreSQL on this machine fits, fetching one")
	return fetch(ctx, userCache(), major)
}

// searchPath lists the folders to look in; of equal versions the first wins.
func searchPath() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian
		"/usr/pgsql-*/bin",          // Red Hat
		"/opt/homebrew/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	return dirs
}

// installed returns the usable ones of dirs, newest first.
func installed(ctx context.Context, dirs []string) []binaries {
	var found []binaries
	for _, dir := range dirs {
		if b, err := inspect(ctx, dir); err == nil && b.major >= oldest {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b binaries) int { return b.major - a.major })
	return found
}

var majorVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func inspect(ctx context.Context, dir string) (binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, err
	}
	m := majorVersion.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("no version in %q", out)
	}
	major, err := strconv.Atoi(string(m[1]))
	return binaries{dir, major}, err
}

// fetch downloads and unpacks a PostgreSQL into cache, once.
func fetch(ctx context.Context, cache string, major int) (binaries, error) {
	version := embedded.V17
	for _, v := range []embedded.PostgresVersion{embedded.V15, embedded.V16, embedded.V17, embedded.V18} {
		if strings.HasPrefix(string(v), strconv.Itoa(major)+".") {
			version = v
		}
	}
	home := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s", version, runtime.GOARCH))
	if b, err := inspect(ctx, filepath.Join(home, "bin")); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return binaries{}, fmt.Errorf("cache for PostgreSQL: %w", err)
	}
	// Two stacks may want it at once; the second finds it done.
	guard, err := os.Open(cache)
	if err != nil {
		return binaries{}, err
	}
	defer guard.Close()
	if err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX); err != nil {
		return binaries{}, err
	}
	if b, err := inspect(ctx, filepath.Join(home, "bin")); err == nil {
		return b, nil
	}

	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return binaries{}, err
	}
	defer os.RemoveAll(work)
	unpacked := filepath.Join(work, "postgresql")
	fetchErr := unpack(work, unpacked, version)
	if _, err := inspect(ctx, filepath.Join(unpacked, "bin")); err != nil {
		return binaries{}, fmt.Errorf("no PostgreSQL %d or later on this machine, and none could be fetched: install one, e.g. the package postgresql: %w", oldest, errors.Join(fetchErr, err))
	}
	if err := os.Rename(unpacked, home); err != nil {
		return binaries{}, err
	}
	return inspect(ctx, filepath.Join(home, "bin"))
}

// unpack uses the library's Start, its only way to download and unpack. The
// data folder it is given looks initialised and is empty, so that what follows
// the unpacking fails at once; the caller looks at what was unpacked.
func unpack(work, into string, version embedded.PostgresVersion) error {
	data := filepath.Join(work, "no-data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	major, _, _ := strings.Cut(string(version), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return err
	}
	return embedded.NewDatabase(embedded.DefaultConfig().
		Version(version).
		Port(uint32(child.FreePort())).
		CachePath(filepath.Join(work, "archive")).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(into).
		DataPath(data).
		Logger(io.Discard)).Start()
}
