package projections_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// TestAViewBehindACutAppliesWhatWasDisposedOf: the view has rows from before a
// destruction, and comes back when the destruction was disposed of, carried
// forward and its first note cut.
func TestAViewBehindACutAppliesWhatWasDisposedOf(t *testing.T) {
	w, dir := viewtest.NewWriter(), t.TempDir()
	block := domain.BlockID{0: 4, 6: 0x40, 8: 0x80}
	ref := domain.SubjectRef{0: 3, 6: 0x40, 8: 0x80}
	place := viewtest.Place{Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: domain.AnonTier, Gen: 1, Block: block}
	w.Person(place, domain.TrafficRecorded, 2, domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID{0: 2, 6: 0x40, 8: 0x80}))
	p := caughtUp(t, w, dir)
	command := domain.CommandID{0: 5, 6: 0x40, 8: 0x80}
	facts := []domain.Fact{
		domain.Name("kind", projections.KindSubject), domain.UUID("command", command), domain.UUID("ref", ref), domain.Int("keys", 1), domain.Int("journal", 1),
	}
	w.Destroyed(domain.DestructionDone, facts...)
	w.Disposed(domain.SubjectDisposed, domain.List("commands", []string{command.String()}))
	carried := w.Destroyed(domain.DestructionCarried, facts...)
	w.Disposed(domain.StreamDisposed, domain.Name("stream", w.Streams.Destruction()), domain.Int("revision", int64(carried.Revision)))
	check(t, p.CatchUp(t.Context()))
	if n := len(rows(t, p, "totals")); n != 0 {
		t.Errorf("%d totals of what a record stands for", n)
	}
	if _, err := p.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}
