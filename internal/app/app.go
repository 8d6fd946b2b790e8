// Package app wires the service: one configuration in, everything started in
// order, and stopped in the opposite one. What the parts do is theirs to say.
package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"promopool/internal/consumer"
	"promopool/internal/crashpoint"
	"promopool/internal/customers"
	"promopool/internal/domain"
	"promopool/internal/exporting"
	"promopool/internal/guesses"
	"promopool/internal/httpapi"
	"promopool/internal/importing"
	"promopool/internal/issuing"
	"promopool/internal/outbox"
	"promopool/internal/postgres"
	"promopool/internal/producer"
	"promopool/internal/redeeming"
	"promopool/internal/topics"
	"promopool/internal/watching"
)

const (
	// connections to PostgreSQL: four transactions of issuing at a time and four
	// of redeeming, refills, imports, and the HTTP interface. A third of them only
	// read.
	connections = 21
	// fetchBytes is what one fetch of a partition brings at most: a batch of
	// about 1,500 requests. Larger batches hold locks longer and gain nothing.
	fetchBytes = 560 << 10
	// startTime bounds how long a start waits for topics to have leaders.
	startTime = 60 * time.Second
	// probeTime bounds what a probe waits for the database.
	probeTime = 2 * time.Second
)

// Config is all that a serving process is told.
type Config struct {
	// Kafka is host:port of brokers to find the cluster by. No default. More of
	// them let the process start while some are away.
	Kafka []string
	// DatabaseURL is PostgreSQL's, as postgres://user@host:port/database. No default.
	DatabaseURL string
	// HTTPAddr is the host:port to serve on, of this machine's loopback: whoever
	// reaches it may do everything. Port 0 is a free one. Default 127.0.0.1:8080.
	HTTPAddr string
	// TopicPrefix begins the name of every topic and consumer group. Default
	// "promo.". Another prefix is another promopool: it sees none of the
	// first's requests.
	TopicPrefix string
	// Partitions of the topics that are created because they are absent.
	// Default 12. Raised: more workers can share the requests, each with
	// buffers of its own. Lowered: fewer. Topics that exist keep theirs.
	Partitions int
	// MaxUploadBytes bounds a file of codes. Default 1 GiB. Raised: a larger file
	// is kept in the database while it is imported. Lowered: larger ones are
	// refused with 413.
	MaxUploadBytes int64
	// KeepUploads is how long a file of codes is kept behind the end of its import,
	// for whoever wants it back. Default 30 days. Raised: more of the database is
	// files. Lowered: files are gone sooner; 0: at once. Files that are here
	// already stay as long as their uploader was told.
	KeepUploads time.Duration
	// BufferBytes is the memory for codes that are taken ahead. Default 64 MiB. Raised:
	// more pools that are not in use for a while keep theirs. Lowered: they hand them
	// back sooner, and take them anew at their next request.
	BufferBytes int64
	// GuessLimits bound how many redemptions and checks by HTTP may fail, of each
	// caller and at each pool. Default 60 a minute and 100 at once of a caller, ten
	// times that at a pool. Raised: codes are found sooner by trying. Lowered: shops
	// whose customers mistype are turned away. Redemptions that succeed don't count.
	GuessLimits guesses.Limits
	// PublicURL is where staff reach the HTTP interface, for links in notices.
	// Default the address that it listens on, which only helps on this machine.
	// All processes should have the same.
	PublicURL string
	// Log gets the service's log lines. Its zero value writes nothing.
	Log zerolog.Logger
}

