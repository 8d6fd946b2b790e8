package child_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promopool/internal/child"
)

// TestMain is also the parent that TestStartDiesWithParent kills.
func TestMain(m *testing.M) {
	if os.Getenv("CHILD_TEST_PARENT") == "" {
		os.Exit(m.Run())
	}
	p, err := child.Start(exec.Command("sleep", "60"), syscall.SIGKILL)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.Pid())
	_ = p.Wait()
}

func TestStartDiesWithParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CHILD_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	timeout := time.After(10 * time.Second)
	for running(pid) {
		select {
		case <-timeout:
			t.Fatalf("the child %d runs on after its parent was killed", pid)
		case <-time.After(5 * time.Millisecond): // nothing tells of a grandchild's death
		}
	}
}

// running says whether pid is a process that is more than a zombie: an orphan
// stays one until init, which some containers lack, has reaped it.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStartFails(t *testing.T) {
	if _, err := child.Start(exec.Command("/nonexistent"), syscall.SIGKILL); err == nil {
		t.Error("no error for a program that isn't there")
	}
}

func TestSignal(t *testing.T) {
	p, err := child.Start(exec.Command("sleep", "60"), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Error("Wait of a child ended by SIGTERM: no error")
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("Signal to an ended child: %v", err)
	}
}
