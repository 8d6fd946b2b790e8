package bench

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"promopool/internal/child"
)

// streamThreads is how many messages the stream processor has in hand. More did
// not help.
const streamThreads = 12

//go:embed stream.yaml
var streamYAML string

// streamConfig is what people configure: read, one statement a message, write.
var streamConfig = template.Must(template.New("stream.yaml").Parse(streamYAML))

// stream is (s): Benthos with its SQL processor, in a process of its own, on the
// statement of (c).
func (w *world) stream(ctx context.Context) (_ Rate, err error) {
	if _, err := w.db.Exec(ctx, "VACUUM (INDEX_CLEANUP on) "+processed.table); err != nil {
		return Rate{}, err
	}
	ends, err := w.ends(ctx, w.scratch.RedemptionOutcomes)
	if err != nil {
		return Rate{}, err
	}
	p, log, err := w.startStream()
	if err != nil {
		return Rate{}, err
	}
	defer func() {
		if e := stop(p, 20*time.Second); err == nil {
			err = e
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, log.tail())
		}
	}()
	before := spend(p.Pid())
	m, err := w.watch(ctx, w.scratch.RedemptionOutcomes, sum(ends), 0, func(first, now time.Time) bool {
		return now.Sub(first) > settling+window
	})
	if err != nil {
		return Rate{}, err
	}
	return Rate{m.after(settling), spend(p.Pid()).since(before).per(m.total())}, nil
}

// startStream starts the stream processor on a configuration of this run's.
func (w *world) startStream() (*child.Process, *tailBuffer, error) {
	dir, err := os.MkdirTemp("", "promopool-bench-")
	if err != nil {
		return nil, nil, err
	}
	w.onClose(func() error { return os.RemoveAll(dir) })
	var config strings.Builder
	err = streamConfig.Execute(&config, map[string]any{
		"Brokers": w.brokers, "Group": fmt.Sprintf("%sstream-%d", w.prefix, time.Now().UnixNano()), "Threads": streamThreads,
		"In": w.names.Requests, "Out": w.scratch.RedemptionOutcomes, "Database": w.database, "Take": strings.Join(strings.Fields(processed.take), " "),
	})
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "stream.yaml")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		return nil, nil, err
	}
	log := &tailBuffer{}
	cmd := exec.Command(w.StreamProcessor, "-c", path)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := child.Start(cmd, syscall.SIGKILL)
	return p, log, err
}
