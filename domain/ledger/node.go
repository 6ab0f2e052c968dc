package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Node writes the notes of one process: when it began and ended, the time each
// minute, refusals, gaps. Nothing in them is about a person. It is safe for
// concurrent use.
type Node struct {
	ledger  *Ledger
	writer  domain.WriterID
	command domain.CommandID

	mu    sync.Mutex // orders the notes of the process
	index uint32
	last  time.Time // of the last time.noted; time only rises
	day   domain.Bucket
	head  domain.Revision
	// doubt is a note whose append has an unknown outcome. It is settled by the
	// same append before another note takes its id.
	doubt *domain.Sealed
}

// OpenNode begins the notes of this process.
func (l *Ledger) OpenNode(ctx context.Context, facts ...domain.Fact) (*Node, error) {
	n := &Node{ledger: l, writer: domain.New[domain.WriterID](), command: domain.New[domain.CommandID]()}
	return n, n.Note(ctx, domain.NodeOpened, append([]domain.Fact{domain.UUID("writer", n.writer)}, facts...)...)
}

// Close notes the end of the process.
func (n *Node) Close(ctx context.Context) error {
	return n.Note(ctx, domain.NodeClosed, domain.UUID("writer", n.writer))
}

// Time notes the time, so that a replay as of a moment has a place to stop. A
// clock that went back is noted no more until it has caught up. Beyond one machine
// the clock is compared by the note with the log's, and none is made while they are
// not known to agree: domain.ErrClock.
func (n *Node) Time(ctx context.Context) error {
	times := n.ledger.storeTime()
	if times != nil {
		if err := times.Agrees(); err != nil {
			return fmt.Errorf("noting the time: %w: %w", domain.ErrClock, err)
		}
	}
	now := n.ledger.Clock()
	n.mu.Lock()
	rising := now.Unix() > n.last.Unix()
	if rising {
		n.last = now
	}
	n.mu.Unlock()
	at := domain.Int("at", now.Unix())
	switch {
	case !rising:
		return nil
	case times == nil:
		return n.Note(ctx, domain.TimeNoted, at)
	}
	return times.by(ctx, func(ctx context.Context, begun func()) (domain.Recorded, error) {
		return n.echo(ctx, domain.TimeNoted, begun, at)
	})
}

// Writer is the id of this process in the log.
func (n *Node) Writer() domain.WriterID { return n.writer }

// Renew appends node.renewed, once, and tells begun the event's id before it sends.
func (n *Node) Renew(ctx context.Context, begun func(domain.EventID)) error {
	_, err := n.note(ctx, domain.NodeRenewed, begun, domain.UUID("writer", n.writer))
	return err
}

// Echo appends node.renewed, once, and reads it back: domain.ErrUnavailable if the
// log does not show it. It tells begun before it sends.
func (n *Node) Echo(ctx context.Context, begun func()) (domain.Recorded, error) {
	return n.echo(ctx, domain.NodeRenewed, begun, domain.UUID("writer", n.writer))
}

func (n *Node) echo(ctx context.Context, typ domain.EventType, begun func(), facts ...domain.Fact) (domain.Recorded, error) {
	at, err := n.note(ctx, typ, func(domain.EventID) { begun() }, facts...)
	if err != nil {
		return domain.Recorded{}, err
	}
	for r, err := range n.ledger.Log.ReadStream(ctx, at.stream, at.revision, eventstore.Forward, 1) {
		if err != nil {
			return r, fmt.Errorf("reading %s back: %w", typ, err)
		}
		if r.ID() == at.id {
			return r, nil
		}
	}
	return domain.Recorded{}, fmt.Errorf("the log does not show %s, which it took: %w", typ, domain.ErrUnavailable)
}

// A notePlace is where a note stands.
type notePlace struct {
	id       domain.EventID
	stream   domain.Stream
	revision domain.Revision
}

// Note appends one note to the process's stream of the day.
func (n *Node) Note(ctx context.Context, typ domain.EventType, facts ...domain.Fact) error {
	_, err := n.note(ctx, typ, func(domain.EventID) {}, facts...)
	return err
}

func (n *Node) note(ctx context.Context, typ domain.EventType, begun func(domain.EventID), facts ...domain.Fact) (notePlace, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		return notePlace{}, err
	}
	if err := n.settle(ctx); err != nil {
		return notePlace{}, err
	}
	now := n.ledger.Clock()
	if day := domain.BucketAt(now, domain.Day); day != n.day {
		n.day, n.head = day, domain.NoStream
	}
	revision, _ := n.ledger.Policy.Current()
	e := domain.Envelope{
		Hour: domain.HourOf(now), Policy: revision, Salt: newSalt(), Class: domain.ClassNode, Facts: domain.NewFacts(facts...),
	}
	at := notePlace{id: domain.Event(n.command, n.index), stream: n.ledger.streams.Node(n.day, n.writer)}
	begun(at.id)
	err = n.append(ctx, spec, e)
	at.revision = n.head
	return at, err
}

// append writes at the exact revision; nobody else writes this stream.
func (n *Node) append(ctx context.Context, spec domain.EventSpec, e domain.Envelope) error {
	event, err := n.ledger.integrity().Note(domain.Event(n.command, n.index), n.ledger.streams.Node(n.day, n.writer), spec, e)
	if err != nil {
		return fmt.Errorf("noting %s: %w", spec.Type, err)
	}
	n.doubt = &event
	return n.settle(ctx)
}

func (n *Node) settle(ctx context.Context) error {
	if n.doubt == nil {
		return nil
	}
	at, err := n.ledger.Log.Append(ctx, n.doubt.Stream(), n.head, []domain.Sealed{*n.doubt})
	if err != nil {
		return fmt.Errorf("noting %s: %w", n.doubt.Type(), err)
	}
	n.index, n.head, n.doubt = n.index+1, at.Revision, nil
	return nil
}
