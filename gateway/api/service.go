// Package api is the admin HTTP API of Lethe, under /v1: its wire types, the
// server over a Service, and the client that the command uses. What scripts may
// rely on is listed in docs/ARCHITECTURE.md §8; more fields may be added, none is
// taken away.
//
// Every request carries a principal (a named token), a role and a purpose. They
// go, sealed, into every event that the request causes.
package api

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// The roles of a principal.
const (
	RoleOperator = "operator"
	RoleAuditor  = "auditor"
	RoleLegal    = "legal"
	RoleSubject  = "subject"
)

// A Caller is who asks, in which role, and why.
type Caller struct {
	Principal string `json:"principal"`
	Role      string `json:"role"`
	Purpose   string `json:"purpose"`
}

// A Service does the work. Its errors are told apart by the table in errors.go.
type Service interface {
	// Authenticate returns the caller of a token, without a purpose.
	Authenticate(ctx context.Context, token string) (Caller, error)

	SubjectShow(ctx context.Context, c Caller, id string) (SubjectShow, error)
	SubjectList(ctx context.Context, c Caller, cursor string, limit int) (SubjectList, error)
	// SubjectExport writes a zip; nothing is written before the access is recorded.
	SubjectExport(ctx context.Context, c Caller, id string, w io.Writer) error

	// Erase carries a request out, or finishes it. If it fails after the request was
	// noted it returns both: a result whose state is StatePending, and the error.
	Erase(ctx context.Context, c Caller, r EraseRequest) (EraseResult, error)
	// Receipt returns a receipt as it stands in the log, by its id.
	Receipt(ctx context.Context, c Caller, id string) (ReceiptFile, error)

	RetentionStatus(ctx context.Context, c Caller) (RetentionStatus, error)
	RetentionRun(ctx context.Context, c Caller, dryRun bool) (RetentionRun, error)
	// Dispose removes the ciphertext of destroyed keys, or says what there is of it.
	Dispose(ctx context.Context, c Caller, dryRun bool, p Progress) (Disposal, error)

	Views(ctx context.Context, c Caller) (ViewList, error)
	Query(ctx context.Context, c Caller, view, cursor string, limit int) (ViewRows, error)
	Digest(ctx context.Context, c Caller, view string) (ViewDigest, error)
	// Rebuild builds views anew from the log; no name means all of them.
	Rebuild(ctx context.Context, c Caller, names []string, p Progress) (Rebuilt, error)
	// Replay builds the views as of a moment into the SQLite file at path, which does
	// not exist before.
	Replay(ctx context.Context, c Caller, asOf time.Time, path string, p Progress) (Replay, error)

	KeysStatus(ctx context.Context, c Caller) (KeysStatus, error)
	// TrustClock lets an operator vouch for the clock of this machine by the time that
	// they see on another one; it is refused if they are a minute apart.
	TrustClock(ctx context.Context, c Caller, now time.Time) (KeysStatus, error)
	// RestoreCheck destroys again what the erasure journal names, and puts what only
	// this node's journal file names into the log. It notes destructions again that the
	// log lost with its notes, and ships this node's outbox to a log that went back. lost, if it is not empty, is the
	// hash by which a journal file is named that is lost: two principals say so.
	RestoreCheck(ctx context.Context, c Caller, lost string) (RestoreCheck, error)

	TokenCreate(ctx context.Context, c Caller, name, role string) (Token, error)
	TokenList(ctx context.Context, c Caller) (TokenList, error)
	TokenRevoke(ctx context.Context, c Caller, name string) error

	// Nodes lists the processes that wrote to the log within 30 days.
	Nodes(ctx context.Context, c Caller) (NodeList, error)
	// NodeRetire names a silent node, or retires one that another principal named
	// within a day. If it is only named it returns both: a result whose state is
	// NodeNamed, and the error.
	NodeRetire(ctx context.Context, c Caller, writer string) (NodeRetirement, error)

	Doctor(ctx context.Context, c Caller) (Doctor, error)

	// Feed delivers the newest events for the console, as they are now, until ctx
	// ends: type, class, bucket, ref and readability, never content.
	Feed(ctx context.Context, c Caller, each func(FeedEvent) error) error
	// Ready reports why the process cannot take connections; nil if it can.
	Ready() error
}

// Progress is told how far long work has come; total 0 is unknown.
type Progress func(done, total int64)

