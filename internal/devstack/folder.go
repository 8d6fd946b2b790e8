package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// temporary is how the names of temporary folders begin, and what sweep looks for.
const temporary = "promopool-stack-"

// A folder holds a stack's files. It is locked as long as this process or a
// PostgreSQL that inherited dir is alive, so nobody else uses or sweeps it.
type folder struct {
	path string
	dir  *os.File // open and locked
	temp bool
}

// openFolder opens and locks path, made if need be, or a new temporary folder
// when path is empty. It first removes what killed stacks of this user left.
func openFolder(path string) (*folder, error) {
	sweep()
	if path == "" {
		return temporaryFolder()
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	dir, err := lock(path)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("data folder %s is in use by another stack: stop that one or choose another folder", path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return &folder{path: path, dir: dir}, nil
}

// temporaryFolder tries again when a sweep took the folder between its making
// and its locking.
func temporaryFolder() (*folder, error) {
	for {
		path, err := os.MkdirTemp("", temporary)
		if err != nil {
			return nil, fmt.Errorf("temporary folder: %w", err)
		}
		dir, err := lock(path)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock temporary folder: %w", err)
		}
		if !sameFolder(dir, path) {
			dir.Close()
			continue
		}
		// As root, PostgreSQL runs as another user and passes through.
		if err := os.Chmod(path, 0o711); err != nil {
			dir.Close()
			return nil, err
		}
		return &folder{path: path, dir: dir, temp: true}, nil
	}
}

// lock takes the folder itself as its lock file, so nothing is left to sweep.
func lock(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func sameFolder(dir *os.File, path string) bool {
	held, err := dir.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(held, named)
}

// sweep removes the temporary folders of this user that nobody holds. What it
// can't remove now, the next one does.
func sweep() {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), temporary+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || !ownedByUs(info) {
			continue
		}
		dir, err := lock(path)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(path)
		dir.Close()
	}
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

func (f *folder) close() error {
	defer f.dir.Close()
	if !f.temp {
		return nil
	}
	// A backend may still be writing its last statistics file.
	var err error
	for range 20 {
		if err = os.RemoveAll(f.path); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}
