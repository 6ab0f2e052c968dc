package esdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Store is a ledger's streams on a server or cluster. Its methods may be called
// from any number of goroutines. Close ends it.
type Store struct {
	*target
	leader *compass
	http   *http.Client

	appends, reads, subscriptions, disposals, scavenges *pool

	// streams lets one append or disposal to a stream be on its way at a time.
	streams streamLocks

	// life ends when Close begins; calls are the goroutines that Close waits for,
	// and starting protects closed against one that is about to begin.
	life     context.Context
	end      context.CancelCauseFunc
	calls    sync.WaitGroup
	starting sync.RWMutex
	closed   bool
}

var _ eventstore.Store = (*Store)(nil)

// New returns a store that has not asked its server for anything yet: calls answer
// domain.ErrUnavailable until the server is there. Errors: ErrConfig.
func New(c Config) (*Store, error) {
	t, err := c.resolve()
	if err != nil {
		return nil, err
	}
	s := &Store{target: t, http: t.httpClient()}
	s.life, s.end = context.WithCancelCause(context.Background())
	s.leader = &compass{store: s}
	s.appends = newPool(s, t.Accounts.Writer, t.Connections.Append, callsAtOnce)
	s.reads = newPool(s, t.Accounts.Reader, t.Connections.Read, callsAtOnce)
	s.subscriptions = newPool(s, t.Accounts.Reader, t.Connections.Subscribe, 1)
	s.disposals = newPool(s, t.Accounts.Disposer, t.Connections.Dispose, callsAtOnce)
	s.scavenges = newPool(s, t.Accounts.Scavenger, 1, 1)
	return s, nil
}

// Open returns a store whose server has answered and is not too old. Errors:
// ErrConfig, ErrVersion, else domain.ErrUnavailable.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	if err := s.Ping(ctx); err != nil {
		return nil, fmt.Errorf("open event store: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Ping asks where the leader is, if that is not known already. Errors:
// ErrVersion, else domain.ErrUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, _, err := s.leader.find(ctx)
	return err
}

// bound returns a context that ends with the store as well.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// Close ends every call and subscription with an unavailability and waits for
// their goroutines: a client that looks for its server holds one for
// Deadlines.Connect at most. Only then are the clients closed, because closing one
// under a caller panics there. It may be called twice.
func (s *Store) Close() (err error) {
	s.starting.Lock()
	again := s.closed
	s.closed = true
	s.starting.Unlock()
	s.end(errClosed)
	if !s.callsEnd() {
		return fmt.Errorf("close event store: %w: the client does not let go of its callers", domain.ErrUnavailable)
	}
	if again {
		return nil
	}
	s.http.CloseIdleConnections()
	for _, p := range []*pool{s.appends, s.reads, s.subscriptions, s.disposals, s.scavenges} {
		err = errors.Join(err, p.close())
	}
	if err != nil {
		return fmt.Errorf("close event store: %w", unavailable(err))
	}
	return nil
}

// callsEnd waits for all goroutines, for longer than any of them should take.
func (s *Store) callsEnd() bool {
	done := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(done)
	}()
	t := time.NewTimer(3*s.Deadlines.Connect + time.Second)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// spawn runs f on a goroutine that Close waits for; false once Close has begun.
func (s *Store) spawn(f func()) bool {
	s.starting.RLock()
	defer s.starting.RUnlock()
	if s.closed {
		return false
	}
	s.calls.Go(f)
	return true
}

// streamLocks are locks by stream, which exist while somebody wants them.
type streamLocks struct {
	mu    sync.Mutex
	locks map[domain.Stream]*streamLock
}

type streamLock struct {
	held    chan struct{} // full while held
	wanting int
}

// lock waits for the stream's lock no longer than ctx.
func (l *streamLocks) lock(ctx context.Context, s domain.Stream) (unlock func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = map[domain.Stream]*streamLock{}
	}
	k := l.locks[s]
	if k == nil {
		k = &streamLock{held: make(chan struct{}, 1)}
		l.locks[s] = k
	}
	k.wanting++
	l.mu.Unlock()
	select {
	case k.held <- struct{}{}:
		return func() { <-k.held; l.drop(s, k) }, nil
	case <-ctx.Done():
		l.drop(s, k)
		return nil, ended(ctx)
	}
}

func (l *streamLocks) drop(s domain.Stream, k *streamLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.wanting--; k.wanting == 0 {
		delete(l.locks, s)
	}
}
