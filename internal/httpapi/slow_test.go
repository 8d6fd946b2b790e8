package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"promopool/internal/domain"
	"promopool/internal/httpapi"
)

// still is a store in which nothing happens.
type still struct {
	httpapi.Campaigns
	httpapi.Pools
	httpapi.Staffing
	httpapi.Imports
	httpapi.Uploads
}

func (still) Pool(context.Context, string) (domain.Pool, error) { return domain.Pool{ID: "x"}, nil }

func (still) LaunchPool(context.Context, domain.Actor, string, int64) (domain.Pool, error) {
	return domain.Pool{ID: "x"}, nil
}

func (still) ListPools(context.Context, domain.PoolFilter, string, int) ([]domain.Pool, error) {
	return []domain.Pool{{ID: "x", Description: strings.Repeat("x", 4<<10)}}, nil
}

func (still) Receive(_ context.Context, _ domain.Upload, file io.Reader) (domain.Import, error) {
	if _, err := io.Copy(io.Discard, file); err != nil {
		return domain.Import{}, fmt.Errorf("%w: %w", domain.ErrFileBroken, err)
	}
	return domain.Import{}, nil
}

// WriteCodes takes longer than a body may.
func (still) WriteCodes(ctx context.Context, _ *domain.Pool, _ domain.CodeState, w io.Writer) error {
	for range 100 {
		if _, err := fmt.Fprintln(w, strings.Repeat("x", 1000)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// wire is a listener of one connection in memory, whose time can be fake.
type wire struct {
	conns chan net.Conn
	done  chan struct{}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	close(w.done)
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

// slowly runs a test of a client's end of a connection, in fake time.
func slowly(t *testing.T, test func(t *testing.T, client net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.New(httpapi.Deps{
			Campaigns: still{}, Pools: still{}, Staffing: still{}, Exports: still{}, Metrics: prometheus.NewRegistry(), Log: zerolog.Nop(),
			ImportRoutes: httpapi.ImportRoutes(still{}, still{}, zerolog.Nop()),
		})
		server := httpapi.Server(h, zerolog.Nop())
		w := &wire{make(chan net.Conn, 1), make(chan struct{})}
		client, end := net.Pipe()
		w.conns <- end
		served := make(chan error, 1)
		go func() { served <- server.Serve(w) }()
		test(t, client)
		client.Close()
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// TestSlowBody: a body that does not come holds nothing for long, whoever was to
// read it.
func TestSlowBody(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		status        int
		within        time.Duration
	}{
		{"Launch", "POST /v1/pools/x/launch HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 200, 10 * time.Second},
		{"Read", "GET /v1/pools/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 200, 10 * time.Second},
		{"Large", "GET /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 200, 10 * time.Second},
		{"Chunks", "DELETE /v1/pools/- HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 404, 10 * time.Second},
		{"NoEndpoint", "POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 404, 10 * time.Second},
		{"Method", "PUT /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 405, 10 * time.Second},
		{"MediaType", "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 415, 10 * time.Second},
		{"JSON", "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{", 408, 10 * time.Second},
		{"TooLarge", "POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + strings.Repeat(" ", 1<<20+1), 413, 10 * time.Second},
		{"CrossOrigin", "POST /v1/pools HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 5\r\n\r\n{", 403, 10 * time.Second},
		{"NoFile", "POST /v1/pools/x/imports HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{", 415, 10 * time.Second},
		{"File", "POST /v1/pools/x/imports HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 5\r\n\r\nA", 408, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slowly(t, func(t *testing.T, client net.Conn) {
				start := time.Now()
				if _, err := io.WriteString(client, tt.request); err != nil {
					t.Fatal(err)
				}
				in := bufio.NewReader(client)
				r, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Fatal(err)
				}
				if r.StatusCode != tt.status {
					t.Errorf("got %s", r.Status)
				}
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("the connection goes on: %v", err)
				}
				// net/http lingers half a second before it closes.
				if took := time.Since(start); took > tt.within+time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// TestSlowReader: an answer that nobody reads holds nothing for long either, and
// one that is read lasts as long as it must.
func TestSlowReader(t *testing.T) {
	for _, path := range []string{"/v1/pools", "/v1/pools/x/codes.csv"} {
		slowly(t, func(t *testing.T, client net.Conn) {
			start := time.Now()
			fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			time.Sleep(5 * time.Minute)
			if n, err := io.Copy(io.Discard, client); err != nil || n > 0 {
				t.Errorf("%s: got %d bytes, %v, %s later", path, n, err, time.Since(start))
			}
		})
	}
	for _, body := range []string{"", "Content-Length: 5\r\n\r\n{", "Content-Length: 5\r\n\r\n{   }"} {
		slowly(t, func(t *testing.T, client net.Conn) {
			if body == "" {
				body = "\r\n"
			}
			fmt.Fprintf(client, "GET /v1/pools/x/codes.csv HTTP/1.1\r\nHost: x\r\n%s", body)
			r, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != 100*1001 {
				t.Errorf("with %q: got %d bytes, %v", body, n, err)
			}
		})
	}
}

// TestDeadlines: those of one answer are not those of the next.
func TestDeadlines(t *testing.T) {
	slowly(t, func(t *testing.T, client net.Conn) {
		in := bufio.NewReader(client)
		for range 3 {
			for _, request := range []string{"GET /v1/pools/x/codes.csv HTTP/1.1\r\nHost: x\r\n\r\n", "POST /v1/pools/x/launch HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{"} {
				if _, err := io.WriteString(client, request); err != nil {
					t.Fatal(err)
				}
				r, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Second)
			}
		}
	})
}
