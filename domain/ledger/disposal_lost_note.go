package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// note notes what was found, in the order of the journal, and counts it.
func (s *search) note(ctx context.Context) (int, error) {
	all := slices.SortedFunc(maps.Values(s.found), func(a, b *lostNote) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), slices.Compare(a.ref[:], b.ref[:]), slices.Compare(a.block[:], b.block[:]), slices.Compare(a.begun[:], b.begun[:]))
	})
	for i, n := range all {
		note, err := s.noteOf(n)
		if err == nil {
			err = s.append(ctx, note, !n.begun.IsZero())
		}
		if err != nil {
			return i, err
		}
	}
	return len(all), nil
}

// noteOf is what a note says of what was found: no more than the log shows.
func (s *search) noteOf(n *lostNote) (note domain.DestructionNote, err error) {
	if note = s.fates.begun[n.begun].DestructionNote; n.begun.IsZero() {
		note = n.destruction()
	}
	note.Done, note.Journal = true, int64(n.Seq) //nolint:gosec // a count
	if note.Keys = int64(len(n.gens)); n.Kind == domain.DestroyRetention {
		note.Keys = int64(len(n.buckets))
	}
	if n.begun.IsZero() {
		note.Command, err = s.commandOf(n, note)
	}
	return note, err
}

func (n *lostNote) destruction() domain.DestructionNote {
	note := domain.DestructionNote{Kind: n.Kind, Ref: n.ref, Block: n.block}
	switch n.Kind {
	case domain.DestroySubject:
		if !n.linked { // whose streams are its block's
			note.Classes = n.lastGens()
		}
	case domain.DestroyClass, domain.DestroyRange:
		note.Classes = slices.SortedFunc(maps.Keys(n.gens), domain.ClassGen.Compare)
		note.Buckets = slices.SortedFunc(maps.Keys(n.buckets), domain.RetentionKey.Compare)
	case domain.DestroyRetention:
		note.Buckets = slices.SortedFunc(maps.Keys(n.buckets), domain.RetentionKey.Compare)
	case domain.DestroyBlock:
	}
	return note
}

// lastGens are the last gen of each class that the log shows.
func (n *lostNote) lastGens() (list []domain.ClassGen) {
	last := map[domain.Class]domain.Gen{}
	for g := range n.gens {
		last[g.Class] = max(last[g.Class], g.Gen)
	}
	for class, gen := range last {
		list = append(list, domain.ClassGen{Class: class, Gen: gen})
	}
	slices.SortFunc(list, domain.ClassGen.Compare)
	return list
}

// commandOf is the command that the destruction had, where the custodian still knows
// its request and the log no note of it: disposal then completes that request. Else
// one that only who holds the pepper can derive, from all that the note says.
func (s *search) commandOf(n *lostNote, note domain.DestructionNote) (domain.CommandID, error) {
	if w := s.requests[n.Seq]; w != nil && n.Kind == w.Destruction.Kind {
		command := w.Destruction.Command
		if n.linked {
			command = s.linkedCommand(w, n.ref)
		}
		if !s.noted[command] {
			s.noted[command] = true
			return command, nil
		}
	}
	said, err := json.Marshal(note)
	if err != nil {
		return domain.CommandID{}, fmt.Errorf("encoding a note: %w", err)
	}
	return domain.Keyed(s.Ring.MAC(append([]byte("lethe/noted-again/v1"), said...))), nil
}

// append appends both notes of a destruction at once, the first unless it stands.
// Where somebody else wrote meanwhile, what stands by then is left out.
func (s *search) append(ctx context.Context, note domain.DestructionNote, begun bool) error {
	stream, id := s.streams.Destruction(), domain.Event(note.Command, 1)
	done, err := s.makeNote(stream, id, domain.DestructionDone, note.Facts())
	if err != nil {
		return err
	}
	events := []domain.Sealed{done}
	if !begun {
		note.Done = false
		first, err := s.makeNote(stream, domain.Event(note.Command, 0), domain.DestructionBegun, note.Facts())
		if err != nil {
			return err
		}
		events = []domain.Sealed{first, done}
	}
	for range appendTries {
		events = slices.DeleteFunc(events, func(e domain.Sealed) bool { return s.others[e.ID()] })
		if len(events) == 0 {
			return nil
		}
		_, err := s.Log.Append(ctx, stream, s.end, events)
		var wrong *eventstore.WrongRevision
		if err == nil {
			s.end += domain.Revision(len(events))
			return nil
		}
		if !errors.As(err, &wrong) {
			return fmt.Errorf("appending %s: %w", domain.DestructionDone, err)
		}
		if err := s.readOthers(ctx, stream); err != nil {
			return err
		}
	}
	return fmt.Errorf("stream %s keeps moving: %w", stream, domain.ErrConflict)
}

// readOthers reads what others wrote behind what was read before.
func (s *search) readOthers(ctx context.Context, stream domain.Stream) error {
	for r, err := range s.Log.ReadStream(ctx, stream, s.end+1, eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("reading stream %s: %w", stream, err)
		}
		s.end = r.Revision
		s.others[r.ID()] = true
	}
	return nil
}