// SubjectShow answers what is held about a person.
type SubjectShow struct {
	Subject     Subject     `json:"subject"`
	Connections Connections `json:"connections"`
	Holdings    []Holding   `json:"holdings"`
	// Position is how far the views had read; what is newer is not counted.
	Position uint64 `json:"position"`
	Lag      int64  `json:"lag"`
}

// A Subject is a person as the ledger knows them.
type Subject struct {
	Ref   string `json:"ref"`
	State string `json:"state"` // active, restricted, fenced, unknown
}

// Connections counts a person's connections.
type Connections struct {
	Open  int `json:"open"`
	Total int `json:"total"`
}

// A Holding is what is held of one person in one class, tier and bucket.
type Holding struct {
	Class    string `json:"class"`
	Tier     string `json:"tier"`
	Bucket   string `json:"bucket"`
	Scope    string `json:"scope"`
	Gen      int    `json:"gen"`
	Events   int64  `json:"events"`
	Records  int64  `json:"records"`
	First    string `json:"first"` // hour
	Last     string `json:"last"`  // hour
	Due      string `json:"due"`
	Readable string `json:"readable"` // present, erased, expired, held
}

// SubjectList is a page of refs.
type SubjectList struct {
	Subjects []Subject `json:"subjects"`
	Next     string    `json:"next,omitempty"` // cursor
}

