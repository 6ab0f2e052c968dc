package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Store is a log in a directory. Its methods may be called from any number of
// goroutines. Close ends it.
type Store struct {
	dir     string
	opt     Options
	guard   *guard
	trouble *trouble
	lock    *pebble.Lock
	db      *pebble.DB

	names *lru.Cache[streamNumber, domain.Stream]

	// seq belongs to the sequencer, which Close ends.
	seq     sequenced
	queue   chan *job
	commits chan *group
	idle    chan struct{} // holds a token while no group is being synced
	stopped chan struct{} // closed when sequencer and committer have ended

	durable notice

	// accepting protects closed against callers that are about to enqueue.
	accepting sync.RWMutex
	closed    bool
	// reading is held, shared, while db is read or disposed of, and taken by Close.
	reading sync.RWMutex
	closing chan struct{} // closed when Close begins

	// disposing lets one truncation or deletion remove events at a time.
	disposing sync.Mutex
}

var _ eventstore.Store = (*Store)(nil)

// format is the version of the layout in the directory.
const format = "1"

// Open opens the store in dir, making it if it is not there, and finishes the
// removals that were interrupted. The directory belongs to the store alone.
//
// Errors: eventstore.ErrLocked if another process, or this one, has it open;
// eventstore.ErrDamaged, with the file where it is known, if what is there was
// not written so; eventstore.ErrFull; else domain.ErrUnavailable.
func Open(dir string, opt Options) (*Store, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, opt: opt, guard: newGuard(opt.FS, dir), trouble: &trouble{},
		queue: make(chan *job, opt.Queue), commits: make(chan *group, 1), idle: make(chan struct{}, 1),
		stopped: make(chan struct{}), closing: make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.guard.armed.Store(true)
	s.idle <- struct{}{}
	go s.sequence()
	go s.commit()
	if err := s.resumeRemovals(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, firstOf(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := s.opt.FS.MkdirAll(s.dir, 0o700); err != nil {
		return openError(err)
	}
	if s.lock, err = pebble.LockDirectory(s.dir, s.opt.FS); err != nil {
		return lockError(err)
	}
	l := engineLog{logf: s.opt.Logf, guard: s.guard, trouble: s.trouble}
	if s.db, err = pebble.Open(s.dir, s.opt.pebble(s.guard, l, s.lock)); err != nil {
		return firstOf(opening(err), s.lock.Close())
	}
	if err := s.start(); err != nil {
		return firstOf(err, s.db.Close(), s.lock.Close())
	}
	return nil
}

// lockError tells a held lock from a directory that cannot be written. Pebble has
// no sentinel for one that this process holds itself, only this text.
func lockError(err error) error {
	var no syscall.Errno
	if (errors.As(err, &no) && (no == syscall.EAGAIN || no == syscall.EACCES) && !errors.Is(err, fs.ErrPermission)) ||
		err.Error() == "lock held by current process" {
		return eventstore.ErrLocked
	}
	return openError(err)
}

func openError(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", eventstore.ErrFull, err)
	}
	return unavailable(err)
}

// opening turns an error of Pebble's Open into one of the contract. A file that
// the manifest names and that is not there is damage, too.
func opening(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", eventstore.ErrDamaged, err)
	}
	return openError(err)
}

// start checks the layout and reads where the log ends.
func (s *Store) start() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	last, err := s.lastKey(kindLog)
	if err != nil {
		return err
	}
	number, err := s.lastKey(kindName)
	if err != nil {
		return err
	}
	if err := s.checkMark(last); err != nil {
		return err
	}
	s.seq.last, s.seq.nextNumber = last, streamNumber(number+1)
	if s.seq.heads, err = simplelru.NewLRU[domain.Stream, head](s.opt.Heads, nil); err != nil {
		return err
	}
	if s.names, err = lru.New[streamNumber, domain.Stream](s.opt.Heads); err != nil {
		return err
	}
	s.durable.init(last)
	s.noteMark()
	return nil
}

func (s *Store) checkFormat() error {
	v, err := get(s.db, formatKey())
	switch {
	case err != nil:
		return s.engineError(err)
	case v == nil:
		return s.mark()
	case string(v) != format:
		return fmt.Errorf("layout %q, this release knows %q: %w", v, format, eventstore.ErrDamaged)
	}
	return nil
}

// mark writes the layout's version into a new store. The first log of a new
// Pebble has its old form, in which damage looks like the end: the flush begins
// another.
func (s *Store) mark() error {
	err := firstOf(s.db.Set(formatKey(), []byte(format), pebble.Sync), s.db.Flush(), s.guard.failure())
	if err != nil {
		return openError(err)
	}
	return nil
}

// lastKey returns the number in the last key of a kind, 0 if there is none.
func (s *Store) lastKey(kind byte) (n uint64, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return 0, s.engineError(err)
	}
	defer func() { err = firstOf(err, it.Close()) }()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return 0, s.engineError(err)
		}
		return 0, nil
	}
	if len(it.Key()) != 9 {
		return 0, damaged(s.dir, fmt.Sprintf("key %x", it.Key()))
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), nil
}

// Close ends the store: appends in the queue are still answered, subscriptions
// and later calls get an unavailability, reads in progress end. It reports the
// failure that froze the store, if there was one. It may be called twice.
func (s *Store) Close() error {
	if !s.stopAccepting() {
		return nil
	}
	<-s.stopped
	s.reading.Lock()
	defer s.reading.Unlock()
	db := s.db
	s.db = nil
	err := firstOf(s.flush(db), db.Close(), s.lock.Close(), s.guard.failure())
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, unavailable(err))
	}
	return nil
}

// flush leaves nothing in the write-ahead log, for the next Open's sake, and marks
// where the log ends.
func (s *Store) flush(db *pebble.DB) error {
	if s.health() != nil {
		return nil // what is acknowledged stands in the write-ahead log
	}
	if err := db.Flush(); err != nil {
		return err
	}
	return s.writeMark(s.end())
}

func (s *Store) stopAccepting() bool {
	s.accepting.Lock()
	defer s.accepting.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	close(s.closing)
	close(s.queue)
	return true
}

// read runs f on what the store holds now.
func (s *Store) read(f func(r pebble.Reader) error) (err error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.db == nil {
		return errClosed
	}
	snap := s.db.NewSnapshot()
	defer func() { err = firstOf(err, snap.Close()) }()
	return f(snap)
}
