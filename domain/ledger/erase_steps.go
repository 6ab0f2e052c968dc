package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// fileRequest puts the request, the identity check and the decision into the
// person's file, each once.
func (l *Ledger) fileRequest(ctx context.Context, w *erasure) error {
	outcome := "erase"
	if w.nothing() {
		outcome = "nothing"
		if len(w.Erase) == 0 {
			outcome = "withheld"
		}
	}
	request := domain.UUID("request", w.Request)
	entries := []entry{
		{
			step: "received", typ: domain.RequestReceived, facts: domain.NewFacts(request, domain.Name("kind", "erasure")),
			record: map[string]any{"at": w.Received, "channel": w.Channel, "asked": append(w.Erase, classesOf(w.Withheld)...), "reason": w.Reason},
		},
		{
			step: "verified", typ: domain.RequestVerified, facts: domain.NewFacts(request),
			record: map[string]any{"at": w.Received, "method": "principal", "role": w.Role},
		},
		{
			step: "decided", typ: domain.RequestDecided, facts: domain.NewFacts(request, domain.Name("outcome", outcome)),
			record: map[string]any{"at": w.Received, "ground": w.Ground, "erase": w.Erase, "withheld": w.Withheld},
		},
	}
	for _, e := range entries {
		if _, err := l.file(ctx, w, e); err != nil {
			return err
		}
	}
	return nil
}

func classesOf(withheld []domain.Withheld) (classes []domain.Class) {
	for _, w := range withheld {
		classes = append(classes, w.Class)
	}
	return classes
}

// An entry is one event of a request's file.
type entry struct {
	step   string
	typ    domain.EventType
	facts  domain.Facts
	record map[string]any
}

// file appends an entry to the file of a request, once, and returns it as
// stored. The entries of one request all carry the time of its receipt or of
// their own, so the place of the first one does not move between retries.
func (l *Ledger) file(ctx context.Context, w *erasure, e entry) (domain.Recorded, error) {
	event, err := l.sealDraft(ctx, domain.Draft{
		ID: domain.Event(domain.Step(w.Request, e.step), 0), Type: e.typ, At: l.Clock(),
		Scope: domain.Obligated, Ref: w.File, Class: w.FileClass, Tier: domain.OwnTier,
		Facts: e.facts, N: 1, Payload: record(e.record),
	})
	if err != nil {
		return domain.Recorded{}, fmt.Errorf("sealing %s: %w", e.typ, err)
	}
	return l.once(ctx, w.After.File, event)
}

// fence stops issuing and unwrapping for what is to be erased.
func (l *Ledger) fence(ctx context.Context, w *erasure) error {
	if w.nothing() || w.Journal != nil {
		return nil
	}
	if err := l.unforked(ctx); err != nil {
		return err
	}
	if w.Fenced.IsZero() {
		if err := l.sealProbe(ctx, w); err != nil {
			return err
		}
	}
	if err := l.Ring.Fence(ctx, w.Destruction); err != nil {
		return err
	}
	if w.Fenced.IsZero() {
		w.Fenced = l.Clock().UTC()
		return l.save(ctx, w)
	}
	return nil
}

// announce notes the destruction's beginning in the log, and severs the live
// sockets of a whole person.
func (l *Ledger) announce(ctx context.Context, w *erasure) error {
	if w.nothing() || w.Journal != nil {
		return nil
	}
	// The request is in the log and the fence stands: from here the erasure
	// completes, if not in this call then in the next one.
	if err := l.begun(ctx, w.Destruction, w.After.Destruction, *w.Plan); err != nil {
		return err
	}
	for _, d := range l.linked(w) {
		if err := l.begun(ctx, d, w.After.Destruction, keys.Plan{}); err != nil {
			return err
		}
	}
	if w.Destruction.Kind == keys.DestroySubject {
		l.Sever(w.Destruction.Ref)
	}
	return l.everywhere(ctx)
}

