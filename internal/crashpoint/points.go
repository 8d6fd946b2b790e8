package crashpoint

import "time"

// How long kafka-go waits for an answer, where nobody ends the wait before.
const (
	producePatience = 10 * time.Second
	offsetPatience  = 5 * time.Second
	topicsPatience  = 10 * time.Second
)

const (
	nothing    = "nothing"
	askedAgain = "who asked asks again"
	leaseHeir  = "whoever has the lease next"
)

// Starting.
var (
	Migrate = add(Point{Name: "starting.migrate", To: PostgreSQL, Write: "the schema",
		Before: "the old schema", After: "the new schema, which the old program can work on",
		Repair: "whoever runs `promopool migrate` again: each step is one transaction, and what is there is passed over"})
	CreateTopics = add(Point{Name: "starting.topics", To: Kafka, Write: "the topics that are absent", Patience: topicsPatience,
		Before: "some topics are absent", After: "the topics are there, with or without leaders",
		Repair: "the next process that starts: it creates what is absent and waits for leaders"})
)

// Issuing.
var (
	SetPartitions = add(Point{Name: "issuing.partitions", To: PostgreSQL, Write: "how many partitions the service has",
		Before: nothing, After: "the number, which only bounds the shares that buffers get",
		Repair: "the next claim writes it again"})
	Claim = add(Point{Name: "issuing.claim", To: PostgreSQL, Write: "the partition's epoch and worker",
		Before: "the partition is its former owner's", After: "nobody of an older epoch commits any more; what the partition holds stays its own",
		Repair: "whoever the group assigns it to next claims it anew"})
	Resolve = add(Point{Name: "issuing.resolve", To: PostgreSQL, Write: "the epoch, taken over from oneself",
		Before: "it is not known whether the last batch is decided", After: "nothing of the old epoch commits any more, so it is known",
		Repair: "the same process tries again, and knows by the worker's name that an epoch is its own; else the next owner claims"})
	Refill = add(Point{Name: "issuing.refill", To: PostgreSQL, Write: "codes granted to a partition",
		Before: nothing, After: "the partition holds codes that nobody has in memory",
		Repair: "the next reading of what the partition holds: at a claim, after a cursor not as remembered, or when the answer was lost"})
	GiveBack = add(Point{Name: "issuing.give_back", To: PostgreSQL, Write: "what a partition holds of a pool, handed back",
		Before: "the partition holds it", After: "it is free",
		Repair: "the same process tries again or goes on with what it holds; the owner's next commit finds out by `grant_no`"})
	Commit = add(Point{Name: "issuing.commit", To: PostgreSQL, Write: "a group of batches: fence, cursors, issuances, verdicts",
		Before: nothing, After: "the decision; nobody has heard of it",
		Repair: "the same process *resolves*: it takes the partition over from itself, so that nothing of the old epoch can commit any more, and treats the records as read again. Another owner reads them again, and answers what was decided"})
	CommitLocked = add(Point{Name: "issuing.commit_locked", To: PostgreSQL, Write: "the same under the pools' locks: rejections, scarce pools, and who is told of them",
		Before: nothing, After: "the decision; nobody has heard of it",
		Repair: "as `issuing.commit`"})
	PublishOutcomes = add(Point{Name: "issuing.publish", To: Kafka, Write: "outcomes", Patience: producePatience,
		Before: "decided, and nobody knows", After: "everybody knows; the offset is behind",
		Repair: "the same process repeats, until it is acknowledged; the next owner reads the records again, finds them in a known range, and publishes the same bytes under the same `ce_id`"})
	PublishDeadLetters = add(Point{Name: "issuing.dead_letter", To: Kafka, Write: "what is no request", Patience: producePatience,
		Before: "nobody knows", After: "the letter is there; the offset is behind",
		Repair: "as `issuing.publish`: decoding the same bytes again gives the same letter"})
	CommitOffsets = add(Point{Name: "issuing.offset", To: Kafka, Write: "the group's offsets of its partitions", Patience: offsetPatience,
		Before: "decided and published", After: "the records are not read again",
		Repair: "the same process within 0.1 s; the next owner reads the records again and gives the same answers once more. Readers drop repeats by `ce_id`"})
)

