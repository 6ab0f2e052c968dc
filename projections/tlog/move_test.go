package tlog_test

import (
	"slices"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/projections/tlog"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// TestMovedLeavesGoOnInACopyOfTheLog, whose positions are others.
func TestMovedLeavesGoOnInACopyOfTheLog(t *testing.T) {
	w, dir := viewtest.NewWriter(), t.TempDir()
	traffic(w, 300)
	l := open(t, dir, tlog.OS{})
	check(t, catchUp(t, w, l, 1000))
	before := stored(t, l)

	moved := viewtest.NewWriter()
	traffic(moved, 1) // other positions
	var last domain.Recorded
	for e, err := range w.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		check(t, err)
		last = moved.Append(e.Sealed)
	}
	if err := catchUp(t, moved, open(t, dir, tlog.OS{}), 1000); err == nil {
		t.Fatal("leaves of one log went on in another")
	}
	check(t, l.Move(last))
	check(t, l.Move(last))
	l = open(t, dir, tlog.OS{})
	traffic(moved, 20)
	check(t, catchUp(t, moved, l, 1000))
	after := stored(t, l)
	if len(after) != len(before)+20 || !slices.Equal(after[:len(before)], before) {
		t.Fatalf("%d leaves became %d, or others", len(before), len(after))
	}
}