// begun and done note a destruction in the one order of holds and destructions.
func (l *Ledger) begun(ctx context.Context, d keys.Destruction, after domain.Revision, p keys.Plan) error {
	_, err := l.note(ctx, l.streams.Destruction(), after, domain.Event(d.Command, 0), domain.DestructionBegun, destructionFacts(d, p, nil))
	return err
}

// destructionFacts are those of a note; of what was done where journal is given.
func destructionFacts(d keys.Destruction, p keys.Plan, journal *uint64) domain.Facts {
	note := domain.DestructionNote{Kind: d.Kind, Command: d.Command, Ref: d.Ref, Block: d.Block, Classes: gensOf(p)}
	if d.Kind == keys.DestroySubject { // of whom everything goes
		note.Classes = p.Last
	} else {
		note.Buckets = p.Buckets
	}
	if journal != nil {
		note.Done, note.Keys, note.Journal = true, int64(p.Keys), int64(*journal) //nolint:gosec // counts
	}
	return note.Facts()
}

// gensOf lists every gen that loses a key: those whose S dies, and earlier ones
// of which a kept B does.
func gensOf(p keys.Plan) []domain.ClassGen {
	gens := slices.Clone(p.Gens)
	for _, place := range p.Dropped {
		gens = append(gens, domain.ClassGen{Class: place.Class, Gen: place.Gen})
	}
	slices.SortFunc(gens, domain.ClassGen.Compare)
	return slices.Compact(gens)
}

// plan decides which keys die and which B are kept, once.
func (l *Ledger) plan(ctx context.Context, w *erasure) error {
	if w.nothing() || w.Plan != nil {
		return nil
	}
	plan, err := l.Ring.Plan(ctx, w.Destruction)
	if err != nil {
		return err
	}
	if len(plan.Tags) == 0 || (w.Destruction.Kind == keys.DestroyRange && len(plan.Buckets) == 0) {
		// No key was ever issued for it. Nothing can be in it.
		if err := l.Ring.Unfence(ctx, w.Destruction); err != nil {
			return err
		}
		w.Erase = []domain.Class{}
		w.Empty = true
	}
	w.Plan = &plan
	return l.save(ctx, w)
}

// journal names the dead keys, in the log first and then on disk. Once a line
// stands, its keys open nothing, whatever is restored.
func (l *Ledger) journal(ctx context.Context, w *erasure) error {
	if w.nothing() || w.Journal != nil || len(w.Plan.Tags) == 0 {
		return nil
	}
	seq, err := l.Journal.Name(ctx, w.Destruction.Command, string(w.Destruction.Kind), w.Plan.Tags)
	if err != nil {
		return err
	}
	w.Journal, w.Mirrored = &seq, l.mirrored(ctx, seq)
	return l.save(ctx, w)
}

// destroy destroys the keys that the journal names.
func (l *Ledger) destroy(ctx context.Context, w *erasure) error {
	if w.nothing() || !w.Destroyed.IsZero() {
		return nil
	}
	if w.Journal != nil {
		if err := l.Ring.Execute(ctx, w.Destruction, *w.Plan, *w.Journal); err != nil {
			return err
		}
	}
	w.Destroyed = l.Clock().UTC()
	return l.save(ctx, w)
}

// unfence lifts the fence of a narrower erasure once nothing of it is left:
// recording goes on under the next gen.
func (l *Ledger) unfence(ctx context.Context, w *erasure) error {
	if w.nothing() || len(w.Signed) > 0 {
		return nil
	}
	return l.Ring.Unfence(ctx, w.Destruction)
}

func (l *Ledger) noteDone(ctx context.Context, w *erasure) error {
	if w.nothing() || len(w.Signed) > 0 {
		return nil
	}
	if err := l.done(ctx, w.Destruction, w.After.Destruction, *w.Plan, w.Journal); err != nil {
		return err
	}
	for i, d := range l.linked(w) {
		if err := l.done(ctx, d, w.After.Destruction, keys.Plan{Keys: w.Plan.LinkKeys[i]}, w.Journal); err != nil {
			return err
		}
	}
	return nil
}

