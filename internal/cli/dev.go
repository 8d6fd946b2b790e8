package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"promopool/internal/app"
	"promopool/internal/devstack"
)

func (p *program) devCommand() *cobra.Command {
	var (
		stack     devstack.Config
		service   app.Config
		onlyInfra bool
	)
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run Kafka, PostgreSQL and the service on this machine",
		Long: `dev starts a Kafka broker inside the process, PostgreSQL as its child, and the
very service that serve runs. When all of them answer it prints one line on
standard output:

  kafka=HOST:PORT postgres=URL http=URL

Ports are free ones unless told. Without --data-dir everything lives in a
temporary folder and is gone at the end. PostgreSQL is the newest one found on
this machine, 15 or later; where there is none it is downloaded once.`,
		Example: `  promopool dev
  promopool dev --data-dir ./data --http-addr 127.0.0.1:8080
  promopool dev --only-infra --kafka-addr 127.0.0.1:9092 --postgres-port 5432`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stack.Partitions, stack.Log, service.Log = service.Partitions, p.log, p.log
			return untilSignal(cmd.Context(), p.dev(cmd.Context(), stack, service, onlyInfra))
		},
	}
	f := cmd.Flags()
	f.StringVar(&stack.DataDir, "data-dir", "", "`folder` that keeps topics and tables between runs (default a temporary one)")
	f.BoolVar(&onlyInfra, "only-infra", false, "start Kafka and PostgreSQL and no service")
	f.StringVar(&stack.KafkaAddr, "kafka-addr", "", "`host:port` of the broker (default a free port)")
	f.IntVar(&stack.PostgresPort, "postgres-port", 0, "`port` of PostgreSQL on 127.0.0.1 (default a free one)")
	f.StringVar(&service.HTTPAddr, "http-addr", "127.0.0.1:0", "`host:port` of the HTTP interface; port 0 is a free one")
	serviceFlags(f, &service)
	return cmd
}

// dev runs the stack, and the service on it, until the context ends or
// PostgreSQL does. The service is over before the stack goes.
func (p *program) dev(ctx context.Context, c devstack.Config, service app.Config, onlyInfra bool) (err error) {
	stack, err := devstack.Start(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-stack.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()

	servers := fmt.Sprintf("kafka=%s postgres=%s", stack.Kafka, stack.PostgresURL)
	if onlyInfra {
		fmt.Fprintln(p.stdout, servers)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := app.Migrate(ctx, stack.PostgresURL); err != nil {
		return err
	}
	service.Kafka, service.DatabaseURL = []string{stack.Kafka}, stack.PostgresURL
	err = app.Run(ctx, service, func(httpAddr string) {
		awaitReady(ctx, "http://"+httpAddr+"/readyz")
		fmt.Fprintf(p.stdout, "%s http=http://%s\n", servers, httpAddr)
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// awaitReady waits until requests are answered, at most as long as a start
// takes: a service with a problem is to be looked at, not waited for.
func awaitReady(ctx context.Context, url string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		if r, err := http.DefaultClient.Do(request); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// untilSignal turns the end that a signal asked for into success: commands
// that run until then have done their work.
func untilSignal(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
