package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"promopool/internal/domain"
)

// TestByHandLive: codes are issued, blocked and unblocked by hand and, where each
// is for one use, moved by files, while requests for the same pool come over Kafka,
// and in the end it is archived in the middle of all that. Nobody gets another's
// code, nothing is issued that is blocked, and the auditor finds nothing.
func TestByHandLive(t *testing.T) {
	for _, kind := range []string{"OneUse", "ManyUses"} {
		t.Run(kind, func(t *testing.T) {
			rate, codes, long := sized(1500, 10_000), sized(60_000, 1_300_000), time.Duration(sized(3, 90))*time.Second
			many := kind == "ManyUses"
			if many {
				codes, long = 12, time.Duration(sized(2, 60))*time.Second
			}
			w := newWorld(t)
			w.Draft("p")
			w.exec("UPDATE pools SET multi_use = $1", many)
			w.AddCodes("p", "p", codes)
			w.exec("UPDATE pools SET state = 'active', launched_at = clock_timestamp(), revision = revision + 1, mode = 'ample'")
			w.exec("VACUUM ANALYZE")
			nodes := []*node{w.Serve(), w.Serve()}
			s := w.Stream("p", rate)
			d := &desk{w: w, t: t, nodes: nodes, codes: codes, stream: s, stop: make(chan struct{}), took: map[string][]time.Duration{}, given: map[string]given{}, refused: map[string]int{}}
			for n := range sized(4, 16) {
				d.work.Go(func() { d.clerk(uint64(n), many) })
			}
			began := time.Now()
			if !many {
				d.work.Go(d.uploads)
			}
			time.Sleep(long)
			archiving := time.Now()
			if status := d.post("archive", nodes[0], "archive", nil, nil); status != http.StatusOK {
				t.Errorf("archive: %d", status)
			}
			archived := time.Now()
			time.Sleep(long / 10)
			close(d.stop)
			d.work.Wait()
			sent := s.Stop()

			t.Logf("%d requests at %d/s, archived after %.1f s, in %v\n%s\nuntil then %v", sent, rate, archived.Sub(began).Seconds(), archived.Sub(archiving).Round(time.Millisecond),
				d.figures(), s.between(began, archiving))
			d.check(many)
			for reason := range s.rejected {
				if reason != "pool_not_active" && (!many || reason != "pool_exhausted") {
					t.Errorf("rejected: %v", s.rejected)
				}
			}
			if n := w.number("SELECT count(*) FROM issuances i JOIN pools p USING (pool) WHERE i.issued_at > p.archived_at"); n > 0 {
				t.Errorf("%d codes were issued after the pool was archived", n)
			}
			w.Verify()
		})
	}
}

// desk is staff who do things to single codes, several at a time.
type desk struct {
	w      *world
	t      *testing.T
	nodes  []*node
	codes  int
	stream *stream
	stop   chan struct{}
	work   sync.WaitGroup

	mu      sync.Mutex
	took    map[string][]time.Duration // by what was done with success; guarded by mu
	refused map[string]int             // by what and the problem's type; guarded by mu
	given   map[string]given           // by request; guarded by mu
	moved   int64                      // guarded by mu
	stayed  map[domain.RefusalReason]int64
}

type given struct{ code, customer string }

// clerk does one thing after the other, to codes that are about to be issued as
// well as to others.
func (d *desk) clerk(seed uint64, many bool) {
	dice := rand.New(rand.NewPCG(seed, 17))
	var blocked []string
	for n := 0; ; n++ {
		select {
		case <-d.stop:
			return
		default:
		}
		node := d.nodes[dice.IntN(len(d.nodes))]
		at := dice.IntN(d.codes)
		if !many && dice.IntN(2) == 0 {
			at = min(d.sent()+dice.IntN(30_000), d.codes-1) // partitions hold these
		}
		code := fmt.Sprint("c0de-p-", at)
		request, customer := fmt.Sprintf("hand-%d-%d", seed, n), "c-hand"
		if dice.IntN(3) == 0 && d.sent() > 0 { // one that is on its way over Kafka
			k := d.sent() - 1 - min(dice.IntN(50), d.sent()-1)
			request, customer = fmt.Sprint("s-", k), fmt.Sprint("c-", k)
		}
		switch dice.IntN(4) {
		case 0:
			d.issue("issue next", node, "issue", request, customer)
		case 1:
			d.issue("issue code", node, "codes/"+code+"/issue", request, customer)
		case 2:
			if many && len(blocked) > 0 || len(blocked) > 20 {
				// Of few codes few are blocked at a time.
				code, blocked = blocked[0], blocked[1:]
				d.post("unblock", node, "codes/"+code+"/unblock", nil, nil)
				continue
			}
			if d.post("block", node, "codes/"+code+"/block", map[string]string{"note": "a test"}, nil) == http.StatusOK {
				blocked = append(blocked, code)
			}
		case 3:
			if len(blocked) > 0 {
				code, blocked = blocked[0], blocked[1:]
				d.post("unblock", node, "codes/"+code+"/unblock", nil, nil)
			}
		}
	}
}

// sent is how many requests of the stream are on their way.
func (d *desk) sent() int {
	d.stream.mu.Lock()
	defer d.stream.mu.Unlock()
	return len(d.stream.sent)
}

