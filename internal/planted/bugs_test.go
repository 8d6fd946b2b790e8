package planted

import (
	"fmt"
	"strings"
)

// bug is one that a patch plants.
type bug struct {
	name   string // of its patch
	what   string // is wrong
	breaks string // what it would come to, unnoticed

	// the test that fails
	pkg, run string
	args     []string
	says     string // among what it says then
}

// simulation is a campaign of some events that begins with seed 1.
func simulation(events int, b bug) bug {
	b.pkg, b.run, b.args = "internal/simulation", "^TestSimulation$", []string{"-seed", "1", "-events", fmt.Sprint(events)}
	return b
}

// Events of campaigns: some bugs need a rarer turn of events.
const (
	short = 20_000
	long  = 100_000
)

// protocol is a rule of the transactions, on PostgreSQL.
func protocol(rule string, b bug) bug {
	b.pkg, b.run = "internal/postgres", "^TestProtocol$/^"+rule+"$"
	return b
}

// crash is a fault at a point, at its first hit.
func crash(point, fault string, b bug) bug {
	b.pkg, b.run = "internal/e2e", "^TestCrashMatrix$"
	b.args = []string{"-crash-seeds", "1", "-crash-point", point, "-crash-fault", fault, "-crash-first"}
	return b
}

// auditor is a case of what is broken on purpose, under the eyes of the auditor.
func auditor(run string, b bug) bug {
	b.pkg, b.run = "internal/verify", run
	return b
}

func in(pkg, run string, b bug, args ...string) bug {
	b.pkg, b.run, b.args = pkg, run, args
	return b
}

// command is how the test is run by hand.
func (b bug) command() string {
	return strings.Join(append([]string{"go test ./" + b.pkg + " -run '" + b.run + "'"}, b.args...), " ")
}

// caughtBy is the test for people.
func (b bug) caughtBy() string {
	said := b.pkg + " " + strings.NewReplacer("^", "", "$", "").Replace(b.run)
	if len(b.args) > 0 {
		said += " " + strings.Join(b.args, " ")
	}
	return said
}

