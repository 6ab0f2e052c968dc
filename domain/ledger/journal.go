package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// headDocument is the custodian's own note of how far the journal goes. It moves
// by compare-and-set from exactly the line before, so that a custodian, a log or
// a file that was restored shows.
const headDocument = "journal/head"

// firstLine is the index of a destruction's first journal event among the events
// of its command.
const firstLine = 100

// ErrJournalShort says that the custodian knows of more lines than log and file have.
var ErrJournalShort = errors.New("the erasure journal is shorter than the custodian's record of it: log and journal file were both restored from older copies; bring back the newest journal file")

// JournalConfig is what a journal stands on. All fields are required.
type JournalConfig struct {
	ID        domain.LedgerID
	Log       Log
	Heads     keys.Documents
	Ring      *keys.Ring
	Integrity seal.Integrity
	Dead      *keys.Dead
	Clock     func() time.Time
	Path      string // of the file; its folder is made
}

// A Journal names destroyed keys for ever: in the log's journal stream, in a
// file outside of the data directory, and in memory (FORMAT §7).
type Journal struct {
	JournalConfig
	stream domain.Stream
	opened []keys.Line // every line, while opening

	stopped atomic.Pointer[error] // why nothing is opened or erased; nil is nothing
	expects expectation           // of the custodian's head
	// As the custodian's head said when it was last read: wentBack, the log lacked
	// lines once; unnoted, and what they destroyed is not noted again.
	wentBack, unnoted atomic.Bool

	mu    sync.Mutex // protects what follows; one line at a time
	chain domain.JournalChain
	named map[domain.EventID]uint64
	file  *journalFile
	own   map[domain.EventID]bool // lines that this process wrote
	aside *aside                  // the own file, while it contradicts the log
	// unmended: the log went back, and the journal is to be opened anew.
	unmended bool
	// mirrored is how many lines another node has in its file, as far as it said;
	// told is closed and replaced when that grows.
	mirrored uint64
	told     chan struct{}
}

// Replayed tells what a start found to mend.
type Replayed struct {
	FileLines int // lines that the file lacked, or that the log had lost
	Lines     int // lines whose destructions were carried out again
	// Stopped says why nothing is opened or erased although the journal is open:
	// domain.ErrForked.
	Stopped error
}

// OpenJournal reads the journal from log and file, mends what a crash or a
// restore left, and carries out again every destruction that the custodian may
// have lost: nothing is opened or issued before it returns. A file that contradicts
// the log stops opening and erasing everywhere, here from the start on; it does not
// stop the start, because recording goes on.
func OpenJournal(ctx context.Context, c JournalConfig) (*Journal, Replayed, error) {
	j := &Journal{
		JournalConfig: c, stream: domain.StreamsOf(c.ID).Journal(), named: map[domain.EventID]uint64{},
		own: map[domain.EventID]bool{}, told: make(chan struct{}),
	}
	lines, err := j.readLog(ctx)
	if err != nil {
		return nil, Replayed{}, err
	}
	if j.file, err = openJournalFile(c.Path); err != nil {
		return nil, Replayed{}, err
	}
	found, err := j.mend(ctx, lines)
	if err != nil {
		return nil, Replayed{}, errors.Join(err, j.file.close())
	}
	return j, found, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.close() }

// Lines returns how many lines the journal has.
func (j *Journal) Lines() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.chain.Next
}

// Name names dead keys under a destruction's command: in the log, then on disk,
// then in the custodian's head. It returns the seq of the last line. Calling it
// again for the same command finds its lines. From here on the keys open
// nothing. domain.ErrForked: a journal file has lines that the log does not have. A
// custodian that was restored is brought back to the journal first, so that its head
// does not move over what came back.
func (j *Journal) Name(ctx context.Context, command domain.CommandID, kind string, dead []domain.Tag) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(ctx); err != nil {
		return 0, err
	}
	if err := j.current(ctx); err != nil {
		return 0, err
	}
	var seq uint64
	for i := 0; len(dead) > 0; i++ {
		n := min(len(dead), domain.MaxJournalTags)
		id := domain.Event(command, firstLine+uint32(i)) //nolint:gosec // a few lines
		at, err := j.line(ctx, id, domain.JournalKind(kind), dead[:n])
		if err != nil {
			return 0, err
		}
		seq, dead = at, dead[n:]
	}
	return seq, j.moveHead(ctx)
}

