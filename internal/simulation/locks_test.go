package simulation

import (
	"fmt"
	"sync"
	"time"

	"promopool/internal/domain"
	"promopool/internal/issuing"
)

// Bugs are switches of the model that break what its SQL promises, so that it can
// be seen that the simulation notices. All are off but where a test says so.
type Bugs struct {
	NoFence         bool // epoch and batch number are not compared
	NoRaise         bool // a compare-and-set of a cursor that finds nothing does not stop the COMMIT
	NoGrantNo       bool // the stamp is left out of the compare-and-set
	NoRequestKey    bool // (pool, request_id) is not unique
	NoPlaceKey      bool // (pool, lot, seq) is not unique
	OneStatement    bool // what locks guard is read in the statement that waits for them
	NoPoolLock      bool // batches do not lock the pools that they reject from
	NoRunLocks      bool // revoking does not wait for the batches in flight
	NoStamp         bool // what is handed back keeps its stamp
	NoStale         bool // a decision of any age is taken
	NoHandBack      bool // an edit leaves the buffers where they are
	EndNobody       bool // a takeover leaves the backends of predecessors alone
	WindowInclusive bool // the end of a window is still within it, where free codes are laid out
}

// lockKind is a level of the lock order.
type lockKind string

const (
	nameLock      lockKind = "name"
	poolLock      lockKind = "pool"
	runLock       lockKind = "run"
	partitionLock lockKind = "partition"
	placeLock     lockKind = "place"   // an index entry of issuances_pkey
	requestLock   lockKind = "request" // one of issuances_request_key
	batchLock     lockKind = "batch"
)

type lockKey struct {
	kind lockKind
	id   string
	run  runKey
	n    int64
}

// mark says that a backend works under an epoch of a partition.
type mark struct {
	partition int32
	epoch     int64
}

var (
	errLost     = fmt.Errorf("%w: cut off by the simulation", issuing.ErrUnknown)
	errDeadlock = fmt.Errorf("%w (deadlock)", issuing.ErrAgain)
)

// db is the model of the store: tables, locks, and the backends at work.
type db struct {
	Bugs

	// buffer is the first grant, of which the scarce mark is made: 200 in SQL.
	buffer     int64
	partitions int64
	now        func() time.Time
	// pace decides at each step of a backend whether and when it goes on. It is
	// called without mu.
	pace func(s *session, step string, ready func() bool) verdict
	// committing sees each transaction just before it becomes visible.
	committing func(s *session)
	// poison: the tables refuse this value.
	poison func(*issueRow) bool
	// event numbers what happens.
	event func() int
	// alarm hears of what never happens while the protocol holds.
	alarm func(format string, args ...any)

	mu       sync.Mutex
	data     *tables
	locks    map[lockKey]map[*session]bool // exclusive?
	sessions map[*session]bool
	begun    int
	lotNo    int32
	poolNo   int32
}

func newDB(buffer, partitions int64) *db {
	return &db{
		buffer: buffer, partitions: partitions, data: newTables(),
		locks: map[lockKey]map[*session]bool{}, sessions: map[*session]bool{},
		committing: func(*session) {}, poison: func(*issueRow) bool { return false }, alarm: func(string, ...any) {}, event: func() int { return 0 },
	}
}

func (d *db) scarceMark() int64 { return 2 * d.buffer * d.partitions }

// verdict is what becomes of a step.
type verdict int

const (
	proceed verdict = iota
	drop            // the connection is lost before the step
	lose            // the step is done, and its answer lost
)

// session is one backend with its transaction.
type session struct {
	*tx
	db            *db
	name          string
	kind          string
	node          *node
	began, looked int  // when it began, and had its locks: events
	wrote         bool // its COMMIT was sent
	staff         bool
	frozen        bool
	thaws         time.Time
	fenced        time.Time // when it was let through
	no            int
	since         time.Time
	// interactive: the client has a hand in the transaction, which ends with it.
	interactive bool
	patience    time.Duration // lock_timeout

	held    map[lockKey]bool
	order   []lockKey
	marks   []mark
	waiting *lockKey
	ended   bool // terminated, or its client is gone
	lost    bool // the answer will not come
	entries []issuing.Entry
	plan    *domain.Plan
	change  string // by staff
}

