// Package storetest is the contract suite of event stores: every engine passes it
// whole. What eventstore promises is written there; here it is asked.
//
// The suite makes no assumption about what else stands in the log: it uses
// streams of its own and reads past everything else, so it may run against a
// server that others use.
package storetest

import (
	"testing"

	"github.com/lethe-ledger/lethe/eventstore"
)

// An Engine opens the store under test.
type Engine struct {
	// Open returns a store whose log may be empty or not. It is closed by the
	// suite, but for stores that Reopen closed.
	Open func(t *testing.T) eventstore.Store
	// Reopen closes s and returns a store on the same log.
	Reopen func(t *testing.T, s eventstore.Store) eventstore.Store
}

// Run runs the whole suite.
func Run(t *testing.T, e Engine) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, e Engine)
	}{
		{"append", testAppend},
		{"idempotency", testIdempotency},
		{"append many", testAppendMany},
		{"concurrency", testConcurrency},
		{"read stream", testReadStream},
		{"read all", testReadAll},
		{"subscribe all", testSubscribeAll},
		{"subscribe stream", testSubscribeStream},
		{"subscription ends", testSubscriptionEnds},
		{"truncate", testTruncate},
		{"delete", testDelete},
		{"limits", testLimits},
		{"close", testClose},
		{"reopen", testReopen},
		{"faults", testFaults},
		{"model", testModel},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, e) })
	}
}
