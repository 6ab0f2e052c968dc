package keytest

import (
	"context"
	"errors"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// Open opens the custodian kept at a place, an existing directory, and creates
// it where there is none. After Close, opening the same place again finds what
// was acknowledged.
type Open func(place string) (keys.Custodian, error)

// Run tests a custodian, and a ring above it, against the whole contract. Its cases
// run beside each other, each at a place of its own.
func Run(t *testing.T, open Open) {
	suite := []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Directory", testDirectory},
		{"Change", testChange},
		{"RemoveLeavesSuccessor", testRemoveLeavesSuccessor},
		{"Blocks", testBlocks},
		{"Retention", testRetention},
		{"RetentionDestroyed", testRetentionDestroyed},
		{"RetentionOrder", testRetentionOrder},
		{"Documents", testDocuments},
		{"DocumentVersions", testDocumentVersions},
		{"LedgerKeys", testLedgerKeys},
		{"LedgerKeysOnce", testLedgerKeysOnce},
		{"Closed", testClosed},
		{"EnrolRace", testEnrolRace},
		{"EnrolRemoveRace", testEnrolRemoveRace},
		{"ChangeRace", testChangeRace},
		{"RetentionRace", testRetentionRace},
		{"DocumentRace", testDocumentRace},
		{"Enrol", testRingEnrol},
		{"ExternalIDs", testExternalIDs},
		{"Sealing", testSealing},
		{"SealingRefused", testSealingRefused},
		{"SealingClock", testSealingClock},
		{"SealingGens", testSealingGens},
		{"IssueAhead", testIssueAhead},
		{"Expiry", testExpiry},
		{"ShortenedPeriod", testShortenedPeriod},
		{"EarlyExpiryRefused", testEarlyExpiryRefused},
		{"UnknownKey", testUnknownKey},
		{"Unavailable", testUnavailable},
		{"Fence", testFence},
		{"FenceWhileSealing", testFenceWhileSealing},
		{"EraseClass", testEraseClass},
		{"EraseRange", testEraseRange},
		{"EraseSubject", testEraseSubject},
		{"JournalledOnly", testJournalledOnly},
		{"KeyBesideTag", testKeyBesideTag},
		{"ErasePlan", testErasePlan},
		{"BadDestruction", testBadDestruction},
		{"Anonymous", testAnonymous},
		{"AnonymousAhead", testAnonymousAhead},
		{"EraseLinked", testEraseLinked},
		{"RetireBlock", testRetireBlock},
		{"Faults", testFaults},
		{"Replay", testReplay},
		{"ReplayAfterEveryStep", testReplayAfterEveryStep},
		{"Status", testStatus},
		{"Model", testModel},
	}
	divideLives(t)
	for _, s := range suite {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.test(t, open)
		})
	}
}

// A tester is what a test fails through: *testing.T or *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// A fixture is one custodian that can be closed and opened again.
type fixture struct {
	t     tester
	open  Open
	place string
	keys.Custodian
}

func newFixture(t *testing.T, open Open) *fixture {
	t.Helper()
	f := newFixtureAt(t, open, t.TempDir())
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

// newFixtureAt leaves closing to the caller.
func newFixtureAt(t tester, open Open, place string) *fixture {
	t.Helper()
	f := &fixture{t: t, open: open, place: place}
	f.start()
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	c, err := f.open(f.place)
	check(f.t, err)
	f.Custodian = c
}

// reopen closes the custodian and opens it again.
func (f *fixture) reopen() {
	f.t.Helper()
	check(f.t, f.Close())
	f.start()
}

// twice runs a check before and after reopening.
func (f *fixture) twice(fn func()) {
	f.t.Helper()
	fn()
	f.reopen()
	fn()
}

func check(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func wantErr(t tester, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func equal[T comparable](t tester, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func background() context.Context { return context.Background() }

// someone makes an entry of a random person with keys for two classes.
func someone(directory byte) (keys.Subject, *seal.Bundle) {
	s := keys.Subject{Ref: domain.New[domain.SubjectRef](), Scope: domain.Erasable, Issued: noon}
	s.Directory[0] = directory
	b := &seal.Bundle{}
	for i, c := range []domain.Class{"messages", "network"} {
		if err := b.Issue(c, 1, secret(byte(i)+directory)); err != nil {
			panic(err)
		}
	}
	return s, b
}

// secret makes a key that no other number makes.
func secret(n byte) (s seal.Secret) {
	for i := range s {
		s[i] = n ^ byte(31*i)
	}
	return s
}