// The gate, which keeps a database from deciding that has lost what was published.
var (
	CloseGate = add(Point{Name: "gate.close", To: PostgreSQL, Write: "the gate, by the outcomes of a partition",
		Before: "the gate is open; the partition decides nothing before it has looked", After: "nothing is issued by anybody",
		Repair: "whoever owns the partition looks again before it decides"})
	CloseGateBeyond = add(Point{Name: "gate.close_outbox", To: PostgreSQL, Write: "the gate, if the topics hold an event number that was never given",
		Before: "nothing is carried before the look is answered", After: "nothing is issued by anybody, or the database is not behind",
		Repair: "the next look, every 10 s and in every process that starts"})
	CloseGateFor = add(Point{Name: "gate.close_redeeming", To: PostgreSQL, Write: "the gate, by the outcomes of redemptions",
		Before: "the gate is open; the partition judges nothing before it has looked", After: "nothing is issued or redeemed by anybody",
		Repair: "whoever owns the partition looks again before it judges"})
)

// Files of codes.
var (
	BeginImport = add(Point{Name: "imports.begin", To: PostgreSQL, Write: "an upload that nobody sees",
		Before: nothing, After: "an empty upload that nobody sees",
		Repair: "the sender sends it again; what is left is swept"})
	AppendImport = add(Point{Name: "imports.append", To: PostgreSQL, Write: "a part of an upload",
		Before: "the parts before it", After: "this part too",
		Repair: "the same process tries again, and passes over a part that is there; else the sender sends the file again, and what is left is swept"})
	SubmitImport = add(Point{Name: "imports.submit", To: PostgreSQL, Write: "the upload, handed to the runners",
		Before: "an upload that nobody sees, swept later", After: "a task, which the runners take",
		Repair: "the sender looks at the pool's tasks and sends the file again if there is none; its codes are then known"})
	AbandonImport = add(Point{Name: "imports.abandon", To: PostgreSQL, Write: "an upload, given up",
		Before: "an upload that nobody sees", After: "parts without an upload",
		Repair: "the sweep, every minute"})
	CancelImport = add(Point{Name: "imports.cancel", To: PostgreSQL, Write: "the end of a task",
		Before: "the task goes on", After: "the chunk in flight finds at its end that the task has ended, and changes nothing",
		Repair: askedAgain + "; a cancelled task can be cancelled again"})
	ClaimImport = add(Point{Name: "imports.claim", To: PostgreSQL, Write: "a task, taken up",
		Before: "the task waits", After: "it is running, and nobody works on it",
		Repair: "whichever process gets the lock of the pool's imports next: it ends with its connection"})
	NumberLots = add(Point{Name: "imports.number", To: PostgreSQL, Write: "numbers for new lots, of a sequence",
		Before: nothing, After: "numbers that no lot bears",
		Repair: "nobody has to: numbers may be missing"})
	CommitChunk = add(Point{Name: "imports.chunk", To: PostgreSQL, Write: "a chunk of a file: codes, refusals, the place in the file",
		Before: "whole chunks, each with its place in the file", After: "this one too",
		Repair: "the session ends with its connection, and whichever process gets the lock goes on behind the last chunk"})
	RehearseChunk = add(Point{Name: "imports.rehearse", To: PostgreSQL, Write: "a chunk of a dry run",
		Before: "whole chunks counted", After: "this one too",
		Repair: "as `imports.chunk`"})
	MoveCodes = add(Point{Name: "imports.move", To: PostgreSQL, Write: "some thousand codes, moved to other dates",
		Before: "the codes lie where they lay, and are on the task's list", After: "they have moved, are off the list and counted; what they left lies in pieces",
		Repair: "the session ends, and the next goes on with what is on the list"})
	LayAnew = add(Point{Name: "imports.lay_anew", To: PostgreSQL, Write: "pieces, laid down anew as one lot",
		Before: "everything is true; refills take longer", After: "each code is in its old lot or in its new one, with the same dates",
		Repair: "the import at its next step; after its end, or when it was cancelled, `Gather` within a minute"})
	FailImport = add(Point{Name: "imports.fail", To: PostgreSQL, Write: "the failure of a task",
		Before: "the task is running, and nobody works on it", After: "the task has failed",
		Repair: "the next session meets the same failure"})
	LetFileGo = add(Point{Name: "imports.let_go", To: PostgreSQL, Write: "that a file is kept no longer",
		Before: "the file is kept", After: "nobody gets it, and its parts are there",
		Repair: "the sweep, every minute"})
	DropParts = add(Point{Name: "imports.drop_parts", To: PostgreSQL, Write: "parts of a file, dropped",
		Before: "they are there, and nobody gets the file", After: "some are gone",
		Repair: "the sweep, every minute"})
	MarkFileDropped = add(Point{Name: "imports.file_dropped", To: PostgreSQL, Write: "that a file is gone",
		Before: "its parts are gone, its mark is not", After: "the file is gone",
		Repair: "the sweep, every minute"})
	DropMoves = add(Point{Name: "imports.drop_moves", To: PostgreSQL, Write: "what is left on a task's list of moves, dropped",
		Before: "the task has ended, and its list is there", After: "some of it is gone",
		Repair: "the sweep, every minute"})
	DropSeen = add(Point{Name: "imports.drop_seen", To: PostgreSQL, Write: "the codes remembered of a file, dropped",
		Before: "the task has ended, and they are there", After: "some are gone",
		Repair: "the sweep, every minute"})
	MarkSeenDropped = add(Point{Name: "imports.seen_dropped", To: PostgreSQL, Write: "that none of them is left",
		Before: "they are gone, the mark is not", After: "the task is done with",
		Repair: "the sweep, every minute"})
)

