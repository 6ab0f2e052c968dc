package ledger_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// TestAGapIsNotedOnce: wherever the append or its answer is lost, in the process
// that tries again or in the next one.
func TestAGapIsNotedOnce(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.None, storetest.Lost, storetest.Unanswered} {
		for _, restarted := range []bool{false, true} {
			w := newWorld(t)
			node := w.node()
			tried := node.Writer()
			id, since := domain.Event(domain.New[domain.CommandID](), 0), w.now
			note := func(n *ledger.Node) error {
				if tried != n.Writer() {
					if there, err := n.Noted(t.Context(), tried, id, since); err != nil || there {
						return err
					}
				}
				return n.NoteGap(t.Context(), id, since, domain.Name("pool", "-"), domain.Int("from", 1), domain.Int("to", 2))
			}
			w.log.failAt(1, fault)
			if err := note(node); (err != nil) != (fault != storetest.None) {
				t.Fatalf("fault %v: %v", fault, err)
			}
			w.pass(25 * 3600e9) // into another day's stream
			if restarted {
				w.reopen()
				node = w.node()
			}
			for range 2 {
				if err := note(node); err != nil {
					t.Fatalf("fault %v, restarted %v: %v", fault, restarted, err)
				}
			}
			if got := w.gaps(); len(got) != 1 {
				t.Errorf("fault %v, restarted %v: %v", fault, restarted, got)
			}
			w.noteTime(node)
		}
	}
}
