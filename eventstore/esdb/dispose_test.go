package esdb

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// raw is the client without the store around it.
func (b *bench) raw() *client.Client {
	b.Helper()
	c, err := client.NewClient(b.store.client(b.store.seeds[0], b.store.Accounts.Disposer))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func (b *bench) setMetadata(s domain.Stream, text string) {
	b.Helper()
	_, err := b.raw().AppendToStream(b.ctx, "$$"+string(s), client.AppendToStreamOptions{ExpectedRevision: client.Any{}},
		client.EventData{EventType: "$metadata", ContentType: client.ContentTypeJson, Data: []byte(text)})
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) metadata(s domain.Stream) (fields map[string]any, revision domain.Revision) {
	b.Helper()
	m, err := b.store.metadata(b.ctx, s)
	if err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(m.fields)
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		b.Fatal(err)
	}
	return fields, m.revision
}

// A truncation keeps what else stands in the metadata, which the client cannot
// even read back where a right has two groups, and is never taken back.
func TestTruncationKeepsTheRestOfTheMetadata(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	es := sealed(testStream, 6, 10)
	b.append(testStream, domain.NoStream, es)
	b.setMetadata(testStream, `{"$acl":{"$r":["a","b"]},"own":{"x":1}}`)
	if err := b.store.Truncate(b.ctx, testStream, 3); err != nil {
		t.Fatal(err)
	}
	fields, revision := b.metadata(testStream)
	if want := `map[$acl:map[$r:[a b]] $tb:3 own:map[x:1]]`; fmt.Sprint(fields) != want || revision != 1 {
		t.Fatalf("%v at %d, want %s at 1", fields, revision, want)
	}
	for _, before := range []domain.Revision{3, 2, 0} {
		if err := b.store.Truncate(b.ctx, testStream, before); err != nil {
			t.Fatal(err)
		}
	}
	if _, revision := b.metadata(testStream); revision != 1 {
		t.Fatalf("metadata written again: %d", revision)
	}
	for _, text := range []string{`{"$tb":9223372036854775808}`, `{"$tb":"x"}`} {
		b.setMetadata(testStream, text)
		_, before := b.metadata(testStream)
		if err := b.store.Truncate(b.ctx, testStream, 4); err != nil {
			t.Fatal(err)
		}
		if _, after := b.metadata(testStream); after != before {
			t.Fatalf("%s was replaced", text)
		}
	}
	b.setMetadata(testStream, `nonsense`)
	if err := b.store.Truncate(b.ctx, testStream, 4); err != nil {
		t.Fatal(err)
	}
	if got := b.read(testStream); len(got) != 2 || got[0].ID() != es[4].ID() {
		t.Fatalf("%d events left, want 2", len(got))
	}
}

// Two who truncate the same stream at once both get what they want.
func TestTruncationsAtOnce(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	other := benchAt(t, b.store.URL)
	b.append(testStream, domain.NoStream, sealed(testStream, 40, 10))
	var wg sync.WaitGroup
	for i := range 10 {
		s := []*Store{b.store, other.store}[i%2]
		wg.Go(func() {
			if err := s.Truncate(b.ctx, testStream, domain.Revision(3*i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := b.read(testStream); len(got) == 0 || got[0].Revision != 27 {
		t.Fatalf("%d events left, from %d", len(got), got[0].Revision)
	}
}

func TestALostAnswerToATruncation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(testStream, domain.NoStream, sealed(testStream, 4, 10))
	b.server.SetHooks(esdbtest.Hooks{AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.Aborted()))})
	if err := b.store.Truncate(b.ctx, testStream, 2); err != nil {
		t.Fatal(err)
	}
	if _, revision := b.metadata(testStream); revision != 0 {
		t.Fatalf("metadata at %d: written twice", revision)
	}
}

// A stream whose end somebody else hid is not taken for one that never was.
func TestAStreamThatSomebodyElseHid(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t, hasty), own()
	b.append(testStream, domain.NoStream, sealed(testStream, 2, 10))
	b.setMetadata(testStream, `{"$tb":9}`)
	_, err := b.store.Last(b.ctx, testStream)
	b.unavailable(err)
	_, err = b.store.Append(b.ctx, testStream, domain.NoStream, sealed(testStream, 1, 10))
	b.unavailable(err)
}

func TestDisposalOfWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, s := range []domain.Stream{"", "$settings", "other.a", "lethe."} {
		b.is(b.store.Delete(b.ctx, s), eventstore.ErrInvalid)
		b.is(b.store.Truncate(b.ctx, s, 1), eventstore.ErrInvalid)
	}
	if err := b.store.Delete(b.ctx, testStream); err != nil {
		t.Fatal(err)
	}
	b.is(b.store.Truncate(b.ctx, testStream, 1), eventstore.ErrDeleted)
}