// Run serves until the context ends, then finishes what is in hand and returns
// nil. It calls ready, if given, once with the address that answers HTTP.
func Run(ctx context.Context, c Config, ready func(httpAddr string)) error {
	worker := workerName()
	log := c.Log.With().Str("worker", worker).Logger()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	if err := private(c.HTTPAddr); err != nil {
		return err
	}

	if c.GuessLimits == (guesses.Limits{}) {
		c.GuessLimits = guesses.DefaultLimits()
	}
	if err := c.GuessLimits.Check(); err != nil {
		return err
	}
	if err := linkable(c.PublicURL); err != nil {
		return err
	}

	if c.BufferBytes < 0 {
		return fmt.Errorf("buffer bytes: %d is no memory", c.BufferBytes)
	}
	if c.KeepUploads < 0 {
		return fmt.Errorf("keep uploads: %s is no time to keep anything, 0 is not at all", c.KeepUploads)
	}

	// The database first: without it nothing may be consumed.
	store, err := postgres.Open(ctx, c.DatabaseURL, "promopool "+worker, connections)
	if err != nil {
		return err
	}
	defer store.Close()

	names := topics.Named(c.TopicPrefix)
	client := topics.Client(c.Kafka, names.All()...)
	defer topics.Close(client)
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := topics.Ensure(starting, client, names, c.Partitions); err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	described := map[string]topics.Topic{}
	limits := map[string]int{}
	for _, name := range names.All() {
		t, err := topics.Describe(starting, client, name)
		if err != nil {
			return fmt.Errorf("describe topic %s: %w", name, err)
		}
		described[name], limits[name] = t, t.MaxMessageBytes
	}
	requests := described[names.Requests]

	// What a process cannot mend it ends for: start-up knows how.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	health := &consumer.Health{}
	ofGroup := func(name string) *consumer.Metrics {
		return consumer.NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"group": name}, registry))
	}
	issuer := issuing.New(store, worker, registry, log)
	issuer.Budget = cmp.Or(c.BufferBytes, issuing.DefaultBudget)
	publisher := producer.New(client, limits, log, registry)
	partitions := &consumer.Partitions{
		Fetcher:     consumer.NewFetcher(client, names.Requests, fetchBytes).Of(requests),
		Issuer:      issuer,
		Outcomes:    producer.NewOutcomes(publisher, names.Outcomes, described[names.Outcomes].Partitions, requests.Stream, requests.Partitions),
		DeadLetters: producer.NewDeadLetters(publisher, crashpoint.PublishDeadLetters, names.DeadLetters, described[names.DeadLetters].Partitions, names.Requests, requests.Stream),
		Tails:       consumer.NewTails(client, requests, described[names.Outcomes], described[names.DeadLetters]),
		Stream:      requests.Stream, Count: requests.Partitions,
		Health: health, Stop: stop, Metrics: ofGroup(names.IssuingGroup), Log: log,
	}
	group := consumer.NewGroup(client, c.Kafka, crashpoint.CommitOffsets, names.IssuingGroup, names.Requests, consumer.DefaultStall, health, log, registry)

	events := outbox.New(store, producer.NewEvents(publisher, eventTopics(names, described)), log, registry)
	redeemer := redeeming.New(store, events.Wake, registry)
	asked := described[names.RedemptionRequests]
	redemptions := &consumer.Redemptions{
		Fetcher:     consumer.NewFetcher(client, names.RedemptionRequests, fetchBytes).Of(asked),
		Redeemer:    redeemer,
		Outcomes:    producer.NewRedemptions(publisher, names.RedemptionOutcomes, described[names.RedemptionOutcomes].Partitions, asked.Stream, asked.Partitions),
		DeadLetters: producer.NewDeadLetters(publisher, crashpoint.PublishRedemptionLetters, names.DeadLetters, described[names.DeadLetters].Partitions, names.RedemptionRequests, asked.Stream),
		Told:        consumer.NewTold(client, asked, described[names.RedemptionOutcomes], store),
		Health:      health, Stop: stop, Metrics: ofGroup(names.RedeemingGroup), Log: log,
	}
	redeemers := consumer.NewGroup(client, c.Kafka, crashpoint.CommitRedemptionOffsets, names.RedeemingGroup, names.RedemptionRequests, consumer.DefaultStall, health, log, registry)

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP: %w", err)
	}
	store.PublicURL = cmp.Or(strings.TrimRight(c.PublicURL, "/"), "http://"+listener.Addr().String())
	imports := importing.New(store, log, registry)
	intake := importing.NewIntake(store, c.MaxUploadBytes, imports.Wake)
	intake.Keep = c.KeepUploads
	numbers := consumer.NewNumbers(client, []topics.Topic{described[names.PoolEvents], described[names.Notifications]},
		[]topics.Topic{described[names.Outcomes], described[names.RedemptionOutcomes]})
	carrier := gated{store: store, numbers: numbers, log: log.With().Str("component", "outbox").Logger(), work: events.Run}
	if err := redemptions.Told.Look(starting, -1); err != nil {
		return err
	}
	if err := carrier.look(starting); err != nil && !errors.Is(err, errBehind) { // else readyz says so
		return err
	}
	watcher := watching.New(store, events.Wake, log, registry)
	lister := customers.NewLister(store, log, registry)
	eraser := customers.NewEraser(store, customerTopics{client, names}, log, registry)
	server := httpapi.Server(httpapi.New(httpapi.Deps{
		Campaigns: store, Pools: store, Staffing: store, Stocks: store, Exports: exporting.New(store), Generating: store, ByHand: store,
		Customers: store, Erasing: eraser,
		Redeeming: redeemer, Guesses: guesses.New(c.GuessLimits, log, registry), Metrics: registry, Log: log,
		Told:         events.Wake,
		ImportRoutes: httpapi.ImportRoutes(intake, store, log),
		Probes:       probes(store, health, registry),
	}), log)

	parts, inner := errgroup.WithContext(ctx)
	parts.Go(func() error { return group.Run(inner, partitions.Work) })
	parts.Go(func() error { return redeemers.Run(inner, redemptions.Work) })
	parts.Go(func() error { return imports.Run(inner) })
	parts.Go(func() error { return housekeeping(inner, store, client, requests, registry, log) })
	parts.Go(func() error { return replenish(inner, store, registry, log) })
	parts.Go(func() error { return lead(inner, store, "outbox", worker, log, carrier.Run) })
	parts.Go(func() error { return lead(inner, store, "watch", worker, log, watcher.Run) })
	parts.Go(func() error { return watching.Report(inner, store, worker, issuer.Touched, log) })
	parts.Go(func() error { return lead(inner, store, "customer lists", worker, log, lister.Run) })
	parts.Go(func() error { return lead(inner, store, "erasures", worker, log, eraser.Run) })
	parts.Go(func() error { return serve(inner, server, listener) })
	if ready != nil {
		ready(listener.Addr().String())
	}
	if err := parts.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// eventTopics are the topics that events of the outbox go to.