// Pools, campaigns and staff.
var (
	CreateCampaign = add(Point{Name: "pools.create_campaign", To: PostgreSQL, Write: "a campaign, with its history",
		Before: nothing, After: "the campaign", Repair: staffRepair})
	RenameCampaign = add(Point{Name: "pools.rename_campaign", To: PostgreSQL, Write: "a campaign's name, with its history",
		Before: "the old name", After: "the new one", Repair: staffRepair})
	DeleteCampaign = add(Point{Name: "pools.delete_campaign", To: PostgreSQL, Write: "a campaign without pools, removed",
		Before: "the campaign", After: "it is gone", Repair: staffRepair})
	CreatePool = add(Point{Name: "pools.create", To: PostgreSQL, Write: "a draft, with its history",
		Before: nothing, After: "the draft", Repair: staffRepair})
	EditPool = add(Point{Name: "pools.edit", To: PostgreSQL, Write: "settings, with the history and what they ask to be told",
		Before: "the old settings", After: "the new ones; buffers that they make wrong are handed back", Repair: staffRepair})
	MovePool = add(Point{Name: "pools.move", To: PostgreSQL, Write: "a launch or an archiving, with the history and what it asks to be told",
		Before: "the old state", After: "the new one, for every request from then on", Repair: staffRepair})
	DeletePool = add(Point{Name: "pools.delete", To: PostgreSQL, Write: "a draft, removed",
		Before: "the draft", After: "it is gone; its codes and files lie about", Repair: staffRepair + ". Housekeeping removes what lies about"})
	DeleteCodes = add(Point{Name: "pools.delete_codes", To: PostgreSQL, Write: "codes whose pool is gone, removed",
		Before: "they lie about, and nobody finds them", After: "some are gone", Repair: "housekeeping, every 10 minutes"})
	Generate = add(Point{Name: "pools.generate", To: PostgreSQL, Write: "a lot of generated codes, with its task",
		Before: nothing, After: "the codes, and the task under the caller's key", Repair: "the same process looks for the key and goes on; a later repeat with the key does too"})
	Replenish = add(Point{Name: "pools.replenish", To: PostgreSQL, Write: "a lot of generated codes for a pool that has few, or why there are no more",
		Before: "the shortage", After: "the codes, or the reason", Repair: "whoever looks next, every 0.5 s: where codes were made there is no shortage"})
	CreateStaff = add(Point{Name: "pools.create_staff", To: PostgreSQL, Write: "a member of staff, with the history",
		Before: nothing, After: "the member", Repair: staffRepair})
	EditStaff = add(Point{Name: "pools.edit_staff", To: PostgreSQL, Write: "a member of staff, with the history",
		Before: "as it was", After: "as it is", Repair: staffRepair})
	DeleteStaff = add(Point{Name: "pools.delete_staff", To: PostgreSQL, Write: "a member of staff, removed",
		Before: "the member", After: "it is gone, with its subscriptions", Repair: staffRepair})
	Subscribe = add(Point{Name: "pools.subscribe", To: PostgreSQL, Write: "a subscription, made or ended, with the history",
		Before: "as it was", After: "as it is", Repair: staffRepair})
)

