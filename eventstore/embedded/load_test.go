package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A load is writers that append to streams of their own, and what became of each
// append.
type load struct {
	mu    sync.Mutex
	acked map[domain.Stream][]domain.EventID // in order
	full  map[domain.EventID]bool            // answered ErrFull: must not be there
	errs  []error
}

func newLoad() *load {
	return &load{acked: map[domain.Stream][]domain.EventID{}, full: map[domain.EventID]bool{}}
}

const noiseSize = 1 << 20

// noise does not compress, as ciphertext does not.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, noiseSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
})

// sample makes an event with a body of size bytes, unlike all others from 100 on.
func sample(s domain.Stream, size int) domain.Sealed {
	id := domain.EventID(uuid.New())
	data := make([]byte, size)
	copy(data, noise()[rand.IntN(noiseSize-size):])
	copy(data[min(size, 100):], id[:])
	return domain.NewSealed(id, s, "traffic.recorded.v1", []byte(`{"v":1}`), data)
}

// run has each of n writers append until it meets an error, stop is closed, or it
// has appended limit events.
func (l *load) run(s *Store, n, size, limit int, stop <-chan struct{}) {
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() { l.write(s, domain.Stream(fmt.Sprintf("lethe.test.writer-%d", w)), size, limit, stop) })
	}
	wg.Wait()
}

func (l *load) write(s *Store, stream domain.Stream, size, limit int, stop <-chan struct{}) {
	last, err := s.Last(context.Background(), stream)
	for i := 0; err == nil && i < limit; i++ {
		select {
		case <-stop:
			return
		default:
		}
		e := sample(stream, size)
		var a eventstore.Appended
		a, err = s.Append(context.Background(), stream, last, []domain.Sealed{e})
		last = a.Revision
		l.note(stream, e.ID(), err)
	}
}

func (l *load) note(stream domain.Stream, id domain.EventID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.acked[stream] = append(l.acked[stream], id)
		return
	}
	l.errs = append(l.errs, err)
	if isFullAnswer(err) {
		l.full[id] = true
	}
}

// adopt takes what a store holds for acknowledged: appends whose outcome was
// unknown are settled now.
func (l *load) adopt(t *testing.T, s *Store) {
	t.Helper()
	for stream := range l.acked {
		l.acked[stream] = nil
		for _, e := range collect(t, s.ReadStream(t.Context(), stream, 0, eventstore.Forward, 0)) {
			l.acked[stream] = append(l.acked[stream], e.ID())
		}
	}
}

// snapshot returns what is acknowledged by now.
func (l *load) snapshot() map[domain.Stream][]domain.EventID {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[domain.Stream][]domain.EventID{}
	for s, ids := range l.acked {
		out[s] = append([]domain.EventID(nil), ids...)
	}
	return out
}

// verify asks that each stream begins with what was acknowledged, that the log
// has every event once, in order, without a hole, and nothing answered ErrFull.
func verify(t *testing.T, s *Store, acked map[domain.Stream][]domain.EventID, full map[domain.EventID]bool) {
	t.Helper()
	for stream, ids := range acked {
		got := collect(t, s.ReadStream(t.Context(), stream, 0, eventstore.Forward, 0))
		if len(got) < len(ids) {
			t.Fatalf("%s has %d events, %d were acknowledged", stream, len(got), len(ids))
		}
		for i, id := range ids {
			if got[i].ID() != id || got[i].Revision != domain.Revision(i) {
				t.Fatalf("%s at %d: %s, acknowledged %s", stream, i, got[i].ID(), id)
			}
		}
	}
	seen, next := map[domain.EventID]bool{}, map[domain.Stream]domain.Revision{}
	for i, e := range collect(t, s.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0)) {
		if e.Position != at(uint64(i+1)) || e.Revision != next[e.Stream()] || seen[e.ID()] || full[e.ID()] {
			t.Fatalf("position %s: revision %d of %s, seen %t, refused %t", e.Position, e.Revision, e.Stream(), seen[e.ID()], full[e.ID()])
		}
		seen[e.ID()] = true
		next[e.Stream()]++
	}
}

func collect(t *testing.T, seq func(func(domain.Recorded, error) bool)) (out []domain.Recorded) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}
