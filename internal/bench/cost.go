package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Cost is CPU time in microseconds a request, by who spent it: our own code
// (the service, or the measure in its place), the broker and PostgreSQL. Only
// what runs below this process is seen, and only on Linux.
type Cost struct {
	Service    float64 `json:"service_us"`
	Broker     float64 `json:"broker_us"`
	PostgreSQL float64 `json:"postgresql_us"`
}

func (c Cost) since(before Cost) Cost {
	return Cost{c.Service - before.Service, c.Broker - before.Broker, c.PostgreSQL - before.PostgreSQL}
}

func (c Cost) per(requests float64) Cost {
	if requests <= 0 {
		return Cost{}
	}
	return Cost{c.Service / requests, c.Broker / requests, c.PostgreSQL / requests}
}

// spend reads what the processes below this one have spent so far. service is
// the process that counts as ours; 0: this one.
func spend(service int) Cost {
	if service == 0 {
		service = os.Getpid()
	}
	processes := processes()
	var c Cost
	for pid, p := range processes {
		switch {
		case pid == service:
			c.Service += p.own
		case !below(processes, pid, os.Getpid()):
		case p.name == "postgres":
			c.PostgreSQL += p.own
			if processes[p.parent].name != "postgres" {
				c.PostgreSQL += p.gone
			}
		case pid != os.Getpid():
			c.Broker += p.own
		}
	}
	return c
}

type process struct {
	name      string
	parent    int
	own, gone float64 // microseconds: its own, and those of children that have ended
}

func below(processes map[int]process, pid, root int) bool {
	for pid > 1 {
		if pid = processes[pid].parent; pid == root {
			return true
		}
	}
	return false
}

// tick is the unit of times in /proc: a hundredth of a second on every Linux.
const tick = 1e4

func processes() map[int]process {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		stat, err := os.ReadFile(file)
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if err != nil || open < 0 || end < open {
			continue
		}
		fields := bytes.Fields(stat[end+1:]) // from the third field on
		if len(fields) < 15 {
			continue
		}
		number := func(i int) float64 { n, _ := strconv.ParseFloat(string(fields[i]), 64); return n }
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		all[pid] = process{
			name: string(stat[open+1 : end]), parent: int(number(1)),
			own: tick * (number(11) + number(12)), gone: tick * (number(13) + number(14)),
		}
	}
	return all
}

// share is what the machine has done, in microseconds of its cores.
type share struct{ busy, idle, ours float64 }

func spendAll() share {
	var s share
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	for i, f := range bytes.Fields(line) {
		n, _ := strconv.ParseFloat(string(f), 64)
		switch {
		case i == 4 || i == 5: // idle, and waiting for the disk
			s.idle += tick * n
		case i > 0 && i < 9: // guests are counted as users already
			s.busy += tick * n
		}
	}
	all := processes()
	for pid, p := range all {
		if pid == os.Getpid() || below(all, pid, os.Getpid()) {
			s.ours += p.own + p.gone
		}
	}
	return s
}

// others is the part of the machine that was taken by what is not ours.
func (s share) others(before share) float64 {
	busy, idle := s.busy-before.busy, s.idle-before.idle
	if busy+idle == 0 {
		return 0
	}
	return max(0, (busy-(s.ours-before.ours))/(busy+idle))
}

// memoryMiB is a size that /proc tells of a process, in MiB: VmRSS, what it has
// resident, or VmHWM, the most that it had.
func memoryMiB(pid int, field string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("\n"+field+":"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("process %d has no %s: it has ended", pid, field)
	}
	kib, err := strconv.ParseFloat(string(fields[0]), 64)
	return kib / 1024, err
}
