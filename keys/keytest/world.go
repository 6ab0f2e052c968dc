package keytest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// ledger is the ledger of every world.
const ledger domain.LedgerID = "test"

// A world is a ring over a custodian that can fail, with a clock that is moved
// by hand and a journal.
type world struct {
	*fixture
	faulty  *Faulty
	ring    *keys.Ring
	policy  *domain.Policy
	now     time.Time
	clock   error // why the clock is not trusted
	journal []keys.Line
}

func newWorld(t *testing.T, open Open) *world {
	t.Helper()
	w := newWorldAt(t, open, t.TempDir())
	t.Cleanup(w.end)
	return w
}

func newWorldAt(t tester, open Open, place string) *world {
	t.Helper()
	w := &world{fixture: newFixtureAt(t, open, place), policy: testPolicy(), now: noon}
	w.ringUp()
	return w
}

func (w *world) end() {
	w.ring.Close()
	check(w.t, w.Close())
}

// ringUp makes the ring as a start of the ledger does: with the journal's tags.
func (w *world) ringUp() {
	w.t.Helper()
	dead := keys.NewDead()
	for _, l := range w.journal {
		dead.Add(l.Dead...)
	}
	w.faulty = NewFaulty(w.Custodian)
	ring, err := keys.NewRing(background(), keys.RingConfig{
		Custodian: w.faulty, Ledger: ledger, Namespace: "people", Dead: dead,
		Policy:       func() *domain.Policy { return w.policy },
		Clock:        func() time.Time { return w.now },
		ClockTrusted: func() error { return w.clock },
	})
	check(w.t, err)
	w.ring = ring
}

// restart ends the process and begins another one.
func (w *world) restart() {
	w.t.Helper()
	w.ring.Close()
	w.reopen()
	w.ringUp()
}

func testPolicy() *domain.Policy {
	return &domain.Policy{
		Classes: []domain.ClassRule{
			{ID: "network", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day},
			{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day, Tiers: []domain.Period{domain.MustPeriod("P7D")}},
			{ID: "preferences", Retention: domain.MustPeriod("P1Y"), Bucket: domain.Month},
			{ID: "consent", Retention: domain.MustPeriod("P3Y"), Bucket: domain.Month, Scope: "obligated"},
		},
		Disposal: domain.DisposalRule{Within: domain.MustPeriod("P30D")},
	}
}

// person enrols somebody in the erasable scope.
func (w *world) person(id string) domain.SubjectRef {
	w.t.Helper()
	s, _, err := w.enrol(id)
	check(w.t, err)
	return s.Ref
}

func (w *world) enrol(id string) (keys.Subject, bool, error) {
	p, err := w.ring.Person(id, domain.Erasable)
	if err != nil {
		return keys.Subject{}, false, err
	}
	return w.ring.Enrol(background(), p)
}

func (w *world) lookup(id string) (keys.Subject, error) {
	p, err := w.ring.Person(id, domain.Erasable)
	if err != nil {
		return keys.Subject{}, err
	}
	return w.ring.Lookup(background(), p)
}

// An item is a sealed event and where it belongs.
type item struct {
	event domain.Sealed
	where domain.Where
	block domain.BlockID
}

// payload is what every item holds.
func payload() []byte { return []byte(`{"text":"what was said"}`) }

func (w *world) bucket(class domain.Class, at time.Time) domain.Bucket {
	rule, _ := w.policy.Class(class)
	return domain.BucketAt(at, rule.Bucket)
}

func (w *world) handle(ref domain.SubjectRef, class domain.Class, tier domain.Tier, at time.Time) (*seal.Sealing, error) {
	return w.ring.Sealing(background(), ref, domain.Erasable, class, tier, w.bucket(class, at))
}

// try seals one event of a person at a time.
func (w *world) try(ref domain.SubjectRef, class domain.Class, tier domain.Tier, at time.Time) (item, error) {
	h, err := w.handle(ref, class, tier, at)
	if err != nil {
		return item{}, err
	}
	return w.sealWith(h, domain.BlockID{}, at)
}

func (w *world) seal(ref domain.SubjectRef, class domain.Class, at time.Time) item {
	w.t.Helper()
	i, err := w.try(ref, class, domain.OwnTier, at)
	check(w.t, err)
	return i
}

func (w *world) sealWith(h *seal.Sealing, block domain.BlockID, at time.Time) (item, error) {
	spec, err := domain.Events.Spec(domain.AccessOpened)
	if err != nil {
		return item{}, err
	}
	p := h.Where()
	e := domain.Envelope{
		Hour: domain.HourOf(at), Policy: 1, Scope: p.Scope, Ref: p.Ref, Class: p.Class,
		Tier: p.Tier, Bucket: p.Bucket, Gen: p.Gen, N: 1,
	}
	stream := domain.StreamsOf(ledger).Of(p)
	id := domain.New[domain.EventID]()
	event, err := w.ring.Integrity().Seal(ledger, id, stream, spec, e, h, payload())
	return item{event: event, where: p, block: block}, err
}

// read opens an item as the ledger does.
func (w *world) read(i item) error {
	key, err := w.ring.Opening(background(), i.where, i.block)
	if err != nil {
		return err
	}
	text, err := key.Open(i.event)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, payload()) {
		return errors.New("another text came out")
	}
	_, err = w.ring.Opening(background(), i.where, i.block)
	return err
}