func (d *db) session(name string) *session {
	s := &session{tx: d.data.begin(), db: d, name: name, held: map[lockKey]bool{}, patience: time.Second}
	d.begun++
	s.no = d.begun
	d.sessions[s] = true
	return s
}

// step lets others go first, as between two statements.
func (s *session) step(what string) error { return s.park(what, nil) }

func (s *session) park(what string, ready func() bool) error {
	if s.ended {
		return s.drop()
	}
	s.since = s.db.now()
	if what == "insert" {
		s.fenced = s.since
	}
	s.db.mu.Unlock()
	v := s.db.pace(s, what, ready)
	s.db.mu.Lock()
	switch {
	case s.ended || v == drop:
		return s.drop()
	case v == lose:
		s.lost = true
	}
	return nil
}

func (s *session) drop() error {
	s.rollback()
	return errLost
}

// lock waits for a lock as long as lock_timeout allows.
func (s *session) lock(k lockKey, exclusive bool) error {
	if was, ok := s.held[k]; ok && (was || !exclusive) {
		return nil
	}
	until := s.db.now().Add(s.patience)
	for !s.db.free(k, s, exclusive) {
		s.waiting = &k
		if s.db.circle(s) {
			s.waiting = nil
			return errDeadlock
		}
		err := s.park("wait for "+string(k.kind), func() bool {
			return s.db.free(k, s, exclusive) || !s.db.now().Before(until)
		})
		s.waiting = nil
		if err != nil {
			return err
		}
		if !s.db.free(k, s, exclusive) && !s.db.now().Before(until) {
			return issuing.ErrBlocked
		}
	}
	if s.db.locks[k] == nil {
		s.db.locks[k] = map[*session]bool{}
	}
	s.db.locks[k][s] = exclusive
	s.held[k] = exclusive
	s.order = append(s.order, k)
	return nil
}

// free reports whether nobody else has the lock in a way that excludes s.
func (d *db) free(k lockKey, s *session, exclusive bool) bool {
	for other, alone := range d.locks[k] {
		if other != s && (alone || exclusive) {
			return false
		}
	}
	return true
}

// circle reports whether s waits for itself. PostgreSQL looks after a second, and ends
// one of those concerned; here it is the one that closes the circle.
func (d *db) circle(s *session) bool {
	seen := map[*session]bool{}
	var waits func(*session) bool
	waits = func(t *session) bool {
		if t.waiting == nil {
			return false
		}
		for other := range d.locks[*t.waiting] {
			if other == t {
				continue
			}
			if other == s {
				return true
			}
			if !seen[other] {
				seen[other] = true
				if waits(other) {
					return true
				}
			}
		}
		return false
	}
	return waits(s)
}

// commit makes the transaction true. errLost: it may be.
func (s *session) commit() error {
	if err := s.step("commit"); err != nil {
		return err
	}
	s.db.committing(s)
	s.tx.commit()
	s.release()
	if s.lost {
		return errLost
	}
	return nil
}

func (s *session) rollback() {
	s.tx = s.db.data.begin()
	s.release()
}

func (s *session) release() {
	for k := range s.held {
		delete(s.db.locks[k], s)
		if len(s.db.locks[k]) == 0 {
			delete(s.db.locks, k)
		}
	}
	s.held, s.order, s.marks = map[lockKey]bool{}, nil, nil
	s.tx = s.db.data.begin()
}

// close ends the session after its work.
func (s *session) close() {
	s.release()
	delete(s.db.sessions, s)
}

// end terminates a backend, whatever it does.
func (s *session) end() {
	s.ended = true
	s.release()
}