func eventTopics(names topics.Names, described map[string]topics.Topic) map[domain.Topic]producer.EventTopic {
	all := map[domain.Topic]producer.EventTopic{}
	for topic, name := range map[domain.Topic]string{
		domain.ToCodeOutcomes: names.Outcomes, domain.ToRedemptionOutcomes: names.RedemptionOutcomes,
		domain.ToPoolEvents: names.PoolEvents, domain.ToStaffNotifications: names.Notifications,
	} {
		all[topic] = producer.EventTopic{Name: name, Partitions: described[name].Partitions}
	}
	return all
}

// private refuses an address that others can reach: the interface asks nobody
// who they are.
func private(addr string) error {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("HTTP: %w", err)
	}
	if !a.IP.IsLoopback() {
		return fmt.Errorf("HTTP: %s can be reached from elsewhere, and the interface has no access control: listen on 127.0.0.1 and put a proxy that has before it", addr)
	}
	return nil
}

// linkable refuses what no link can begin with.
func linkable(publicURL string) error {
	u, err := url.Parse(publicURL)
	if publicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		return fmt.Errorf("public URL: %q is none that links can begin with: name one such as https://promo.example.com", publicURL)
	}
	return nil
}

// workerName tells processes apart, for people by host and process, for the
// fence by chance.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), strings.ToLower(rand.Text()[:8]))
}

// serve answers HTTP until ctx ends, then lets open requests finish.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
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

// probes are what machines ask: whether the process lives, whether it answers
// requests, and its figures.
func probes(store *postgres.Store, health *consumer.Health, registry *prometheus.Registry) map[string]http.Handler {
	return map[string]http.Handler{
		"/metrics": promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		"/healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
		"/readyz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			problems := health.Problems()
			ctx, cancel := context.WithTimeout(r.Context(), probeTime)
			defer cancel()
			switch gate, err := store.Gate(ctx); {
			case err != nil:
				problems = append(problems, "database: "+err.Error())
			case gate != "":
				problems = append(problems, "the gate is closed: "+gate)
			}
			if len(problems) > 0 {
				http.Error(w, strings.Join(problems, "\n"), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ready")
		}),
	}
}