// current returns nil once nothing stops an erasure.
func (j *Journal) current(ctx context.Context) error {
	forked, err := j.look(ctx)
	if forked {
		if err := j.judge(ctx); err != nil {
			return err
		}
	}
	if errors.Is(err, ErrCustodianBehind) {
		_, err = j.replayAll(ctx, true)
	}
	return err
}

// line returns the seq of the line with an event id, writing it unless it stands.
// Where another node writes at the same time, its line comes first.
func (j *Journal) line(ctx context.Context, id domain.EventID, kind domain.JournalKind, dead []domain.Tag) (uint64, error) {
	for range appendTries {
		if at, done := j.named[id]; done {
			return at, nil
		}
		at, err := j.write(ctx, id, kind, dead)
		var wrong *eventstore.WrongRevision
		if !errors.As(err, &wrong) {
			return at, err
		}
		if err := j.catchUp(ctx); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the journal keeps moving: %w", domain.ErrConflict)
}

// write makes the next line and puts it into the log.
func (j *Journal) write(ctx context.Context, id domain.EventID, kind domain.JournalKind, dead []domain.Tag) (uint64, error) {
	line, err := domain.JournalLine{
		Seq: j.chain.Next, Prev: j.chain.Prev, Day: domain.BucketAt(j.Clock(), domain.Day), Kind: kind, Dead: dead,
	}.Sign(j.ID, func(message []byte) ([]byte, error) {
		_, signature, err := j.Ring.Sign(ctx, keys.SignJournal, message)
		return signature, err
	})
	if err != nil {
		return 0, err
	}
	raw, err := line.Encode()
	if err != nil {
		return 0, err
	}
	j.own[id] = true
	if err := j.append(ctx, id, raw); err != nil {
		return 0, err
	}
	_, err = j.take(id, raw)
	return line.Seq, err
}

// append puts a line into the log at its own revision.
func (j *Journal) append(ctx context.Context, id domain.EventID, raw []byte) error {
	spec, err := domain.Events.Spec(domain.JournalRecorded)
	if err != nil {
		return err
	}
	e := domain.Envelope{Hour: domain.HourOf(j.Clock()), Salt: newSalt(), Class: domain.ClassJournal}
	event, err := j.Integrity.Document(id, j.stream, spec, e, raw)
	if err != nil {
		return fmt.Errorf("journal line %d: %w", j.chain.Next, err)
	}
	expected := domain.Revision(j.chain.Next) - 1 //nolint:gosec // lines are counted from 0
	if _, err := j.Log.Append(ctx, j.stream, expected, []domain.Sealed{event}); err != nil {
		return fmt.Errorf("journal line %d: %w", j.chain.Next, err)
	}
	return nil
}

// take accepts a line that stands in the log: it is the next one, it goes to the
// file, and its keys are dead.
func (j *Journal) take(id domain.EventID, raw []byte) (keys.Line, error) {
	chain := j.chain
	line, err := chain.Add(raw)
	if err != nil {
		return keys.Line{}, err
	}
	if err := j.file.append(line.Seq, raw); err != nil {
		return keys.Line{}, err
	}
	j.chain = chain
	j.expects.took(chain.Next, j.Clock())
	j.named[id] = line.Seq
	j.Dead.Add(line.Dead...)
	return keys.Line{Seq: line.Seq, Kind: keys.DestructionKind(line.Kind), Dead: line.Dead}, nil
}

// catchUp takes lines that others wrote, or that an append of unknown outcome left
// in the log, if the last one that was taken still stands there: errWentBack.
func (j *Journal) catchUp(ctx context.Context) error {
	if j.unmended {
		return errWentBack
	}
	last := domain.Revision(j.chain.Next) - 1 //nolint:gosec // lines are counted from 0
	extends := last < 0
	for r, err := range j.Log.ReadStream(ctx, j.stream, max(last, 0), eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		raw, err := j.document(r)
		if err != nil {
			return err
		}
		if r.Revision == last {
			if extends = domain.HashJournalLine(raw) == j.chain.Prev; !extends {
				break
			}
			continue
		}
		if _, err := j.take(r.ID(), raw); err != nil {
			return err
		}
	}
	if !extends {
		return errWentBack
	}
	return nil
}

// document returns a line of the log whose tag is right.
func (j *Journal) document(r domain.Recorded) ([]byte, error) {
	if err := j.Integrity.Verify(r.Sealed); err != nil {
		return nil, fmt.Errorf("journal line %d: %w", r.Revision, err)
	}
	return seal.DocumentOf(r.Sealed)
}
