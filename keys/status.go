package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A Status counts what there is. Subjects are entries of both scopes, principals
// and the controller among them.
type Status struct {
	Subjects int // entries of the directory
	Fenced   int // those with a destruction in progress
	Blocks   int // blocks of anonymous refs
	Buckets  int // retention keys that live
	Expired  int // retention keys that were destroyed
	Handles  int // sealing handles in this process
	Openings int // opening handles in this process
	Dead     int // tags that the journal names
}

// Status counts; it reads the whole directory.
func (r *Ring) Status(ctx context.Context) (s Status, err error) {
	s.Handles, s.Openings, s.Dead = r.handles.len(), r.openings.len(), r.Dead.Len()
	err = r.Custodian.Subjects(ctx, func(e Subject) bool {
		s.Subjects++
		if !e.Fence.Command.IsZero() {
			s.Fenced++
		}
		return true
	})
	if err != nil {
		return Status{}, fmt.Errorf("counting persons: %w", err)
	}
	err = r.Custodian.EachBlock(ctx, func(domain.BlockID, time.Time) bool {
		s.Blocks++
		return true
	})
	if err != nil {
		return Status{}, fmt.Errorf("counting blocks: %w", err)
	}
	err = r.Custodian.EachRetention(ctx, func(rec RetentionRecord) bool {
		if rec.Destroyed {
			s.Expired++
		} else {
			s.Buckets++
		}
		return true
	})
	if err != nil {
		return Status{}, fmt.Errorf("counting buckets: %w", err)
	}
	return s, nil
}

// Classes lists the classes of which a person has keys, also those that the
// policy no longer has: what an erasure by date or of everything goes over.
func (r *Ring) Classes(ctx context.Context, ref domain.SubjectRef) ([]domain.Class, error) {
	_, b, err := r.Custodian.Bundle(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("listing a person's classes: %w", err)
	}
	defer b.Zero()
	var classes []domain.Class
	for _, s := range b.Subjects {
		classes = append(classes, s.Class)
	}
	for _, k := range b.Kept {
		classes = append(classes, k.Class)
	}
	slices.Sort(classes)
	return slices.Compact(classes), nil
}