// An EraseRequest asks for an erasure. Request alone finishes one.
type EraseRequest struct {
	ID      string    `json:"id,omitempty"` // external id; in the body, never in a URL
	Request string    `json:"request,omitempty"`
	Classes []string  `json:"classes,omitempty"`
	Purpose string    `json:"purpose,omitempty"`
	From    time.Time `json:"from,omitzero"`
	Before  time.Time `json:"before,omitzero"`
	Ground  string    `json:"ground,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Channel string    `json:"channel,omitempty"`
}

// StatePending is the state of an erasure that is not finished: something may
// still open. The same request again goes on with it.
const StatePending = "pending"

// An EraseResult answers an erasure. With the state pending it comes together
// with an error, and has no receipt.
type EraseResult struct {
	Request  string  `json:"request"`
	State    string  `json:"state"` // keys-destroyed, disposed, completed, pending, withheld
	Receipt  Receipt `json:"receipt"`
	Position uint64  `json:"position"`
}

// A Receipt is the part of a receipt that a person reads first.
type Receipt struct {
	ID            string   `json:"id"`
	Ground        string   `json:"ground"`
	Classes       []string `json:"classes"`
	Withheld      []string `json:"withheld"`
	Buckets       int      `json:"buckets"`
	KeysDestroyed int      `json:"keys_destroyed"`
	EffectiveAt   string   `json:"effective_at"`
	Signature     string   `json:"signature"`
}

// A ReceiptFile is a receipt as it stands in the log, with the public keys that
// verify it offline.
type ReceiptFile struct {
	Receipt json.RawMessage `json:"receipt"` // the stored bytes
	Ledger  string          `json:"ledger"`
	Keys    []PublicKey     `json:"keys"`
	Valid   bool            `json:"valid"`
}

// A PublicKey verifies receipts (Ed25519, base64).
type PublicKey struct {
	ID  string `json:"id"`
	Use string `json:"use"`
	Key []byte `json:"key"`
}

// RetentionStatus lists every bucket key by class.
type RetentionStatus struct {
	Classes []RetentionClass `json:"classes"`
}

// A RetentionClass is one class with its keys.
type RetentionClass struct {
	Class     string            `json:"class"`
	Retention string            `json:"retention"`
	Rule      string            `json:"rule"`
	Buckets   []RetentionBucket `json:"buckets"`
}

// A RetentionBucket is one retention key.
type RetentionBucket struct {
	Tier   string `json:"tier"`
	Bucket string `json:"bucket"`
	Due    string `json:"due"`
	State  string `json:"state"` // live, due, expired, held
}

// A RetentionRun tells which keys were, or would be, destroyed.
type RetentionRun struct {
	DryRun    bool     `json:"dry_run"`
	Destroyed []string `json:"destroyed"` // class/tier/bucket
}

// A Disposal tells what was, or would be, disposed of.
type Disposal struct {
	DryRun       bool   `json:"dry_run"`
	Destructions int    `json:"destructions"` // erasures and retirements
	Buckets      int    `json:"buckets"`      // expired ones
	Oldest       string `json:"oldest,omitempty"`
	Events       int64  `json:"events"`
	Records      int64  `json:"records"`
	Deleted      int    `json:"streams_deleted"`
	Truncated    int    `json:"streams_cut"`
	Retired      int    `json:"retired"` // refs of which nothing was left
}

// A ViewList lists the read models.
type ViewList struct {
	Views []View `json:"views"`
}

// A View is one read model.
type View struct {
	Name       string `json:"name"`
	Generation int64  `json:"generation"`
	Position   uint64 `json:"position"`
	Lag        int64  `json:"lag"` // events behind the log
	Rows       int64  `json:"rows"`
}

// ViewRows is a page of a view.
type ViewRows struct {
	View    string   `json:"view"`
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Next    string   `json:"next,omitempty"`
}

// A ViewDigest is SHA-256 over a view's rows in key order.
type ViewDigest struct {
	View     string `json:"view"`
	Position uint64 `json:"position"`
	Digest   string `json:"digest"`
}

// Rebuilt tells what was rebuilt.
type Rebuilt struct {
	Rebuilt []RebuiltView `json:"rebuilt"`
}

// A RebuiltView is one view's rebuild: its digest and the live one's at the same
// position, which is empty where the log had gone back behind the live one.
type RebuiltView struct {
	Name       string  `json:"name"`
	Generation int64   `json:"generation"`
	Events     int64   `json:"events"`
	Seconds    float64 `json:"seconds"`
	Position   uint64  `json:"position"`
	Digest     string  `json:"digest"`
	LiveDigest string  `json:"live_digest"`
}

// A Replay tells what a replay holds.
type Replay struct {
	AsOf     string         `json:"as_of"`
	NotedAt  string         `json:"noted_at"` // the time noted in the log that it stopped at
	Position uint64         `json:"position"`
	Events   int64          `json:"events"`
	Disposed map[string]int `json:"disposed,omitempty"` // what was disposed of since, by count
}

// A RestoreCheck tells what came back with a restored custodian and was destroyed
// again.
type RestoreCheck struct {
	Lines    uint64 `json:"lines"`     // of the erasure journal
	Behind   uint64 `json:"behind"`    // those that the custodian had not seen
	Put      int    `json:"put"`       // those that only this node's journal file had
	Subjects int    `json:"subjects"`  // persons, in one scope each
	Classes  int    `json:"classes"`   // keys of single classes
	Kept     int    `json:"kept"`      // kept bucket keys
	Linked   int    `json:"linked"`    // anonymous refs of persons
	Blocks   int    `json:"blocks"`    // of anonymous refs
	Buckets  int    `json:"buckets"`   // retention keys
	Rescued  int    `json:"preserved"` // bucket keys that a range left and that are kept again
	Noted    int    `json:"noted"`     // destructions whose notes the log had lost
	Outbox   int    `json:"outbox"`    // events of this node's outbox that are looked for in a log that went back
}

// KeysStatus tells how the custodian is.
type KeysStatus struct {
	Custodian string `json:"custodian"`
	State     string `json:"state"`            // ready, degraded, sealed
	Reason    string `json:"reason,omitempty"` // why it is degraded, and what to do
	Subjects  int64  `json:"subjects"`
	Buckets   int64  `json:"buckets"`
	Handles   int64  `json:"handles"`
	Blocks    int64  `json:"blocks"`
	Destroyed int64  `json:"destroyed"` // tags that the journal names
}

// A Token is shown once, when it is made.
type Token struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Token   string `json:"token,omitempty"`
	Created string `json:"created"` // day
}

// TokenList lists tokens without their secrets.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// Doctor lists findings.
type Doctor struct {
	Findings []Finding `json:"findings"`
}

// A Finding is one thing that an operator should know.
type Finding struct {
	Level   string `json:"level"` // ok, note, warning, error
	Subject string `json:"subject"`
	Message string `json:"message"`
}

// A FeedEvent is one event for the console: facts only.
type FeedEvent struct {
	Position uint64 `json:"position"`
	Type     string `json:"type"`
	Class    string `json:"class"`
	Bucket   string `json:"bucket"`
	Ref      string `json:"ref"`
	Records  int    `json:"records"`
	Bytes    int    `json:"bytes"`
	Readable string `json:"readable"` // present, erased, expired, denied, unavailable, note
	Hour     string `json:"hour"`
}
