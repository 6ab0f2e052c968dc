package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Fault is what becomes of one append on its way.
type Fault int

// The faults of an append: none, lost before it reached the store, and applied
// by the store with its answer lost.
const (
	None Fault = iota
	Lost
	Unanswered
)

// ErrFault is what a caller sees of a fault: an unavailability, which says
// nothing about the outcome.
var ErrFault = fmt.Errorf("fault on the way: %w", domain.ErrUnavailable)

// Faulty is a store whose appends meet faults. Everything else reaches the store
// inside.
type Faulty struct {
	eventstore.Store
	// Next decides the fate of each append, and of each entry of an AppendMany.
	// It may be called from several goroutines.
	Next func() Fault
}

// Append implements eventstore.Appender.
func (f Faulty) Append(ctx context.Context, s domain.Stream, expected domain.Revision, es []domain.Sealed) (eventstore.Appended, error) {
	r := f.AppendMany(ctx, []eventstore.Append{{Stream: s, Expected: expected, Events: es}})
	return r[0].Appended, r[0].Err
}

// AppendMany implements eventstore.Appender.
func (f Faulty) AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result {
	results := make([]eventstore.Result, len(appends))
	var through []eventstore.Append
	var places []int
	for i, a := range appends {
		fault := f.Next()
		if fault != None {
			results[i].Err = ErrFault
		}
		if fault != Lost {
			through, places = append(through, a), append(places, i)
		}
	}
	for k, r := range f.Store.AppendMany(ctx, through) {
		if results[places[k]].Err == nil {
			results[places[k]] = r
		}
	}
	return results
}

// Faults returns a Next that deals out the given faults and then none.
func Faults(faults ...Fault) func() Fault {
	var mu sync.Mutex
	return func() Fault {
		mu.Lock()
		defer mu.Unlock()
		if len(faults) == 0 {
			return None
		}
		f := faults[0]
		faults = faults[1:]
		return f
	}
}

// testFaults loses appends and answers, and asks that trying again settles to
// exactly one.
func testFaults(t *testing.T, e Engine) {
	k := open(t, e)
	for name, faults := range map[string][]Fault{
		"lost":                      {Lost},
		"unanswered":                {Unanswered},
		"lost, then unanswered":     {Lost, Unanswered},
		"unanswered, then lost":     {Unanswered, Lost, Lost},
		"unanswered twice":          {Unanswered, Unanswered},
		"none, then both, at twice": {None, Unanswered, Lost, None, Lost, Unanswered},
	} {
		k.sub(name, func(k *kit) {
			s := k.stream("a")
			store := Faulty{Store: k.store, Next: Faults(faults...)}
			var stand []domain.Sealed
			for i := range 4 {
				es := events(s, 1+i%3)
				k.settle(store, s, domain.Revision(len(stand)-1), es)
				stand = append(stand, es...)
			}
			k.whole(s, stand, 0)
		})
	}
	k.sub("many at once", func(k *kit) {
		store := Faulty{Store: k.store, Next: Faults(Lost, Unanswered, None, Unanswered, Lost, None, Unanswered)}
		var appends []eventstore.Append
		for i := range 5 {
			s := k.stream(string(rune('a' + i)))
			appends = append(appends, eventstore.Append{Stream: s, Expected: domain.NoStream, Events: events(s, 2)})
		}
		pending := appends
		for len(pending) > 0 {
			var again []eventstore.Append
			for i, r := range store.AppendMany(k.ctx, pending) {
				if errors.Is(r.Err, ErrFault) {
					again = append(again, pending[i])
				} else if r.Err != nil || r.Appended.Revision != 1 {
					k.Fatalf("result %d: %+v", i, r)
				}
			}
			pending = again
		}
		for _, a := range appends {
			k.whole(a.Stream, a.Events, 0)
		}
	})
}

// settle tries the same append until it is answered.
func (k *kit) settle(store eventstore.Appender, s domain.Stream, expected domain.Revision, es []domain.Sealed) {
	k.Helper()
	for range 10 {
		a, err := store.Append(k.ctx, s, expected, es)
		if errors.Is(err, ErrFault) {
			continue
		}
		if err != nil || a.Revision != expected+domain.Revision(len(es)) {
			k.Fatalf("append at %d: %+v, %v", expected, a, err)
		}
		return
	}
	k.Fatal("never settled")
}
