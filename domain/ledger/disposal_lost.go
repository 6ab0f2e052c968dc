package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// NoteLost notes destructions again whose notes the log lost when it was restored
// from a copy, so that views and disposal know of them, and returns how many. It goes
// over the whole log once, and looks for events whose keys the journal names while
// no note of a destruction covers them. What it notes has an id that follows from
// what was found: it is noted once, also by two processes at the same time. It holds
// in memory what it is going to note. Nothing is noted while the journal is forked.
func (d *Disposal) NoteLost(ctx context.Context) (int, error) {
	back, lines, err := d.Journal.standing(ctx)
	if err != nil {
		return 0, err
	}
	s, err := d.newSearch(ctx, lines)
	if err != nil {
		return 0, err
	}
	if err := s.walk(ctx); err != nil {
		return 0, fmt.Errorf("looking for destructions without a note: %w", err)
	}
	n, err := s.note(ctx)
	if err != nil {
		return n, fmt.Errorf("noting destructions again: %w", err)
	}
	return n, d.Journal.notedAgain(ctx, back)
}

// NoteLostDue is NoteLost where the log went back since it was last done, by one
// process at a time. It asks nobody where the log did not.
func (d *Disposal) NoteLostDue(ctx context.Context) (n int, err error) {
	if !d.Journal.unnoted.Load() || d.Journal.Allowed() != nil {
		return 0, nil
	}
	err = d.inTurn(ctx, "notes", func() error {
		n, err = d.NoteLost(ctx)
		return err
	})
	return n, err
}

// placesKept bounds the places of which a search remembers that it looked at them; a
// forgotten one is looked at again.
const placesKept = 1 << 16

// A search looks for events whose keys are dead and that no note covers.
type search struct {
	*Disposal
	named    keys.Named
	fates    *fates
	noted    map[domain.CommandID]bool // done, or begun
	requests map[uint64]*erasure       // by the line that names what they destroyed
	// working and busy are what is in progress, by command and by line: whoever does
	// it notes it.
	working map[domain.CommandID]bool
	busy    map[uint64]bool
	end     domain.Revision         // of the stream destruction, as far as read
	others  map[domain.EventID]bool // that stand there since the search began
	seen    *lru.Cache[keyPlace, struct{}]
	found   map[lostKey]*lostNote
}

// A keyPlace is a place of keys, with the block of its stream.
type keyPlace struct {
	where domain.Where
	block domain.BlockID
}

// A lostKey tells what was found apart: what one line took of one person or block, or
// what a destruction took that began.
type lostKey struct {
	keys.Death
	ref   domain.SubjectRef
	block domain.BlockID
	begun domain.CommandID
}

// A lostNote is a destruction to be noted.
type lostNote struct {
	lostKey
	linked  bool // the ref is anonymous
	gens    map[domain.ClassGen]bool
	buckets map[domain.RetentionKey]bool
}

func (d *Disposal) newSearch(ctx context.Context, lines []keys.Line) (s *search, err error) {
	s = &search{
		Disposal: d, named: keys.NewNamed(lines), noted: map[domain.CommandID]bool{}, requests: map[uint64]*erasure{},
		working: map[domain.CommandID]bool{}, busy: map[uint64]bool{}, found: map[lostKey]*lostNote{}, others: map[domain.EventID]bool{},
	}
	if s.seen, err = lru.New[keyPlace, struct{}](placesKept); err != nil {
		return nil, fmt.Errorf("making the list of what was looked at: %w", err)
	}
	if s.end, err = d.Log.Last(ctx, d.streams.Destruction()); err != nil {
		return nil, fmt.Errorf("head of the destructions: %w", err)
	}
	if s.fates, err = d.gather(ctx, s.end, eventstore.LastRevision); err != nil {
		return nil, err
	}
	for _, one := range s.fates.all {
		s.noted[one.note.Command] = true
	}
	for command := range s.fates.begun {
		s.noted[command] = true
	}
	return s, s.readWork(ctx)
}

// readWork reads which requests destroyed what the journal's lines name, and what is
// in progress.
func (s *search) readWork(ctx context.Context) error {
	var failed error
	err := s.Custody.EachDocument(ctx, erasureDocument, func(_ string, value []byte) bool {
		w, err := decodeErasure(value)
		if err != nil {
			failed = err
			return false
		}
		if w.Journal != nil {
			s.requests[*w.Journal] = w
		}
		if len(w.Signed) == 0 {
			s.works(w.Destruction.Command, w.Journal)
		}
		return true
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("listing requests: %w", err)
	}
	for _, name := range []string{expiryDocument, retirementDocument} {
		w, err := s.loadRun(ctx, name)
		if err != nil {
			return err
		}
		if w != nil {
			s.works(w.Destruction.Command, w.Journal)
		}
	}
	return nil
}

func (s *search) works(command domain.CommandID, line *uint64) {
	s.working[command] = true
	if line != nil {
		s.busy[*line] = true
	}
}

// walk goes over the log.
func (s *search) walk(ctx context.Context) error {
	for r, err := range s.Whole.ReadAll(ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		e, ok, err := s.parse(r)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		at := keyPlace{where: e.envelope.Where(s.ID), block: e.name.Block}
		if known, _ := s.seen.ContainsOrAdd(at, struct{}{}); !known {
			s.look(at, e.envelope)
		}
	}
	return nil
}

// look asks the journal about one place.
func (s *search) look(at keyPlace, e domain.Envelope) {
	owner, retention := s.Ring.Deaths(s.named, at.where, at.block)
	if owner.Kind != "" && !s.fates.owned(e, at.block) {
		k := lostKey{Death: owner, ref: e.Ref}
		if owner.Kind == domain.DestroyBlock {
			k.ref, k.block = domain.SubjectRef{}, at.block
		}
		s.lose(k, at, func(n domain.DestructionNote) bool { return n.Covers(e, at.block) })
	}
	bucket := at.where.RetentionKey()
	if retention.Kind != "" && s.fates.buckets[bucket] == nil {
		s.lose(lostKey{Death: retention}, at, func(n domain.DestructionNote) bool {
			return slices.Contains(n.Buckets, bucket) && n.Kind == domain.DestroyRetention
		})
	}
}

// owned reports whether a note covers the person's or the block's keys of an event.
func (f *fates) owned(e domain.Envelope, block domain.BlockID) bool {
	return f.byBlock[block] != nil || slices.ContainsFunc(f.byRef[e.Ref], func(one *fate) bool { return one.note.Covers(e, block) })
}

// lose takes a place into the note that it lacks, unless somebody is about to make it.
func (s *search) lose(k lostKey, at keyPlace, covers func(domain.DestructionNote) bool) {
	for command, begun := range s.fates.begun {
		if !covers(begun.DestructionNote) {
			continue
		}
		if s.working[command] {
			return
		}
		k = lostKey{Death: k.Death, begun: command}
		break
	}
	if s.busy[k.Seq] {
		return
	}
	n := s.found[k]
	if n == nil {
		n = &lostNote{lostKey: k, linked: at.where.Tier == domain.AnonTier, gens: map[domain.ClassGen]bool{}, buckets: map[domain.RetentionKey]bool{}}
		s.found[k] = n
	}
	n.gens[domain.ClassGen{Class: at.where.Class, Gen: at.where.Gen}] = true
	n.buckets[at.where.RetentionKey()] = true
}