// wants checks that items read as an outcome says; nil is present.
func (w *world) wants(outcome error, items ...item) {
	w.t.Helper()
	for _, i := range items {
		if err := w.read(i); !errors.Is(err, outcome) || (outcome == nil && err != nil) {
			w.t.Fatalf("%s reads %v, want %v", i.where, err, outcome)
		}
	}
}

// wantsTwice checks before and after a restart.
func (w *world) wantsTwice(outcome error, items ...item) {
	w.t.Helper()
	w.wants(outcome, items...)
	w.restart()
	w.wants(outcome, items...)
}

func erasure(kind keys.DestructionKind, ref domain.SubjectRef, classes ...domain.Class) keys.Destruction {
	return keys.Destruction{
		Command: domain.New[domain.CommandID](), Kind: kind, Ref: ref, Scope: domain.Erasable, Classes: classes,
	}
}

// destroy carries a destruction out as the ledger does: a step that fails is
// called again.
func (w *world) destroy(d keys.Destruction) keys.Plan {
	w.t.Helper()
	p, err := w.begin(d)
	check(w.t, err)
	check(w.t, w.finish(d, p))
	w.wantsDestroyed(d, p)
	return p
}

// wantsDestroyed looks into the custodian: the journal's tags alone would make
// everything read as destroyed.
func (w *world) wantsDestroyed(d keys.Destruction, p keys.Plan) {
	w.t.Helper()
	_, b, err := w.Bundle(background(), d.Ref)
	switch d.Kind {
	case keys.DestroyClass, keys.DestroyRange:
		check(w.t, err)
		w.wantsTaken(d, p, b)
	case keys.DestroySubject:
		wantErr(w.t, err, domain.ErrNotFound)
		for _, l := range p.Links {
			block, err := w.Block(background(), l.Block)
			check(w.t, err)
			if block.Remove(l.Ref) {
				w.t.Fatalf("a linked ref's keys are still there")
			}
		}
	case keys.DestroyRetention:
		for _, k := range p.Buckets {
			rec, key, err := w.Retention(background(), k)
			check(w.t, err)
			if !rec.Destroyed || key != (seal.Secret{}) {
				w.t.Fatalf("retention key %s is still there", k)
			}
		}
	case keys.DestroyBlock:
		_, err := w.Block(background(), d.Block)
		wantErr(w.t, err, domain.ErrNotFound)
	}
}

// wantsTaken compares a bundle with the plan that was executed on it, and the
// plan's tags with what it takes.
func (w *world) wantsTaken(d keys.Destruction, p keys.Plan, b *seal.Bundle) {
	w.t.Helper()
	place := domain.Where{Ledger: ledger, Scope: d.Scope, Ref: d.Ref}
	for _, g := range p.Gens {
		place.Class, place.Gen = g.Class, g.Gen
		if _, ok := b.Subject(g.Class, g.Gen); ok {
			w.t.Fatalf("subject key %s is still there", g)
		}
		w.wantsNamed(p, domain.KindS, place.Subject())
	}
	for _, k := range p.Dropped {
		place.Class, place.Tier, place.Bucket, place.Gen = k.Class, k.Tier, k.Bucket, k.Gen
		if _, ok := b.KeptAt(place); ok {
			w.t.Fatalf("the kept key of %s is still there", place)
		}
		w.wantsNamed(p, domain.KindB, place.Bytes())
	}
	for _, k := range p.Kept {
		place.Class, place.Tier, place.Bucket, place.Gen = k.Class, k.Tier, k.Bucket, k.Gen
		if _, ok := b.KeptAt(place); !ok {
			w.t.Fatalf("the key of %s was not kept", place)
		}
	}
}

func (w *world) wantsNamed(p keys.Plan, kind domain.KeyKind, where []byte) {
	w.t.Helper()
	if !slices.Contains(p.Tags, w.tagOf(kind, where)) {
		w.t.Fatalf("the journal does not name a key that dies")
	}
}

// begin is what comes before the journal line, and the line itself.
func (w *world) begin(d keys.Destruction) (keys.Plan, error) {
	if err := w.ring.Fence(background(), d); err != nil {
		return keys.Plan{}, err
	}
	p, err := w.ring.Plan(background(), d)
	if err != nil {
		return keys.Plan{}, err
	}
	w.write(d.Kind, p.Tags)
	return p, nil
}

// write appends a journal line. It is the commit point.
func (w *world) write(kind keys.DestructionKind, dead []domain.Tag) {
	w.journal = append(w.journal, keys.Line{Seq: uint64(len(w.journal)), Kind: kind, Dead: slices.Clone(dead)})
}

func (w *world) finish(d keys.Destruction, p keys.Plan) error {
	if err := w.ring.Execute(background(), d, p, uint64(len(w.journal)-1)); err != nil {
		return err
	}
	return w.ring.Unfence(background(), d)
}

// expire destroys what is due and returns how much that was.
func (w *world) expire() int {
	w.t.Helper()
	due, err := w.ring.Due(background(), w.now)
	check(w.t, err)
	if len(due) == 0 {
		return 0
	}
	d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroyRetention}
	for _, rec := range due {
		d.Retention = append(d.Retention, rec.RetentionKey)
	}
	w.destroy(d)
	return len(due)
}
