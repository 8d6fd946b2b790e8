package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	requesting "promopool/internal/load"
)

// openFor bounds for how long redemptions come at half of the highest rate.
const openFor = 6 * time.Second

// overHTTP redeems codes as fast as it goes, and then others at half of that rate.
func (r *redeemer) overHTTP(ctx context.Context, f *Figures, service int, base string, fast, steady []given) error {
	addr := strings.TrimPrefix(base, "http://")
	m, before := &meter{}, spend(service)
	err := r.redeemAll(ctx, addr, fast, func(int) {}, func(int, time.Time) { m.note(1) })
	if err != nil {
		return fmt.Errorf("as fast as it goes: %w", err)
	}
	rate := m.steady()
	r.say("  redeemed over HTTP  %v", Rate{rate, spend(service).since(before).per(m.total())})
	half := rate / 2
	steady = steady[:min(len(steady), int(half*openFor.Seconds()))]
	var mu sync.Mutex
	var latencies []float64 // of those behind the first fifth
	began := time.Now()
	due := func(i int) time.Time { return began.Add(time.Duration(float64(i) / half * 1e9)) }
	err = r.redeemAll(ctx, addr, steady, func(i int) { time.Sleep(time.Until(due(i))) }, func(i int, at time.Time) {
		if i >= len(steady)/5 {
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, float64(at.Sub(due(i)))/1e6)
		}
	})
	if err != nil {
		return fmt.Errorf("at half of %.0f/s: %w", rate, err)
	}
	l := summary(half, time.Since(began), len(steady), latencies)
	f.add("redeemed, over HTTP", "/s", rate)
	f.add("p50 at half of it", "ms", l.P50)
	f.add("p99 at half of it", "ms", l.P99)
	r.say("           at half of it p50 %.1f ms, p99 %.1f ms", l.P50, l.P99)
	return nil
}

// redeemAll redeems each code once, over all connections. due returns when a
// redemption is to be sent, whatever became of those before: where no connection is
// free it waits, and the wait counts. answered is called by many at a time.
func (r *redeemer) redeemAll(ctx context.Context, addr string, codes []given, due func(i int), answered func(i int, at time.Time)) error {
	all, ctx := errgroup.WithContext(ctx)
	next := make(chan int, len(codes))
	all.Go(func() error {
		defer close(next)
		for i := range codes {
			if due(i); ctx.Err() != nil {
				return ctx.Err()
			}
			next <- i
		}
		return nil
	})
	ids := requesting.NewIDs("")
	for range r.connections {
		all.Go(func() error {
			t, err := dialTill(addr)
			if err != nil {
				return err
			}
			defer t.conn.Close()
			for i := range next {
				if err := t.redeem(codes[i], ids.At(i, time.Now())); err != nil {
					return err
				}
				answered(i, time.Now())
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	r.redeemed += int64(len(codes))
	return nil
}

// till is a connection of a shop. It is written by hand, since it shares the
// machine with what is measured.
type till struct {
	conn net.Conn
	addr string
	in   *bufio.Reader
	out  []byte
}

func dialTill(addr string) (*till, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &till{conn: conn, addr: addr, in: bufio.NewReader(conn)}, nil
}

func (t *till) redeem(g given, id string) error {
	body := `{"redemption_id":"` + id + `","customer_id":"` + g.customer + `","order_id":"order-` + id + `"}`
	t.out = append(t.out[:0], "POST /v1/pools/"+poolID+"/codes/"+g.code+"/redeem HTTP/1.1\r\nHost: "+t.addr+
		"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body...)
	if err := t.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := t.conn.Write(t.out); err != nil {
		return err
	}
	res, err := http.ReadResponse(t.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("a redemption was answered %s: %s", res.Status, text)
	}
	return err
}