const staffRepair = "the same process looks whether its change is there, and makes it or goes on; else the client is told 503 `unsure`, and looks itself"

// By hand.
var (
	IssueByHand = add(Point{Name: "byhand.issue", To: PostgreSQL, Write: "an issue by hand: the code's place, the issuance, the history, the event",
		Before: nothing, After: "issued; its event waits in the outbox",
		Repair: "the same process looks for the stored issuance and goes on; a later repeat does too"})
	BlockCode = add(Point{Name: "byhand.block", To: PostgreSQL, Write: "a block or its end, with the history",
		Before: "as it was", After: "as it is; who holds the code's run finds out by `grant_no`",
		Repair: "the same process tries again: to block what is blocked changes nothing"})
)

// Redeeming.
var (
	Redeem = add(Point{Name: "redeeming.commit", To: PostgreSQL, Write: "answers, what leaves the stock, the counters, and for HTTP the events",
		Before: nothing, After: "the answer; nobody has heard of it",
		Repair: "the same process asks again, and finds the first answer or gives it; the next owner of the partition does too. Over HTTP: 503 `unsure`, and the client does so, with the same `redemption_id`"})
	RollBack = add(Point{Name: "redeeming.roll_back", To: PostgreSQL, Write: "a redemption, rolled back, with its event",
		Before: "the redemption stands", After: "it is rolled back; its event waits in the outbox",
		Repair: "the same process looks and goes on; to roll back again changes nothing"})
	PublishRedemptions = add(Point{Name: "redeeming.publish", To: Kafka, Write: "answers of redemptions", Patience: producePatience,
		Before: "judged, and nobody knows", After: "everybody knows; the offset is behind",
		Repair: "the same process repeats; the next owner reads the events again, finds the answers, and publishes the same bytes under the same `ce_id`"})
	PublishRedemptionLetters = add(Point{Name: "redeeming.dead_letter", To: Kafka, Write: "what is no redemption", Patience: producePatience,
		Before: "nobody knows", After: "the letter is there; the offset is behind", Repair: "as `redeeming.publish`"})
	CommitRedemptionOffsets = add(Point{Name: "redeeming.offset", To: Kafka, Write: "the group's offsets of its partitions", Patience: offsetPatience,
		Before: "judged and published", After: "the events are not read again",
		Repair: "the same process within 0.1 s; the next owner gives the same answers once more. Readers drop repeats by `ce_id`"})
	PruneRedemptions = add(Point{Name: "redeeming.prune", To: PostgreSQL, Write: "first rejections older than 30 days, dropped",
		Before: "they are remembered", After: "some are not", Repair: "housekeeping, every 10 minutes"})
	PruneRefused = add(Point{Name: "redeeming.prune_refused", To: PostgreSQL, Write: "other rejections older than 30 days, dropped",
		Before: "they are remembered", After: "some are not", Repair: "housekeeping, every 10 minutes"})
)

