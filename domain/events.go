package domain

// The event types of this release. A name, once written, never changes its
// meaning; a change is a new version with an upcaster.
const (
	ConnectionOpened   EventType = "connection.opened.v1"
	ConnectionIdled    EventType = "connection.idled.v1"
	ConnectionResumed  EventType = "connection.resumed.v1"
	ConnectionClosed   EventType = "connection.closed.v1"
	ConnectionOrigin   EventType = "connection.origin.v1"
	TrafficRecorded    EventType = "traffic.recorded.v1"
	TrafficReceived    EventType = "traffic.received.v1"
	PreferenceSet      EventType = "preference.set.v1"
	SubjectRestricted  EventType = "subject.restricted.v1"
	ConsentGranted     EventType = "consent.granted.v1"
	ConsentWithdrawn   EventType = "consent.withdrawn.v1"
	ConsentCarried     EventType = "consent.carried.v1"
	RequestReceived    EventType = "request.received.v1"
	RequestVerified    EventType = "request.verified.v1"
	RequestDecided     EventType = "request.decided.v1"
	RequestReceipted   EventType = "request.receipted.v1"
	RequestCompleted   EventType = "request.completed.v1"
	RequestCarried     EventType = "request.carried.v1"
	AccessOpened       EventType = "access.opened.v1"
	ActPerformed       EventType = "act.performed.v1"
	StreamRested       EventType = "stream.rested.v1"
	NodeOpened         EventType = "node.opened.v1"
	NodeRenewed        EventType = "node.renewed.v1"
	NodeClosed         EventType = "node.closed.v1"
	TimeNoted          EventType = "time.noted.v1"
	ConnectionRefused  EventType = "connection.refused.v1"
	GapRecorded        EventType = "gap.recorded.v1"
	LateRecorded       EventType = "late.recorded.v1"
	HoldPlaced         EventType = "hold.placed.v1"
	HoldCarried        EventType = "hold.carried.v1"
	HoldReleased       EventType = "hold.released.v1"
	DestructionBegun   EventType = "destruction.begun.v1"
	DestructionDone    EventType = "destruction.done.v1"
	DestructionCarried EventType = "destruction.carried.v1"
	BucketDisposed     EventType = "bucket.disposed.v1"
	SubjectDisposed    EventType = "subject.disposed.v1"
	StreamDisposed     EventType = "stream.disposed.v1"
	RetentionRan       EventType = "retention.ran.v1"
	JournalRecorded    EventType = "journal.recorded.v1"
	JournalMirrored    EventType = "journal.mirrored.v1"
	PolicyRevised      EventType = "policy.revised.v1"
	CheckpointSigned   EventType = "checkpoint.signed.v1"
)

// Events is the table of this release: every event type with its facts, its
// sealed fields and its upcaster. What is not in it cannot be recorded.
var Events = builtin()

func builtin() Table {
	t, err := NewTable(append(append(append(connectionEvents(), personEvents()...), ledgerEvents()...), destructionEvents()...)...)
	if err != nil {
		panic(err) // a mistake in this file; every test would show it
	}
	return t
}

func need(name string, k FactKind) FactSpec  { return FactSpec{Name: name, Kind: k, Required: true} }
func allow(name string, k FactKind) FactSpec { return FactSpec{Name: name, Kind: k} }

// captured fields are recorded only where a class of the policy lists them.
func captured(names ...string) []FieldSpec { return fieldSpecs(true, names) }

// own fields always belong to their event.
func own(names ...string) []FieldSpec { return fieldSpecs(false, names) }

func fieldSpecs(byPolicy bool, names []string) []FieldSpec {
	specs := make([]FieldSpec, len(names))
	for i, n := range names {
		specs[i] = FieldSpec{Name: n, Captured: byPolicy}
	}
	return specs
}

// connectionEvents are what the gateway records.
func connectionEvents() []EventSpec {
	pool, conn := need("pool", FactName), need("connection", FactUUID)
	both := []FactSpec{pool, conn}
	return []EventSpec{
		{Type: ConnectionOpened, Body: BodyRecord, Facts: []FactSpec{pool, conn, allow("tls", FactInt), allow("continues", FactBool)}, Fields: captured("opened_at")},
		{Type: ConnectionIdled, Body: BodyRecord, Facts: both, Fields: captured("idled_at")},
		{Type: ConnectionResumed, Body: BodyRecord, Facts: both, Fields: captured("resumed_at")},
		{
			Type: ConnectionClosed, Body: BodyRecord,
			Facts:  []FactSpec{pool, conn, allow("close", FactInt), allow("reason", FactName)},
			Fields: captured("closed_at", "duration", "bytes", "close_reason", "control_frames"),
		},
		{Type: ConnectionOrigin, Body: BodyRecord, Facts: both, Fields: captured("ip", "user_agent", "origin")},
		{Type: TrafficRecorded, Body: BodyTraffic, Facts: both, Fields: captured("at", "direction", "opcode", "size")},
		{Type: TrafficReceived, Body: BodyTraffic, Facts: []FactSpec{pool}, Fields: captured("at", "direction", "opcode", "size")},
	}
}

