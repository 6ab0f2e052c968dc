package projections

import (
	"context"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// A Holding is a row of holdings.
type Holding struct {
	Ref     string `json:"ref"`
	Class   string `json:"class"`
	Tier    string `json:"tier"`
	Bucket  string `json:"bucket"`
	Gen     int64  `json:"gen"`
	Scope   string `json:"scope"`
	Events  int64  `json:"events"`
	Records int64  `json:"records"`
	First   string `json:"first"`
	Last    string `json:"last"`
	Due     string `json:"due"`   // RFC 3339; empty where no policy knows the class
	State   string `json:"state"` // present, erased or expired
}

// HoldingsOf lists what is held under a ref, an anonymous one included, by
// class, tier, bucket and gen.
func (p *Projector) HoldingsOf(ctx context.Context, ref domain.SubjectRef) ([]Holding, error) {
	return ofPerson(ctx, p, "holdings", ref, func(r []any) Holding {
		return Holding{
			Ref: str(r[0]), Class: str(r[1]), Tier: str(r[2]), Bucket: str(r[3]), Gen: num(r[4]), Scope: str(r[5]), Events: num(r[6]),
			Records: num(r[7]), First: str(r[8]), Last: str(r[9]), Due: str(r[10]), State: str(r[11]),
		}
	})
}

// A Connection is a row of connections.
type Connection struct {
	Ref      string `json:"ref"`
	ID       string `json:"connection"`
	Pool     string `json:"pool"`
	State    string `json:"state"` // open, idle, closed, or unknown where its life is disposed of
	Opened   string `json:"opened"`
	Closed   string `json:"closed"`
	Close    int64  `json:"close"`
	Reason   string `json:"reason"`
	Messages int64  `json:"messages"`
	TLS      int64  `json:"tls"`
}

// ConnectionsOf lists the connections of a ref.
func (p *Projector) ConnectionsOf(ctx context.Context, ref domain.SubjectRef) ([]Connection, error) {
	return ofPerson(ctx, p, "connections", ref, func(r []any) Connection {
		return Connection{
			Ref: str(r[0]), ID: str(r[1]), Pool: str(r[2]), State: str(r[3]), Opened: str(r[4]), Closed: str(r[5]),
			Close: num(r[6]), Reason: str(r[7]), Messages: num(r[8]), TLS: num(r[9]),
		}
	})
}

// CountOpen counts those that are open or idle.
func CountOpen(connections []Connection) (n int) {
	for _, c := range connections {
		if c.State == "open" || c.State == "idle" {
			n++
		}
	}
	return n
}

// A RetentionRow is a row of retention.
type RetentionRow struct {
	domain.RetentionKey
	Due      string `json:"due"`
	Fate     string `json:"fate"`     // live or expired
	Position int64  `json:"position"` // of the destruction; 0 while live
}

// Retention lists every retention key that the log knows of.
func (p *Projector) Retention(ctx context.Context) ([]RetentionRow, error) {
	return all(ctx, p, Query{Relation: "retention"}, func(r []any) RetentionRow {
		return RetentionRow{
			RetentionKey: domain.RetentionKey{Class: domain.Class(str(r[0])), Tier: domain.Tier(str(r[1])), Bucket: domain.Bucket(str(r[2]))},
			Due:          str(r[3]), Fate: str(r[4]), Position: num(r[5]),
		}
	})
}

// An Erasure is a row of erasures: one destruction.
type Erasure struct {
	Command  string `json:"command"`
	Kind     string `json:"kind"`
	Ref      string `json:"ref,omitempty"`
	Block    string `json:"block,omitempty"`
	Classes  string `json:"classes,omitempty"` // class:gen, with commas
	Buckets  int64  `json:"buckets"`
	Keys     int64  `json:"keys"`
	Journal  int64  `json:"journal"`
	State    string `json:"state"` // begun, done or disposed
	Begun    string `json:"begun"` // hour
	Position int64  `json:"position"`
}

// Erasures lists every destruction that the log knows of.
func (p *Projector) Erasures(ctx context.Context) ([]Erasure, error) {
	return all(ctx, p, Query{Relation: "erasures"}, func(r []any) Erasure {
		return Erasure{
			Command: str(r[0]), Kind: str(r[1]), Ref: str(r[2]), Block: str(r[3]), Classes: str(r[4]), Buckets: num(r[5]),
			Keys: num(r[6]), Journal: num(r[7]), State: str(r[8]), Begun: str(r[9]), Position: num(r[10]),
		}
	})
}

// A GapRow is a row of gaps: from Since to Until, Unix seconds, a pool let pass
// unrecorded what is counted; pool "-" is a whole process that was retired.
type GapRow struct {
	Since       int64  `json:"since"`
	Until       int64  `json:"until"`
	Pool        string `json:"pool"`
	Connections int64  `json:"connections"`
	Bytes       int64  `json:"bytes"` // rounded (FORMAT §3)
}

// Gaps lists the gaps in the record, oldest first.
func (p *Projector) Gaps(ctx context.Context) ([]GapRow, error) {
	return all(ctx, p, Query{Relation: "gaps"}, func(r []any) GapRow {
		return GapRow{Since: num(r[0]), Until: num(r[1]), Pool: str(r[4]), Connections: num(r[5]), Bytes: num(r[6])}
	})
}

// A Request is a row of requests. ReceiptStream and ReceiptRevision tell where
// the receipt stands, once there is one.
type Request struct {
	Ref             string          `json:"ref"`
	ID              string          `json:"request"`
	Kind            string          `json:"kind"`
	State           string          `json:"state"` // received, verified, decided, receipted, completed
	Outcome         string          `json:"outcome,omitempty"`
	Received        string          `json:"received"`
	Completed       string          `json:"completed,omitempty"`
	Receipt         string          `json:"receipt,omitempty"`
	ReceiptPosition int64           `json:"receipt_position,omitempty"`
	ReceiptStream   domain.Stream   `json:"-"`
	ReceiptRevision domain.Revision `json:"-"`
}

// Requests lists requests, all of them or those that where picks by column.
func (p *Projector) Requests(ctx context.Context, where map[string]any) ([]Request, error) {
	return all(ctx, p, Query{Relation: "requests", Where: where}, func(r []any) Request {
		return Request{
			Ref: str(r[0]), ID: str(r[1]), Kind: str(r[2]), State: str(r[3]), Outcome: str(r[4]), Received: str(r[5]), Completed: str(r[6]),
			Receipt: str(r[7]), ReceiptPosition: num(r[8]), ReceiptStream: domain.Stream(str(r[9])), ReceiptRevision: domain.Revision(num(r[10])),
		}
	})
}

// Receipt finds the request of a receipt; domain.ErrNotFound if there is none.
func (p *Projector) Receipt(ctx context.Context, id domain.ReceiptID) (Request, error) {
	found, err := p.Requests(ctx, map[string]any{"receipt": id.String()})
	if err != nil {
		return Request{}, err
	}
	if len(found) == 0 {
		return Request{}, fmt.Errorf("receipt %s: %w", id, domain.ErrNotFound)
	}
	return found[0], nil
}

// ofPerson reads the rows of a ref by the tables' own keys.
func ofPerson[R any](ctx context.Context, p *Projector, relation string, ref domain.SubjectRef, read func([]any) R) ([]R, error) {
	own, err := all(ctx, p, Query{Relation: relation, Where: map[string]any{"owner": ref.String()}}, read)
	if err != nil {
		return nil, err
	}
	linked, err := all(ctx, p, Query{Relation: relation, Where: map[string]any{"linked": ref.String()}}, read)
	return append(own, linked...), err
}

// all reads page after page. Pages are of one moment each, not of one together.
func all[R any](ctx context.Context, p *Projector, q Query, read func([]any) R) ([]R, error) {
	list := []R{}
	for {
		page, err := p.Query(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, row := range page.Rows {
			list = append(list, read(row))
		}
		if page.Next == "" {
			return list, nil
		}
		q.Cursor = page.Next
	}
}

func str(v any) string { s, _ := v.(string); return s }
func num(v any) int64  { n, _ := v.(int64); return n }