// Notices, the outbox, and leases.
var (
	WatchUnwatched = add(Point{Name: "notices.watch", To: PostgreSQL, Write: "that a pool is watched from now on",
		Before: "nobody watches the pool", After: "it is watched", Repair: leaseHeir + ", every second"})
	JudgeStock = add(Point{Name: "notices.judge", To: PostgreSQL, Write: "a pool's state, the crossing, who is told, the events",
		Before: "nothing of the crossing", After: "the crossing with all that is told of it; its events wait in the outbox",
		Repair: "whoever watches next looks, and tells what is not told"})
	ReportUse = add(Point{Name: "notices.use", To: PostgreSQL, Write: "which pools a process has issued from",
		Before: "a pool of very many runs is looked at later", After: "it is looked at every second", Repair: "within half a minute it is its turn"})
	ForgetUse = add(Point{Name: "notices.forget_use", To: PostgreSQL, Write: "reports of processes that are gone, dropped",
		Before: "they are there, and too old to count", After: "they are gone", Repair: leaseHeir})
	PublishEvents = add(Point{Name: "outbox.publish", To: Kafka, Write: "events of the outbox", Patience: producePatience,
		Before: "committed, and nobody knows", After: "everybody knows; the rows are still there",
		Repair: "whoever carries the outbox next publishes them, again or for the first time, byte for byte. Readers drop repeats by `ce_id`"})
	DeletePublished = add(Point{Name: "outbox.delete", To: PostgreSQL, Write: "events that Kafka has, removed",
		Before: "published, the rows still there", After: "the rows are gone", Repair: "as `outbox.publish`"})
	TakeLease = add(Point{Name: "outbox.take_lease", To: PostgreSQL, Write: "who does the work that one process does",
		Before: "the work is another's, or nobody's", After: "it is this process's for 2 s",
		Repair: "the others, when the lease is over"})
	DropLease = add(Point{Name: "outbox.drop_lease", To: PostgreSQL, Write: "a lease, given back",
		Before: "nobody does the work until the lease is over", After: "the next may take it at once", Repair: "the others, when the lease is over"})
)

// Customers.
var (
	ListCodes = add(Point{Name: "customers.list", To: PostgreSQL, Write: "issued codes, listed under their customers",
		Before: "they wait in `unlisted`, and are found there", After: "they are listed, and wait no more", Repair: leaseHeir})
	BeginErasure = add(Point{Name: "customers.begin_erasure", To: PostgreSQL, Write: "that a customer is to be erased",
		Before: nothing, After: "the erasure, which nobody works on yet", Repair: leaseHeir + "; who asked may ask again, and is told of the same erasure"})
	ErasePiece = add(Point{Name: "customers.erase", To: PostgreSQL, Write: "some rows of a customer, with the pseudonym in its place",
		Before: "rows have the customer's id", After: "some of them have the pseudonym", Repair: leaseHeir + " looks for rows that have the id"})
	MarkErasure = add(Point{Name: "customers.mark_erasure", To: PostgreSQL, Write: "what the topics held when the rows were erased",
		Before: "the rows are erased; what was read before may bring the id back", After: "the same, and it is known until when",
		Repair: leaseHeir + " looks at the topics again; the first marks stay"})
	FinishErasure = add(Point{Name: "customers.finish_erasure", To: PostgreSQL, Write: "the end of an erasure: the id is forgotten",
		Before: "the rows are erased, and the erasure has the id", After: "the id is nowhere", Repair: leaseHeir})
)

// PruneBatches is housekeeping's.
var PruneBatches = add(Point{Name: "issuing.prune", To: PostgreSQL, Write: "decided batches that the log can't deliver again, dropped",
	Before: "they are there, and of no use", After: "they are gone", Repair: "housekeeping, every 10 minutes"})