// personEvents are about a person's choices, requests and who looked.
func personEvents() []EventSpec {
	request := need("request", FactUUID)
	return []EventSpec{
		{Type: PreferenceSet, Class: ClassPreferences, Body: BodyRecord, Fields: own("at", "name", "value")},
		{Type: SubjectRestricted, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{allow("restricted", FactBool)}, Fields: own("at", "ground")},
		{Type: ConsentGranted, Class: ClassConsent, Body: BodyRecord, Facts: []FactSpec{need("purpose", FactName)}, Fields: own("at", "method", "notice", "choice")},
		{Type: ConsentWithdrawn, Class: ClassConsent, Body: BodyRecord, Facts: []FactSpec{need("purpose", FactName)}, Fields: own("at", "method")},
		{Type: ConsentCarried, Class: ClassConsent, Body: BodyRecord, Facts: []FactSpec{need("purpose", FactName)}, Fields: own("at", "method", "notice", "choice")},
		{Type: RequestReceived, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request, need("kind", FactName)}, Fields: own("at", "channel", "asked", "reason")},
		{Type: RequestVerified, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request}, Fields: own("at", "method", "role")},
		{Type: RequestDecided, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request, allow("outcome", FactName)}, Fields: own("at", "ground", "erase", "withheld")},
		{Type: RequestReceipted, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request, need("receipt", FactUUID)}, Fields: own("receipt")},
		{Type: RequestCompleted, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request}, Fields: own("at")},
		{Type: RequestCarried, Class: ClassRights, Body: BodyRecord, Facts: []FactSpec{request, need("kind", FactName)}, Fields: own("at", "file")},
		{Type: AccessOpened, Class: ClassAccess, Body: BodyRecord, Fields: own("at", "role", "purpose", "classes")},
		{Type: ActPerformed, Class: ClassActs, Body: BodyRecord, Facts: []FactSpec{need("action", FactName)}, Fields: own("at", "role", "purpose", "object")},
		{Type: StreamRested, Body: BodyNone},
	}
}

// ledgerEvents are notes and documents of the ledger itself.
func ledgerEvents() []EventSpec {
	pool := need("pool", FactName)
	return []EventSpec{
		{Type: NodeOpened, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{need("writer", FactUUID), allow("version", FactName), allow("store", FactName), allow("keys", FactName)}},
		{Type: NodeRenewed, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{need("writer", FactUUID)}},
		{Type: NodeClosed, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{need("writer", FactUUID)}},
		{Type: TimeNoted, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{need("at", FactInt)}},
		{Type: ConnectionRefused, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{pool, need("reason", FactName), need("count", FactInt)}},
		{Type: GapRecorded, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{pool, need("from", FactInt), need("to", FactInt), allow("connections", FactInt), allow("bytes", FactInt)}},
		{Type: LateRecorded, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{allow("dropped", FactList), allow("unsure", FactList)}},
		{Type: JournalMirrored, Class: ClassNode, Body: BodyNone, Facts: []FactSpec{need("writer", FactUUID), need("lines", FactInt)}},
		{Type: JournalRecorded, Class: ClassJournal, Body: BodyDocument},
		{Type: PolicyRevised, Class: ClassPolicy, Body: BodyDocument, Facts: []FactSpec{need("revision", FactInt), need("digest", FactName)}},
		{Type: CheckpointSigned, Class: ClassCheckpoint, Body: BodyDocument},
	}
}

// destructionEvents are the one order of holds, erasures and expiries, and the
// records of what was disposed of.
func destructionEvents() []EventSpec {
	hold := []FactSpec{need("hold", FactUUID), allow("ref", FactUUID), allow("classes", FactList), allow("buckets", FactList), allow("review", FactName)}
	named := []FactSpec{
		need("kind", FactName), need("command", FactUUID), allow("ref", FactUUID), allow("block", FactUUID),
		allow("classes", FactList), allow("buckets", FactList), allow("keys", FactInt), allow("journal", FactInt),
	}
	totals := allow("totals", FactList)
	return []EventSpec{
		{Type: HoldPlaced, Class: ClassDestruction, Body: BodyNone, Facts: hold},
		{Type: HoldCarried, Class: ClassDestruction, Body: BodyNone, Facts: hold},
		{Type: HoldReleased, Class: ClassDestruction, Body: BodyNone, Facts: []FactSpec{need("hold", FactUUID)}},
		{Type: DestructionBegun, Class: ClassDestruction, Body: BodyNone, Facts: named},
		{Type: DestructionDone, Class: ClassDestruction, Body: BodyNone, Facts: named},
		{Type: DestructionCarried, Class: ClassDestruction, Body: BodyNone, Facts: named},
		{Type: BucketDisposed, Class: ClassRetention, Body: BodyNone, Facts: []FactSpec{need("kind", FactName), need("class", FactName), need("tier", FactName), need("bucket", FactName), totals, allow("holds", FactList)}},
		{Type: SubjectDisposed, Class: ClassRetention, Body: BodyNone, Facts: []FactSpec{need("commands", FactList), totals, allow("holds", FactList)}},
		{Type: StreamDisposed, Class: ClassRetention, Body: BodyNone, Facts: []FactSpec{need("stream", FactName), need("revision", FactInt)}},
		{Type: RetentionRan, Class: ClassRetention, Body: BodyNone, Facts: []FactSpec{need("due", FactInt), need("destroyed", FactInt)}},
	}
}
