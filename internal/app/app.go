// Package app wires the service: one configuration in, everything started in
// order, and stopped in the opposite one. What the parts do is theirs to say.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
)

// Config is all that a serving process is told.
type Config struct {
	// Kafka is host:port of brokers to find the cluster by. No default. More of
	// them let the process start while some are away.
	Kafka []string
	// DatabaseURL is PostgreSQL's, as postgres://user@host:port/database. No default.
	DatabaseURL string
	// HTTPAddr is the host:port to serve on; port 0 is a free one. Default
	// 127.0.0.1:8080.
	HTTPAddr string
	// TopicPrefix begins the name of every topic and consumer group. Default
	// "promo.". Another prefix is another promopool: it sees none of the
	// first's requests.
	TopicPrefix string
	// Partitions of the topics that are created because they are absent.
	// Default 12. Raised: more workers can share the requests, each with
	// buffers of its own. Lowered: fewer. Topics that exist keep theirs.
	Partitions int
	// Log gets the service's log lines. Its zero value writes nothing.
	Log zerolog.Logger
}

// Run serves until the context ends, then finishes what is in hand and returns
// nil. It calls ready, if given, once with the address that answers HTTP.
func Run(ctx context.Context, c Config, ready func(httpAddr string)) error {
	pool, err := pgxpool.New(ctx, c.DatabaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	defer pool.Close()
	if err := pool.Ping(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := pool.Ping(r.Context()); err != nil {
			http.Error(w, "database away", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if ready != nil {
		ready(listener.Addr().String())
	}

	select {
	case err := <-served:
		return fmt.Errorf("HTTP: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("HTTP: %w", err)
	}
	return nil
}
