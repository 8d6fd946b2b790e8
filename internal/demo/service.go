package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"promopool/internal/child"
)

const (
	startTime = 30 * time.Second
	stopTime  = 10 * time.Second
)

// A diary is a file without a name: it is gone with this process, however that
// ends, unless keep gives it one.
type diary struct {
	mu   sync.Mutex
	file *os.File // guarded by mu
}

func openDiary() (*diary, error) {
	f, err := nameless("promopool-demo-*.log")
	if err != nil {
		return nil, err
	}
	return &diary{file: f}, nil
}

// nameless returns a temporary file that no folder lists any more.
func nameless(pattern string) (*os.File, error) {
	f, err := os.CreateTemp("", pattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.Write(p)
}

// keep copies what was written to a file that stays, and returns its path.
func (d *diary) keep() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, err := os.CreateTemp("", "promopool-demo-*.log")
	if err != nil {
		return "", err
	}
	defer kept.Close()
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	_, err = io.Copy(kept, d.file)
	return kept.Name(), err
}

func (d *diary) close() { d.file.Close() }

// A node is one serve process.
type node struct {
	process *child.Process
	url     string // of its HTTP interface

	mu     sync.Mutex
	ending bool // guarded by mu; its end is wanted
}

// migrate brings the schema up to date, by the command for it.
func (d *demo) migrate(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, d.Program, "migrate", "--database-url", d.stack.PostgresURL)
	cmd.Stderr = d.diary
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("promopool migrate: %w", err)
	}
	return nil
}

// serve starts a process of the service and returns when it serves. If it ends
// without having been told to, the demo does.
func (d *demo) serve(ctx context.Context) (*node, error) {
	listen := &announcement{to: d.diary, serving: make(chan string, 1)}
	cmd := exec.Command(d.Program, "serve", "--kafka", d.stack.Kafka, "--database-url", d.stack.PostgresURL,
		"--topic-prefix", prefix, "--partitions", fmt.Sprint(partitions), "--http-addr", "127.0.0.1:0", "--log-level", "info")
	cmd.Stderr = listen
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, fmt.Errorf("promopool serve: %w", err)
	}
	n := &node{process: process}
	d.nodes = append(d.nodes, n)
	go func() {
		err := process.Wait()
		if !n.wanted() {
			d.giveUp(fmt.Errorf("process %d of the service ended by itself (%s)", process.Pid(), ended(err)))
		}
	}()
	select {
	case n.url = <-listen.serving:
		return n, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(startTime):
		return nil, fmt.Errorf("process %d of the service does not serve after %v", process.Pid(), startTime)
	}
}

func (n *node) wanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ending
}

func (n *node) end(sig syscall.Signal) error {
	n.mu.Lock()
	n.ending = true
	n.mu.Unlock()
	return n.process.Signal(sig)
}

// kill ends the process on the spot.
func (n *node) kill() error {
	if err := n.end(syscall.SIGKILL); err != nil {
		return err
	}
	<-n.process.Done()
	return nil
}

// stop tells the process to end and returns how it did.
func (n *node) stop() error {
	if err := n.end(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.process.Done():
		return n.process.Wait()
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("still there %v after SIGTERM", stopTime), n.kill())
	}
}

func ended(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// An announcement passes log lines on and looks for the one that tells where
// the process serves.
type announcement struct {
	to      io.Writer
	serving chan string
	line    []byte
	done    bool
}

func (a *announcement) Write(p []byte) (int, error) {
	if !a.done {
		a.line = append(a.line, p...)
		for {
			line, rest, whole := bytes.Cut(a.line, []byte("\n"))
			if !whole {
				break
			}
			a.line = rest
			var l struct{ Message, HTTP string }
			if json.Unmarshal(line, &l) == nil && l.Message == "serving" {
				a.serving <- l.HTTP
				a.done, a.line = true, nil
				break
			}
		}
	}
	return a.to.Write(p)
}
