package ledger_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// meeting lets no reading of a bundle return before as many are under way at once
// as are expected.
type meeting struct {
	keys.Custodian
	expected *sync.WaitGroup
	full     chan struct{}
}

func meetingOf(people int) func(keys.Custodian) keys.Custodian {
	var expected sync.WaitGroup
	expected.Add(people)
	full := make(chan struct{})
	go func() { expected.Wait(); close(full) }()
	return func(c keys.Custodian) keys.Custodian { return meeting{c, &expected, full} }
}

func (m meeting) Bundle(ctx context.Context, ref domain.SubjectRef) (keys.Subject, *seal.Bundle, error) {
	m.expected.Done() // a person's second reading panics
	select {
	case <-m.full:
	case <-time.After(10 * time.Second):
		return keys.Subject{}, nil, errors.New("the others were not asked for meanwhile")
	}
	return m.Custodian.Bundle(ctx, ref)
}

// TestKeysOfManyPeopleAreAskedForAtOnce: one call with the events of people whose
// handles are not at hand reads their bundles beside each other, each once, and
// keeps the order in every stream.
func TestKeysOfManyPeopleAreAskedForAtOnce(t *testing.T) {
	w := newWorld(t)
	var drafts []domain.Draft
	for _, id := range []string{"ada", "bob", "eve", "ada", "bob", "eve"} {
		drafts = append(drafts, w.draft(w.person(id), "messages", w.now))
	}
	w.record(w.person("joe"), "messages", w.now) // the day's key is there
	w.between = meetingOf(3)
	w.reopen()
	if err := errors.Join(w.Record(t.Context(), drafts)...); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		first, second := w.stored(drafts[i].ID), w.stored(drafts[i+3].ID)
		if first.Stream() != second.Stream() || first.Revision+1 != second.Revision {
			t.Errorf("person %d: %d in %s, then %d in %s", i, first.Revision, first.Stream(), second.Revision, second.Stream())
		}
	}
}