func (d *desk) issue(what string, n *node, path, request, customer string) {
	var told struct{ Code string }
	if d.post(what, n, path, map[string]string{"request_id": request, "customer_id": customer}, &told) != http.StatusOK {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if before, ok := d.given[request]; ok && before.code != told.Code {
		d.t.Errorf("request %s got two codes", request)
	}
	d.given[request] = given{told.Code, customer}
}

// post asks a node to change something of the pool.
func (d *desk) post(what string, n *node, path string, body, into any) int {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			d.t.Error(err)
		}
		content = bytes.NewReader(text)
	}
	began := time.Now()
	resp, err := http.Post(n.http+"/v1/pools/p/"+path, "application/json", content)
	if err != nil {
		d.t.Errorf("%s: %v", what, err)
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	var problem struct{ Type, Detail string }
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusOK && into != nil:
		err = json.Unmarshal(text, into)
	case resp.StatusCode != http.StatusOK:
		err = json.Unmarshal(text, &problem)
	}
	if err != nil {
		d.t.Errorf("%s: %v", what, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch resp.StatusCode {
	case http.StatusOK:
		d.took[what] = append(d.took[what], time.Since(began))
	case http.StatusConflict, http.StatusServiceUnavailable:
		d.refused[what+" "+strings.TrimPrefix(problem.Type, "/problems/")]++
	default:
		d.t.Errorf("%s: %s, %s", what, resp.Status, problem.Detail)
	}
	return resp.StatusCode
}

// uploads hands files in that give every fortieth code of a stretch other dates,
// from where issuing stands on, one after the other, until the pool takes none.
func (d *desk) uploads() {
	d.stayed = map[domain.RefusalReason]int64{}
	const step = 40 // what is left in between is worth taking ahead
	rows := sized(500, 5_000)
	for n := 0; ; n++ {
		select {
		case <-d.stop:
			return
		default:
		}
		first := (d.sent() + n*997) % (d.codes - step*rows)
		var file bytes.Buffer
		file.WriteString("code;available_till\n")
		for i := range rows {
			fmt.Fprintf(&file, "c0de-p-%d;%d-01-01T00:00:00Z\n", first+step*i, 2090+n%9)
		}
		i, err := d.upload(&file)
		if err != nil {
			return // the pool is archived
		}
		d.mu.Lock()
		d.moved += i.Moved
		for why, n := range i.Reasons {
			d.stayed[why] += n
		}
		d.mu.Unlock()
		if i.Status == domain.ImportFailed {
			return
		}
	}
}

var errClosed = errors.New("the pool takes no files")

func (d *desk) upload(file io.Reader) (domain.Import, error) {
	resp, err := http.Post(d.nodes[0].http+"/v1/pools/p/imports", "text/csv", file)
	if err != nil {
		d.t.Errorf("upload: %v", err)
		return domain.Import{}, err
	}
	defer resp.Body.Close()
	var told struct{ Task int64 }
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil || resp.StatusCode != http.StatusAccepted {
		return domain.Import{}, errClosed
	}
	return d.w.Imported(told.Task), nil
}

// figures are what was done, how fast, and what was refused.
func (d *desk) figures() string {
	var b strings.Builder
	for _, what := range []string{"issue code", "issue next", "block", "unblock"} {
		took := d.took[what]
		slices.Sort(took)
		if len(took) > 0 {
			fmt.Fprintf(&b, "%d × %s: p50 %v, p99 %v\n", len(took), what, took[len(took)/2].Round(100*time.Microsecond), took[len(took)*99/100].Round(time.Millisecond))
		}
	}
	fmt.Fprintf(&b, "%d codes moved, stayed: %v\nrefused: %v", d.moved, d.stayed, d.refused)
	return b.String()
}

// check holds what staff were answered against what is stored and told.
func (d *desk) check(many bool) {
	rows, err := d.w.db.Query(d.w.t.Context(), `SELECT i.request_id, i.customer_id, c.code
		FROM issuances i JOIN lots l USING (pool, lot) JOIN codes c ON c.pool = i.pool AND c.lot = i.lot AND c.seq = i.seq % l.size`)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rows.Close()
	stored, owners := map[string]given{}, map[string]string{}
	for rows.Next() {
		var request string
		var g given
		if err := rows.Scan(&request, &g.customer, &g.code); err != nil {
			d.t.Fatal(err)
		}
		if owner, ok := owners[g.code]; ok && !many {
			d.t.Errorf("%s and %s have the same code", owner, request)
		}
		stored[request], owners[g.code] = g, request
	}
	if err := rows.Err(); err != nil {
		d.t.Fatal(err)
	}
	for request, g := range d.given {
		if stored[request] != g {
			d.t.Errorf("request %s was told another code than is stored", request)
		}
	}
	for _, what := range []string{"issue code", "issue next", "block", "unblock"} {
		if len(d.took[what]) < sized(1, 300) {
			d.t.Errorf("%d × %s, want more", len(d.took[what]), what)
		}
	}
	if !many && (d.moved == 0 || d.stayed[domain.CodeIsBlocked]+d.stayed[domain.AlreadyIssued] == 0) {
		d.t.Errorf("%d codes were moved, stayed: %v", d.moved, d.stayed)
	}
	s, err := d.w.store().Stock(d.w.t.Context(), "p")
	if err != nil {
		d.t.Fatal(err)
	}
	if !many && s.Total != s.Issued+s.Available+s.Scheduled+s.Expired+s.Withdrawn || s.Issued != int64(len(stored)) || s.Total != int64(d.codes) {
		d.t.Errorf("%+v with %d issuances", s, len(stored))
	}
}
