package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// Why a process is not retired.
var (
	// ErrNodeSpoke: it said something within NodeSilence, or it said that it ended.
	ErrNodeSpoke = errors.New("the process is not silent")
	// ErrSecondPrincipal: it is named, and another principal must confirm it.
	ErrSecondPrincipal = errors.New("a second principal must confirm it")
)

// NodeNamed is for how long a process that one principal named can be confirmed by
// another.
const NodeNamed = 24 * time.Hour

// nodeDocument is the prefix of retirements of processes among the custodian's
// documents; the writer follows.
const nodeDocument = "node/"

// noPool is the pool of a gap that is a whole process's.
const noPool = "-"

// A NodeRetirement says that a process is not expected back, and from when to when
// what it recorded may be missing.
type NodeRetirement struct {
	Named     time.Time         `json:"named"`
	By        domain.SubjectRef `json:"by"` // principal
	Confirmed domain.SubjectRef `json:"confirmed,omitzero"`
	From      int64             `json:"from,omitempty"` // Unix seconds
	To        int64             `json:"to,omitempty"`
	Done      bool              `json:"done,omitempty"`
	// Command names the gap's event.
	Command domain.CommandID `json:"command,omitzero"`
	// Turn is whose it is to note the gap.
	Turn turn `json:"turn,omitzero"`

	writer  domain.WriterID
	version keys.Version
}

// RetireNode names a process that has been silent for NodeSilence, or, called by
// another principal within NodeNamed, retires it: gap.recorded of no pool, from its
// last sign to now, in the stream of node, the process that says so. Nobody writes
// in the stream of another, so nothing says that it ended. Called again it finishes
// what was interrupted, and answers with what stands. Once it speaks again, it is as
// if it had never been retired.
//
// Errors: domain.ErrNotFound for a process of which nothing is known,
// ErrNodeSpoke, ErrSecondPrincipal with what was named, domain.ErrConflict while
// another process is at it.
func (l *Ledger) RetireNode(ctx context.Context, node *Node, whole WholeReader, by domain.SubjectRef, writer domain.WriterID) (*NodeRetirement, error) {
	signs, err := l.signsOf(ctx, whole, writer)
	if err != nil {
		return nil, err
	}
	w, err := l.loadRetirement(ctx, writer)
	if err != nil {
		return nil, err
	}
	switch {
	case w.Done && signs.Retired:
		return w, nil
	case w.begun() && !w.Done:
		err = l.takeGap(ctx, w)
	case signs.Closed || !signs.Silent(l.Clock()):
		return nil, fmt.Errorf("%s, last heard of at %s: %w", writer, signs.Last.Format(time.RFC3339), ErrNodeSpoke)
	default:
		err = l.confirm(ctx, w, by, signs.Last)
	}
	if err != nil {
		return w, err
	}
	// The gap is decided: from here it is noted, if not in this call then in the next.
	return w, l.noteGap(ctx, node, whole, w)
}

func (w *NodeRetirement) begun() bool { return !w.Confirmed.IsZero() }

// signsOf finds one process.
func (l *Ledger) signsOf(ctx context.Context, whole WholeReader, writer domain.WriterID) (NodeSigns, error) {
	nodes, _, err := l.Nodes(ctx, whole)
	if err != nil {
		return NodeSigns{}, err
	}
	for _, s := range nodes {
		if s.Writer == writer {
			return s, nil
		}
	}
	return NodeSigns{}, fmt.Errorf("process %s: %w", writer, domain.ErrNotFound)
}

// confirm names a process, or decides the gap where another principal named it.
func (l *Ledger) confirm(ctx context.Context, w *NodeRetirement, by domain.SubjectRef, last time.Time) error {
	now := l.Clock()
	if w.Done || w.By.IsZero() || now.Sub(w.Named) > NodeNamed {
		*w = NodeRetirement{Named: now.UTC(), By: by, writer: w.writer, version: w.version}
		if err := l.saveRetirement(ctx, w); err != nil {
			return err
		}
	}
	if w.By == by {
		return fmt.Errorf("process %s: %w", w.writer, ErrSecondPrincipal)
	}
	w.Confirmed, w.From, w.To, w.Command = by, last.Unix(), now.Unix(), domain.New[domain.CommandID]()
	w.Turn = l.ownTurn()
	return l.saveRetirement(ctx, w)
}

func (l *Ledger) ownTurn() turn { return turn{Holder: l.self, Until: l.Clock().Add(turnTime).UTC()} }

// takeGap makes it this process's turn to note a gap that is decided.
func (l *Ledger) takeGap(ctx context.Context, w *NodeRetirement) error {
	if l.Many != nil && w.Turn.Holder != l.self && l.Clock().Before(w.Turn.Until) {
		return fmt.Errorf("process %s is being retired by another process: %w", w.writer, domain.ErrConflict)
	}
	w.Turn = l.ownTurn()
	return l.saveRetirement(ctx, w)
}