var bugs = []bug{
	simulation(short, bug{name: "01-offset-first", what: "the group's offset moves before the outcomes are published", breaks: "3 every request is answered", says: "invariant 3"}),
	simulation(short, bug{name: "02-publish-from-memory", what: "after a lost answer outcomes are published from memory", breaks: "4 no phantom", says: "invariant"}),
	simulation(short, bug{name: "03-bound-too-early", what: "a batch is bound to codes before the one before is answered", breaks: "3 every request is answered", says: "invariant 3"}),
	simulation(long, bug{name: "04-refused-unlooked", what: "a batch that refuses does without what was stored meanwhile", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(short, bug{name: "05-available-till", what: "the end of a code's availability does not matter", breaks: "8 windows hold", says: "invariant 8"}),
	simulation(short, bug{name: "06-window-start", what: "the begin of a window is compared the wrong way", breaks: "8 windows hold", says: "invariant"}),
	protocol("HeldByOthers", bug{name: "08-others-forgotten", what: "codes that other partitions hold are not thought of before \"exhausted\"", breaks: "7 no false \"exhausted\"", says: "while another holds"}),
	simulation(short, bug{name: "09-expired-request", what: "a request gets a code after it has expired", breaks: "8 windows hold", says: "invariant 8"}),
	simulation(short, bug{name: "10-anothers-code", what: "a customer is answered with another's code", breaks: "4 no phantom", says: "invariant 4"}),
	simulation(short, bug{name: "11-verdict-redated", what: "a rejection told again bears another time", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(short, bug{name: "12-range-forgotten", what: "deliveries of a known range are decided anew", breaks: "5 one verdict", says: "invariant 5"}),
	simulation(long, bug{name: "13-clock-ahead", what: "the database's clock is carried on too fast", breaks: "8 windows hold", says: "invariant 8"}),
	simulation(short, bug{name: "14-dead-letters-dropped", what: "what is no request gets no dead letter", breaks: "3 every request is answered", says: "invariant 3"}),
	simulation(short, bug{name: "15-twice-in-a-batch", what: "a request twice in one batch gets two codes", breaks: "2 one issuance", says: "liveness"}),
	simulation(short, bug{name: "16-gate-too-eager", what: "the last answer that is decided closes the gate", breaks: "the service goes on", says: "liveness"}),
	in("internal/domain", "^TestNothingRefusedFromMemory$", bug{name: "17-refused-from-memory", what: "a rejection is decided from memory", breaks: "5 one verdict", says: "rejected from memory"}, "-rapid.nofailfile"),
	in("internal/producer", "^TestAcks$", bug{name: "18-acks-none", what: "acknowledgements are not asked for: acks none", breaks: "3 every request is answered", says: "of all in-sync replicas"}),
	protocol("ClaimedInFlight", bug{name: "20-fence-dropped", what: "the fence: the epoch is not compared when a batch commits", breaks: "2 one issuance", says: "committed, want: fenced"}),
	protocol("AnswerLost", bug{name: "21-batch-number-dropped", what: "the fence: the batch's number is not compared", breaks: "5 one verdict", says: "committed, want: fenced"}),
	protocol("CursorGone", bug{name: "22-cursor-does-not-raise", what: "a compare-and-set that finds nothing does not raise", breaks: "1 one request", says: "written"}),
	protocol("Retaken", bug{name: "23-grant-number-dropped", what: "`grant_no` is left out of the compare-and-set", breaks: "8 windows and states hold", says: "committed, want"}),
	protocol("RequestTwice", bug{name: "24-request-key-dropped", what: "`issuances_request_key` is dropped", breaks: "2 one issuance", says: "committed, want"}),
	protocol("PlaceTwice", bug{name: "25-place-key-dropped", what: "`issuances_pkey` is dropped", breaks: "1 one request", says: "committed, want"}),
	protocol("StaleDecision", bug{name: "26-stale-decision", what: "a decision is committed however old it is", breaks: "8 windows hold", says: "a decision of a second ago"}),
	protocol("ReadAgain", bug{name: "27-border-moved-back", what: "`next_offset` goes back when deliveries are read again", breaks: "the gate", says: "decided up to"}),
	protocol("FilledMeanwhile", bug{name: "28-pool-lock-not-taken", what: "a batch that refuses does not lock the pool", breaks: "7 no false \"exhausted\"", says: "nobody waited"}),
	protocol("FilledMeanwhile", bug{name: "29-lock-and-read-in-one", what: "the pool's lock and what it guards are read in one statement", breaks: "7 no false \"exhausted\"", says: "the code that was there"}),
	protocol("ArchivedMeanwhile", bug{name: "30-refill-without-lock", what: "codes are taken ahead without the pool's lock", breaks: "8 states hold", says: "archived pool are taken ahead"}),
	protocol("CreatedMeanwhile", bug{name: "31-name-lock-not-taken", what: "a pool that is being made is said not to be", breaks: "8 states hold", says: "nobody waited"}),
	protocol("IssuedMeanwhile", bug{name: "32-issue-not-looked-for", what: "a rejection without looking for the stored issue under the locks", breaks: "5 one verdict", says: "want the code that was issued"}),
	protocol("HeldByOthers", bug{name: "33-held-not-counted", what: "what others hold is not counted before \"exhausted\"", breaks: "7 no false \"exhausted\"", says: "while another holds"}),
	protocol("Revoked", bug{name: "34-not-revoked", what: "a pool is archived and its buffers are not handed back", breaks: "8 states hold", says: "committed, want"}),
	protocol("BlockedInFlight", bug{name: "35-run-not-locked", what: "a code is taken out of a run that a batch in flight issues it from", breaks: "6 exact stock", says: "was taken out of the stock"}),
	protocol("GateClosed", bug{name: "36-gate-ignored", what: "batches commit while the gate is closed", breaks: "1 one request", says: "committed, want"}),
	protocol("Frozen", bug{name: "37-predecessor-left", what: "a takeover leaves a frozen predecessor its locks", breaks: "the service goes on", says: "predecessor is in the way"}),
	protocol("RedeemedMeanwhile", bug{name: "38-code-lock-not-taken", what: "a redemption does not lock its code, and the unique key is dropped", breaks: "9 redemptions hold", says: "nobody waited"}),
	protocol("FreeRunLocked", bug{name: "39-free-run-waited-for", what: "a batch under locks waits for a free run that another has locked", breaks: "the service goes on", says: "a lock was not had in time"}),
	crash("notices.judge", "killed after", bug{name: "40-notice-outside", what: "a low pool is told of outside the transaction that remembers it", breaks: "10 low is told once", says: "rule told"}),
	crash("byhand.issue", "killed after", bug{name: "41-by-hand-told-outside", what: "an issue by hand is told of outside its transaction", breaks: "3 every request is answered", says: "rule by_hand"}),
	crash("outbox.publish", "killed before", bug{name: "42-outbox-forgotten-first", what: "events leave the outbox before they are published", breaks: "10 low is told once", says: "BROKEN"}),
	in("internal/consumer", "^TestRedeemedBeforeOffset$", bug{name: "43-redeemed-offset-first", what: "the offset of redemptions moves before their outcomes are published", breaks: "9 redemptions hold", says: "and nothing is published"}),
	protocol("Retaken", bug{name: "44-write-past-its-point", what: "a write goes past the register of crash points", breaks: "the crash matrix is whole", says: "read-only transaction"}),
	auditor("^TestBroken$/^PlaceTwice$", bug{name: "50-auditor-counts-wrong", what: "the auditor overlooks a code that two requests have", breaks: "1 one request", says: "1 place"}),
	auditor("^TestBroken$/^Unanswered$", bug{name: "51-auditor-looks-away", what: "the auditor overlooks a request without an answer", breaks: "3 every request is answered", says: "3 answer"}),
	auditor("^TestRedemptionsBroken$", bug{name: "52-auditor-misses-double", what: "the auditor overlooks a code redeemed twice", breaks: "9 redemptions hold", says: "9 once"}),
}
