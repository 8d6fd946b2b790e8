package devstack

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A child is a process that ends when this one does.
type child struct {
	process *os.Process
	done    chan struct{} // closed when the process has ended
	err     error         // how it ended; read after done
}

// startChild starts cmd so that it gets the signal last when this process dies.
//
// The kernel sends it when the thread that forked dies, so the thread is kept
// for as long as the child lives. The signal is armed after the change of user
// (changing user clears it) and stays armed across exec.
func startChild(cmd *exec.Cmd, last syscall.Signal) (*child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithParent(cmd.SysProcAttr, last)
	// A group of its own: Ctrl-C is for us, and we stop PostgreSQL last.
	cmd.SysProcAttr.Setpgid = true

	c := &child{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		c.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, <-started
}

// unprivileged returns the user that PostgreSQL, which refuses to run as root,
// runs as; nil when we are not root. It is nobody rather than postgres, whose
// rights would reach into a PostgreSQL that the machine runs for others.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL can't run as root and there is no user nobody to run it as: start as an ordinary user: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// environment is ours without what would steer PostgreSQL to another server,
// port or language.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "LC_") && !strings.HasPrefix(v, "LANG") && !strings.HasPrefix(v, "TZ=") {
			env = append(env, v)
		}
	}
	return env
}
