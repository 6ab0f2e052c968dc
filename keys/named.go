package keys

import (
	"context"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// Named is the journal by tag. A tag that both a range and a line of another kind
// name counts as the other's: it takes more.
type Named map[domain.Tag]Line

// NewNamed takes the lines of a journal in their order. It keeps no list of tags.
func NewNamed(lines []Line) Named {
	n := Named{}
	for _, l := range lines {
		for _, t := range l.Dead {
			if before, ok := n[t]; !ok || before.Kind == DestroyRange {
				n[t] = Line{Seq: l.Seq, Kind: l.Kind}
			}
		}
	}
	return n
}

func (n Named) has(t domain.Tag) bool {
	_, ok := n[t]
	return ok
}

// A Death says by which line a key of an event is dead, and what that took; the zero
// Death is of no line.
type Death struct {
	Kind DestructionKind
	Seq  uint64
}

// Deaths says which lines took the keys of an event in a stream of block, zero for a
// stream of one person: those of its person or block, and the retention key of its
// bucket. What a range left is alive, though its S is named. It asks nobody.
func (r *Ring) Deaths(n Named, w domain.Where, block domain.BlockID) (owner, retention Death) {
	t := r.tagsOf(w, block)
	if l, ok := n[t.r]; ok {
		retention = Death{Kind: DestroyRetention, Seq: l.Seq}
	}
	if l, ok := n[t.ref]; ok {
		return Death{Kind: DestroySubject, Seq: l.Seq}, retention
	}
	if l, ok := n[t.block]; ok && !block.IsZero() {
		return Death{Kind: DestroyBlock, Seq: l.Seq}, retention
	}
	if l, ok := n[t.b]; ok {
		return Death{Kind: l.Kind, Seq: l.Seq}, retention
	}
	if l, ok := n[t.s]; ok && l.Kind != DestroyRange {
		return Death{Kind: DestroyClass, Seq: l.Seq}, retention
	}
	return owner, retention
}

// Lost reports whether the journal names what an event in a stream of block needs.
// It asks the custodian only where a range may have left the event's bucket.
func (r *Ring) Lost(ctx context.Context, w domain.Where, block domain.BlockID) (bool, error) {
	t := r.tagsOf(w, block)
	if r.Dead.Has(t.ref) || r.Dead.Has(t.b) || r.Dead.Has(t.r) || !block.IsZero() && r.Dead.Has(t.block) {
		return true, nil
	}
	if !r.Dead.Has(t.s) {
		return false, nil
	}
	found, err := r.findBucketKey(ctx, w, block, t)
	found.key.Zero()
	if err != nil {
		return false, fmt.Errorf("looking for what is left of %s: %w", w, err)
	}
	return found.erased, nil
}
