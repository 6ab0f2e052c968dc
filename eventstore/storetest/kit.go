package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// patience is how long the suite waits for what must happen.
const patience = 30 * time.Second

// A kit is one test's store and its streams.
type kit struct {
	*testing.T
	store  eventstore.Store
	ctx    context.Context //nolint:containedctx // of the test
	prefix string
}

func open(t *testing.T, e Engine) *kit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	k := &kit{T: t, store: e.Open(t), ctx: ctx, prefix: "lethe." + strings.ReplaceAll(uuid.NewString()[:13], "-", "") + "."}
	t.Cleanup(func() {
		if err := k.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return k
}

// sub runs a sub-test on the same store with fresh streams.
func (k *kit) sub(name string, f func(k *kit)) {
	k.Run(name, func(t *testing.T) {
		f(&kit{T: t, store: k.store, ctx: k.ctx, prefix: k.prefix + uuid.NewString()[:8] + "."})
	})
}

func (k *kit) stream(name string) domain.Stream { return domain.Stream(k.prefix + name) }

func (k *kit) ours(e domain.Recorded) bool { return strings.HasPrefix(string(e.Stream()), k.prefix) }

const sampleType domain.EventType = "traffic.recorded.v1"

// events makes n events with new ids, and bytes that no text coding survives.
func events(s domain.Stream, n int) []domain.Sealed {
	out := make([]domain.Sealed, n)
	for i := range out {
		id := domain.EventID(uuid.New())
		out[i] = domain.NewSealed(id, s, sampleType, fmt.Appendf(nil, `{"v":1,"n":%d}`, i), append([]byte{0, 255, '\n', 0xc3}, id[:]...))
	}
	return out
}

// otherBytes makes events of the same ids with other type, envelope and data.
func otherBytes(es []domain.Sealed) []domain.Sealed {
	out := make([]domain.Sealed, len(es))
	for i, e := range es {
		out[i] = domain.NewSealed(e.ID(), e.Stream(), "other.made.v1", []byte(`{"v":2}`), []byte("other"))
	}
	return out
}

func (k *kit) append(expected domain.Revision, es ...domain.Sealed) eventstore.Appended {
	k.Helper()
	a, err := k.store.Append(k.ctx, es[0].Stream(), expected, es)
	if err != nil {
		k.Fatalf("append %d events at %d: %v", len(es), expected, err)
	}
	if want := expected + domain.Revision(len(es)); a.Revision != want {
		k.Fatalf("append %d events at %d: revision %d, want %d", len(es), expected, a.Revision, want)
	}
	return a
}

// fill makes a stream of n events.
func (k *kit) fill(name string, n int) (domain.Stream, []domain.Sealed) {
	k.Helper()
	s := k.stream(name)
	es := events(s, n)
	if n > 0 {
		k.append(domain.NoStream, es...)
	}
	return s, es
}

// wrong asks for *WrongRevision with the stream's real end.
func (k *kit) wrong(actual, expected domain.Revision, es ...domain.Sealed) {
	k.Helper()
	_, err := k.store.Append(k.ctx, es[0].Stream(), expected, es)
	k.isWrong(err, es[0].Stream(), actual, expected)
}

func (k *kit) isWrong(err error, s domain.Stream, actual, expected domain.Revision) {
	k.Helper()
	var wrong *eventstore.WrongRevision
	if !errors.As(err, &wrong) {
		k.Fatalf("append at %d: %v, want *WrongRevision", expected, err)
	}
	if *wrong != (eventstore.WrongRevision{Stream: s, Expected: expected, Actual: actual}) {
		k.Fatalf("append at %d: %+v, want actual %d", expected, *wrong, actual)
	}
}

func (k *kit) is(err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Fatalf("error %v, want %v", err, want)
	}
}

// collect gathers a read; its error ends it.
func collect(seq func(func(domain.Recorded, error) bool)) (out []domain.Recorded, err error) {
	for e, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (k *kit) read(s domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) []domain.Recorded {
	k.Helper()
	out, err := collect(k.store.ReadStream(k.ctx, s, from, dir, limit))
	if err != nil {
		k.Fatalf("read %s: %v", s, err)
	}
	return out
}

// readOurs reads the log from a position and leaves out what is not the test's.
func (k *kit) readOurs(from domain.Position, dir eventstore.Direction) []domain.Recorded {
	k.Helper()
	var out []domain.Recorded
	for e, err := range k.store.ReadAll(k.ctx, from, dir, 0) {
		if err != nil {
			k.Fatalf("read all: %v", err)
		}
		if k.ours(e) {
			out = append(out, e)
		}
	}
	return out
}

// same asks that got is what was appended, bytes and all, in order and with
// revisions from first.
func (k *kit) same(got []domain.Recorded, want []domain.Sealed, first domain.Revision) {
	k.Helper()
	if len(got) != len(want) {
		k.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.Revision != first+domain.Revision(i) {
			k.Fatalf("event %d has revision %d, want %d", i, e.Revision, first+domain.Revision(i))
		}
		k.equal(e, want[i])
	}
}

func (k *kit) equal(got domain.Recorded, want domain.Sealed) {
	k.Helper()
	if got.ID() != want.ID() || got.Stream() != want.Stream() || got.Type() != want.Type() ||
		!bytes.Equal(got.Envelope(), want.Envelope()) || !bytes.Equal(got.Data(), want.Data()) {
		k.Fatalf("event %s of %s is not what was appended as %s", got.ID(), got.Stream(), want.ID())
	}
	if got.StoreTime.IsZero() || got.Position == domain.Start {
		k.Fatalf("event %s has store time %s and position %s", got.ID(), got.StoreTime, got.Position)
	}
}

// whole asks that a stream holds exactly es from revision first.
func (k *kit) whole(s domain.Stream, es []domain.Sealed, first domain.Revision) {
	k.Helper()
	k.same(k.read(s, 0, eventstore.Forward, 0), es, first)
}

func reversed[T any](in []T) []T {
	out := make([]T, 0, len(in))
	for i := len(in) - 1; i >= 0; i-- {
		out = append(out, in[i])
	}
	return out
}