// linked are the destructions of the anonymous refs that die with a person. Each
// is noted by itself under a command that only who holds the pepper can derive:
// nothing clear carries two refs of one person (FORMAT §1).
func (l *Ledger) linked(w *erasure) (list []keys.Destruction) {
	for _, link := range w.Plan.Links {
		list = append(list, keys.Destruction{
			Command: l.linkedCommand(w, link.Ref), Kind: keys.DestroySubject, Scope: domain.Erasable, Ref: link.Ref,
		})
	}
	return list
}

func (l *Ledger) linkedCommand(w *erasure, ref domain.SubjectRef) domain.CommandID {
	sum := l.Ring.MAC(append(append([]byte("lethe/linked/v1"), w.Destruction.Command[:]...), ref[:]...))
	return domain.Step(w.Request, string(sum[:]))
}

func (l *Ledger) done(ctx context.Context, d keys.Destruction, after domain.Revision, p keys.Plan, journal *uint64) error {
	_, err := l.note(ctx, l.streams.Destruction(), after, domain.Event(d.Command, 1), domain.DestructionDone, destructionFacts(d, p, journal))
	return err
}

// receipt signs the receipt, keeps it, appends it, and reads it back. Only the
// stored bytes are handed out.
func (l *Ledger) receipt(ctx context.Context, w *erasure) error {
	if len(w.Signed) == 0 {
		signed, err := l.sign(ctx, w)
		if err != nil {
			return err
		}
		w.Signed = signed
		if err := l.save(ctx, w); err != nil {
			return err
		}
	}
	stored, err := l.file(ctx, w, entry{
		step: "receipted", typ: domain.RequestReceipted,
		facts:  domain.NewFacts(domain.UUID("request", w.Request), domain.UUID("receipt", w.Receipt)),
		record: map[string]any{"receipt": string(w.Signed)},
	})
	if err != nil {
		return err
	}
	if err := l.readBack(ctx, w); err != nil {
		return err
	}
	w.Position = stored.Position
	return nil
}

// readBack opens the receipt as the log has it.
func (l *Ledger) readBack(ctx context.Context, w *erasure) error {
	id := domain.Event(domain.Step(w.Request, "receipted"), 0)
	stream, err := l.fileStream(ctx, w)
	if err != nil {
		return err
	}
	r, _, err := l.find(ctx, stream, w.After.File, id)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("the receipt is not in stream %s: %w", stream, domain.ErrNotFound)
	}
	opened, err := l.Open(ctx, *r)
	if err != nil {
		return err
	}
	if text, _ := opened.Record["receipt"].(string); !bytes.Equal([]byte(text), w.Signed) {
		return fmt.Errorf("the receipt in the log is another one: %w", domain.ErrConflict)
	}
	return nil
}

func (l *Ledger) fileStream(ctx context.Context, w *erasure) (domain.Stream, error) {
	_, bundle, err := l.Custody.Bundle(ctx, w.File)
	if err != nil {
		return "", fmt.Errorf("keys of the request's file: %w", err)
	}
	defer bundle.Zero()
	return l.streams.Of(domain.Where{Ref: w.File, Class: w.FileClass, Tier: domain.OwnTier, Gen: bundle.LastOf(w.FileClass)}), nil
}

// close ends what the request does by itself. The document stays, so that asking
// again for the same request answers the same receipt; the probe and the plan go.
// A request that destroyed keys is completed once its ciphertext is disposed of.
func (l *Ledger) close(ctx context.Context, w *erasure) error {
	now := l.Clock().UTC()
	if w.Journal == nil {
		if err := l.noteCompleted(ctx, w); err != nil {
			return err
		}
		w.Disposed = now
	}
	w.Done, w.Plan, w.Probe, w.Reason = now, nil, nil, ""
	w.Destruction.Ref = domain.SubjectRef{}
	return l.save(ctx, w)
}
