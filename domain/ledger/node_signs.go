package ledger

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Bounds of what is told about processes.
const (
	// NodesSince is how far back notes are read.
	NodesSince = 30 * 24 * time.Hour
	// NodeSilence is how long a process that did not end may say nothing before it
	// is called silent.
	NodeSilence = 24 * time.Hour
	// maxNodes bounds the processes that are told of: the latest ones.
	maxNodes = 10_000
)

// NodeSigns are the first and the last note of one process within NodesSince. They
// are exact to the second where the store's clock is, and to the hour otherwise.
type NodeSigns struct {
	Writer      domain.WriterID
	First, Last time.Time
	Closed      bool // it said that it ended
	// Retired: two principals said so after its last note.
	Retired bool
}

// Silent reports whether nothing is known of a process for a day.
func (s NodeSigns) Silent(now time.Time) bool { return !s.Closed && now.Sub(s.Last) > NodeSilence }

// Nodes lists the processes that wrote notes of their own within NodesSince, latest
// first; more says that there were others before. It reads the log backwards, as
// far as that, and keeps one entry for each process.
func (l *Ledger) Nodes(ctx context.Context, whole WholeReader) (nodes []NodeSigns, more bool, err error) {
	place := map[domain.WriterID]int{}
	for n, err := range l.nodeNotes(ctx, whole, l.Clock().Add(-NodesSince)) {
		if err != nil {
			return nil, false, err
		}
		if !n.sign() {
			continue
		}
		at, known := place[n.writer]
		if !known && len(nodes) == maxNodes {
			more = true
			continue
		}
		if !known {
			at = len(nodes)
			place[n.writer] = at
			nodes = append(nodes, NodeSigns{Writer: n.writer, First: n.at(), Last: n.at()})
		}
		nodes[at].take(n)
	}
	return nodes, more, l.retired(ctx, nodes, place)
}

func (s *NodeSigns) take(n nodeNote) {
	at := n.at()
	if at.Before(s.First) {
		s.First = at
	}
	if at.After(s.Last) {
		s.Last = at
	}
	s.Closed = s.Closed || n.Type() == domain.NodeClosed
}

// A nodeNote is an event of a node stream.
type nodeNote struct {
	domain.Recorded
	writer   domain.WriterID
	envelope domain.Envelope
}

// sign reports whether the process itself says that it lives: an outbox has a
// stream of its own for what came late, and no process of its own.
func (n nodeNote) sign() bool {
	switch n.Type() {
	case domain.NodeOpened, domain.NodeRenewed, domain.NodeClosed, domain.TimeNoted:
		return true
	}
	return false
}

// at is when the note was made: as it says, or the store's time where that lies in
// the hour of the envelope. In a log that was copied it does not.
func (n nodeNote) at() time.Time {
	if n.Type() == domain.TimeNoted {
		return time.Unix(n.envelope.Facts.Int("at"), 0).UTC()
	}
	hour := domain.Bucket(strings.TrimSuffix(string(n.envelope.Hour), "Z"))
	switch start, end := hour.Start(), hour.End(); {
	case n.StoreTime.Before(start):
		return start
	case n.StoreTime.After(end):
		return end
	}
	return n.StoreTime.UTC()
}

// noteSlack is how far clocks and the order of the log may differ.
const noteSlack = 24 * time.Hour

// nodeNotes yields the notes of all processes, the last one first, until they are
// older than since.
func (l *Ledger) nodeNotes(ctx context.Context, whole WholeReader, since time.Time) iter.Seq2[nodeNote, error] {
	return func(yield func(nodeNote, error) bool) {
		since := since.Add(-noteSlack)
		for r, err := range whole.ReadAll(ctx, domain.End, eventstore.Backward, 0) {
			if err != nil {
				yield(nodeNote{}, fmt.Errorf("reading the notes of nodes: %w", err))
				return
			}
			if r.StoreTime.Before(since) {
				return
			}
			n, ok, err := l.nodeNote(r)
			if err == nil && (!ok || n.sign() && n.at().Before(since)) {
				if ok {
					return
				}
				continue
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// nodeNote reads an event; most are no notes of a node.
func (l *Ledger) nodeNote(r domain.Recorded) (nodeNote, bool, error) {
	name, err := l.streams.Parse(r.Stream())
	if err != nil || name.Kind != domain.StreamNode || !r.Type().Ours() {
		return nodeNote{}, false, err
	}
	e, err := l.envelopeOf(r)
	return nodeNote{Recorded: r, writer: name.Writer, envelope: e}, true, err
}
