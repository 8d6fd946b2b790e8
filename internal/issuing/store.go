// Package issuing is the use case: it turns the deliveries of a partition into
// outcomes that are durably true before anyone hears of them. It keeps the
// partition's codes at hand, decides by package domain, commits through a
// store, and merges the small batches of several partitions into one
// transaction. What it promises and what a crash leaves is in docs/issuing.md.
package issuing

import (
	"context"
	"errors"
	"time"

	"promopool/internal/domain"
)

// Errors by which a store says why a decision did not become true. In each
// case but ErrUnknown nothing was written.
var (
	// ErrFenced: another worker has taken the partition over. Leave.
	ErrFenced = errors.New("fenced: another worker has taken the partition over")
	// ErrCursor: codes in hand were handed back meanwhile. Reload, decide again.
	ErrCursor = errors.New("codes in hand were handed back")
	// ErrRaced: another partition issued one of the requests meanwhile. Decide again.
	ErrRaced = errors.New("another partition issued a request of the batch")
	// ErrAgain: the decision grew too old, or locks crossed. Decide again.
	ErrAgain = errors.New("decide again")
	// ErrBlocked: a lock was not had in time. End predecessors, decide again.
	ErrBlocked = errors.New("a lock was not had in time")
	// ErrPlaceTaken: a code in hand is issued already. Alarm.
	ErrPlaceTaken = errors.New("a code in hand is issued already")
	// ErrPoison: the database refuses the data of a request. Find which.
	ErrPoison = errors.New("the database refuses a request's data")
	// ErrUnknown: the answer was lost; the decision may be true. Resolve.
	ErrUnknown = errors.New("the database's answer was lost")
	// ErrGate: the database has lost what it had acknowledged, and nothing may
	// be issued before that is rebuilt. Wait.
	ErrGate = errors.New("the gate is closed: the database has lost what it had acknowledged, restore it or rebuild it from the topics")
	// ErrCorrupt: what is true is no longer known. Stop the partition.
	ErrCorrupt = errors.New("the store contradicts itself")
)

// Claim is a partition as its worker owns it.
type Claim struct {
	Stream     string
	Number     int   // of the partition in its topic
	Partition  int32 // its key in the store
	Epoch      int64
	BatchNo    int64
	NextOffset int64 // every delivery below it is decided
}

// Entry is one partition's part of a transaction: the decision on its
// deliveries First…End−1.
type Entry struct {
	Claim      *Claim
	First, End int64
	Rejections []domain.Rejection
}

// Ownership is how a worker becomes and stays a partition's owner.
type Ownership interface {
	// Claim takes the partition over from whoever has it, ending the
	// backends of predecessors that are in the way. partitions is the
	// topic's count.
	Claim(ctx context.Context, stream string, number int, worker string, partitions int) (Claim, error)
	// Resolve takes the partition over from oneself after a lost answer, so
	// that what is still under way can no longer commit. ErrFenced when
	// another has it.
	Resolve(ctx context.Context, c Claim, worker string) (Claim, error)
	// CloseGate stops the whole service from issuing: an outcome of the
	// claim's delivery at offset, which is not decided here, is in the topics.
	// ErrFenced when the claim is another's by now.
	CloseGate(ctx context.Context, c Claim, offset int64, reason string) error
	// EndPredecessors ends the backends of older epochs of the partition.
	EndPredecessors(ctx context.Context, c Claim) error
	// Ranges returns decided batches that end beyond the position, in order.
	Ranges(ctx context.Context, partition int32, position int64, atMost int) ([]domain.Range, error)
}

// Stock is a pool with the runs of it that a partition holds.
type Stock struct {
	Pool *domain.Pool
	Runs []*domain.Run // first expiring first, without texts
}

// Granting moves codes between the free stock and a partition's buffers.
type Granting interface {
	// PoolsByID reads pools; ids without a pool are absent.
	PoolsByID(ctx context.Context, ids []string) (map[string]*domain.Pool, error)
	// Held reads everything the partition holds, by pool id.
	Held(ctx context.Context, partition int32) (map[string]*Stock, error)
	// Refill grants at most want codes and returns them with the pool's
	// settings as they are with the grant. It grants none when the pool has
	// none to spare, or is not active and ample.
	Refill(ctx context.Context, partition int32, pool *domain.Pool, want int64) (Stock, error)
	// Texts loads the codes of the unissued ordinals of runs, in their order.
	// ErrCursor: a run is no longer as it was granted.
	Texts(ctx context.Context, runs []*domain.Run) ([][]string, error)
	// GiveBack returns what the partition holds of the pool.
	GiveBack(ctx context.Context, partition int32, pool int32) error
}

// Deciding makes decisions true.
type Deciding interface {
	// LookUp returns the stored issuances of the keys, whose pools are given
	// by key, and then the database's clock.
	LookUp(ctx context.Context, keys []domain.Key, pools map[int32]*domain.Pool) (map[domain.Key]*domain.Issuance, time.Time, error)
	// Commit makes a plan true that needs no pool lock.
	Commit(ctx context.Context, entries []Entry, plan *domain.Plan) error
	// CommitLocked decides and commits in one transaction under the locks
	// that the decision needs.
	CommitLocked(ctx context.Context, l Locking, decide func(Locked) Decision) error
	// Erased returns those of the customers who were erased.
	Erased(ctx context.Context, c Claim, customers []string) (map[string]Erased, error)
}

// Erased is a customer who was erased.
type Erased struct {
	Alias  string // what the customer is called since
	Before int64  // deliveries of the partition below this offset were there before
}

// Locking says what CommitLocked locks before it lets decide.
type Locking struct {
	Claims []*Claim
	// Sure are pools to be locked, so that they can be rejected from; their
	// codes come from buffers.
	Sure []string
	// Whole are pools to be locked and seen whole. What the claims hold of
	// them is handed back first.
	Whole []string
	// Cursors are further pools whose codes come from buffers.
	Cursors []int32
	// Requests are the request_ids by id of Sure and Whole pools.
	Requests map[string][]string
}

// Locked is what CommitLocked saw under its locks.
type Locked struct {
	Now     time.Time
	Pools   map[string]*domain.Pool // of Sure and Whole; absent: there is none
	Shelves map[string]*domain.Shelf
	Known   map[domain.Key]*domain.Issuance
	Turning []string // ample pools among Whole whose free stock is below the scarce mark
}

// Decision is what decide answers: a plan with its entries, or the pools of
// which everybody's codes must be handed back before it can be made, or
// nothing, to give up.
type Decision struct {
	Plan     *domain.Plan
	Entries  []Entry
	HandBack []string
}

// Store is all of it.
type Store interface {
	Ownership
	Granting
	Deciding
}