// noteGap notes the gap, unless an earlier try did.
func (l *Ledger) noteGap(ctx context.Context, node *Node, whole WholeReader, w *NodeRetirement) error {
	id, decided := domain.Event(w.Command, 0), time.Unix(w.To, 0)
	noted := false
	for n, err := range l.nodeNotes(ctx, whole, decided) {
		if err != nil {
			return err
		}
		if noted = n.ID() == id; noted {
			break
		}
	}
	if !noted {
		err := node.noteAs(ctx, id, decided, domain.GapRecorded, domain.Name("pool", noPool), domain.Int("from", w.From), domain.Int("to", w.To))
		if err != nil {
			return err
		}
	}
	w.Done = true
	return l.saveRetirement(ctx, w)
}

// noteAs appends a note whose id is not of the process's own command, unless it
// stands in the process's own streams since a time.
func (n *Node) noteAs(ctx context.Context, id domain.EventID, since time.Time, typ domain.EventType, facts ...domain.Fact) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		return err
	}
	if err := n.settle(ctx); err != nil {
		return err
	}
	now := n.ledger.Clock()
	if stands, err := n.stands(ctx, n.writer, id, since, now); err != nil || stands {
		return err
	}
	if day := domain.BucketAt(now, domain.Day); day != n.day {
		n.day, n.head = day, domain.NoStream
	}
	revision, _ := n.ledger.Policy.Current()
	event, err := n.ledger.integrity().Note(id, n.ledger.streams.Node(n.day, n.writer), spec, domain.Envelope{
		Hour: domain.HourOf(now), Policy: revision, Salt: newSalt(), Class: domain.ClassNode, Facts: domain.NewFacts(facts...),
	})
	if err != nil {
		return fmt.Errorf("noting %s: %w", typ, err)
	}
	n.doubt = &event
	return n.settle(ctx)
}

// stands looks for an event in a process's streams of the days of a time.
func (n *Node) stands(ctx context.Context, writer domain.WriterID, id domain.EventID, since, now time.Time) (bool, error) {
	for day, last := domain.BucketAt(since, domain.Day), domain.BucketAt(now, domain.Day); day <= last; day = day.Next() {
		for r, err := range n.ledger.Log.ReadStream(ctx, n.ledger.streams.Node(day, writer), 0, eventstore.Forward, 0) {
			if err != nil {
				return false, fmt.Errorf("reading the notes of process %s: %w", writer, err)
			}
			if r.ID() == id {
				return true, nil
			}
		}
	}
	return false, nil
}

func (l *Ledger) loadRetirement(ctx context.Context, writer domain.WriterID) (*NodeRetirement, error) {
	w := &NodeRetirement{writer: writer}
	value, version, err := l.Custody.Document(ctx, nodeDocument+writer.String())
	if errors.Is(err, domain.ErrNotFound) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(value, w)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the retirement of process %s: %w", writer, err)
	}
	w.version = version
	return w, nil
}

func (l *Ledger) saveRetirement(ctx context.Context, w *NodeRetirement) error {
	value, err := json.Marshal(w)
	if err == nil {
		w.version, err = l.Custody.PutDocument(ctx, nodeDocument+w.writer.String(), w.version, value)
	}
	if err != nil {
		return fmt.Errorf("keeping the retirement of process %s: %w", w.writer, err)
	}
	return nil
}

// retired marks the processes that were retired after their last sign, and forgets
// the retirements of those that are not told of any more.
func (l *Ledger) retired(ctx context.Context, nodes []NodeSigns, place map[domain.WriterID]int) error {
	var old []string
	now := l.Clock()
	err := l.Custody.EachDocument(ctx, nodeDocument, func(name string, value []byte) bool {
		var w NodeRetirement
		writer, err := domain.Parse[domain.WriterID](strings.TrimPrefix(name, nodeDocument))
		if err != nil || json.Unmarshal(value, &w) != nil {
			return true
		}
		at, known := place[writer]
		switch {
		case known:
			nodes[at].Retired = w.Done && nodes[at].Last.Unix() <= w.To
		case now.Sub(w.Named) > NodesSince+noteSlack:
			old = append(old, name)
		}
		return true
	})
	for _, name := range old {
		err = errors.Join(err, l.forget(ctx, name))
	}
	if err != nil {
		return fmt.Errorf("reading which processes were retired: %w", err)
	}
	return nil
}

// forget removes a document as it stands.
func (l *Ledger) forget(ctx context.Context, name string) error {
	_, version, err := l.Custody.Document(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = l.Custody.RemoveDocument(ctx, name, version)
	}
	if errors.Is(err, domain.ErrConflict) {
		return nil // another one has it now
	}
	return err
}
