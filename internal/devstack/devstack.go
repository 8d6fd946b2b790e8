// Package devstack runs what promopool needs on one machine: a Kafka broker
// inside this process and a PostgreSQL server as its child.
//
// The broker is kfake. It keeps records in segment files under the stack's
// folder and only an index in memory, some hundred bytes a batch, and it
// retains for what each topic says. Like a real broker it leaves flushing to
// the system: records survive the process, not the machine. PostgreSQL keeps
// fsync and synchronous_commit on.
//
// No process outlives the one that started the stack, however that ends (on
// Linux; elsewhere only Close ends PostgreSQL). A stack without a folder of
// its own leaves no file after Close; after a SIGKILL the next Start removes
// what was left.
package devstack

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// Config says where a stack lives. Its zero value is a stack on free ports in
// a temporary folder.
type Config struct {
	// DataDir keeps topics and tables between runs. Default: a temporary
	// folder that Close removes. One stack at a time uses a folder.
	DataDir string
	// KafkaAddr is the host:port the broker listens on and tells its clients.
	// Default: a free port of 127.0.0.1.
	KafkaAddr string
	// PostgresPort is the TCP port on 127.0.0.1. Default 0: a free one.
	PostgresPort int
	// Partitions of a topic created without saying how many. Default 12. More
	// lets more workers share a topic; no existing topic changes.
	Partitions int
	// Log gets what the servers complain of. Its zero value writes nothing.
	Log zerolog.Logger
}

// A Stack is a running broker and a running database.
type Stack struct {
	Kafka       string // host:port of the broker
	PostgresURL string // of an empty or a kept database, as its superuser

	folder   *folder
	broker   *Kafka
	database *Postgres
}

// Start returns when both servers answer their clients. The context bounds the
// start only: the stack runs until Close.
func Start(ctx context.Context, c Config) (_ *Stack, err error) {
	f, err := openFolder(c.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Stack{folder: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	s.database, err = startPostgres(ctx, f, PostgresConfig{Port: c.PostgresPort, Log: c.Log})
	if err != nil {
		return nil, err
	}
	s.broker, err = StartKafka(ctx, KafkaConfig{
		DataDir:    filepath.Join(f.path, "kafka"),
		Addr:       c.KafkaAddr,
		Partitions: c.Partitions,
		Log:        c.Log,
	})
	if err != nil {
		return nil, err
	}
	s.Kafka, s.PostgresURL = s.broker.Addr, s.database.URL
	return s, nil
}

// Failed delivers the reason when PostgreSQL ends without having been told to.
func (s *Stack) Failed() <-chan error { return s.database.failed }

// Close stops both servers and, for a stack in a temporary folder, removes it.
func (s *Stack) Close() error {
	var errs []error
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	if s.database != nil {
		errs = append(errs, s.database.Close())
	}
	errs = append(errs, s.folder.close())
	return errors.Join(errs...)
}

// userCache is where a downloaded PostgreSQL is kept. As root it must be a
// folder that the unprivileged user can reach too, which /root is not.
func userCache() string {
	if os.Geteuid() == 0 {
		return "/var/cache/promopool"
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "promopool")
	}
	return filepath.Join(os.TempDir(), "promopool-cache-"+userName())
}
