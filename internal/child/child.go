// Package child runs servers and services as processes of our own that don't
// outlive us. On Linux the kernel ends a child when this process dies, even by
// SIGKILL; elsewhere a child outlives a parent that was killed.
package child

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a child that has been started.
type Process struct {
	process *os.Process
	done    chan struct{}
	err     error // written before done is closed
}

// Start starts cmd so that it gets the signal last when this process dies.
//
// The kernel sends it when the thread that forked dies, so that thread is kept
// for as long as the child lives. The signal is armed after the change of user
// (changing user clears it) and stays armed across exec.
func Start(cmd *exec.Cmd, last syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithParent(cmd.SysProcAttr, last)
	// A group of its own: Ctrl-C is for us, and we say when the child stops.
	cmd.SysProcAttr.Setpgid = true

	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Signal sends sig; to a child that has ended it does nothing.
func (p *Process) Signal(sig os.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the child ended, once it has.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Pid of the child.
func (p *Process) Pid() int { return p.process.Pid }
