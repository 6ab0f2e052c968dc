package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A journalHead is the custodian's note: how many lines, the last one's hash, and
// the files that hold lines which the log does not have. While one is named the
// head is forked, which stops every process.
type journalHead struct {
	Seq    uint64 `json:"seq"`
	SHA256 string `json:"sha256"`
	// Restored names the last replay: who sees another one forgets what it derived
	// from the custodian before.
	Restored domain.CommandID `json:"restored,omitzero"`
	Forked   []Fork           `json:"forked,omitempty"`
	// Back names the last time that the log lacked lines of a journal file, and so the
	// notes of destructions, too; Noted the one behind which they were noted again.
	Back  domain.CommandID `json:"back,omitzero"`
	Noted domain.CommandID `json:"noted,omitzero"`
}

// A Fork is a journal file with lines that the log does not have, by how many lines
// it has and the last one's hash; where its lines are not this ledger's, by the hash
// of all of it.
type Fork struct {
	Lines  uint64 `json:"lines"`
	SHA256 string `json:"sha256"`
	// GivenUp is the principal who said that the file is lost; another one confirms
	// it within GiveUpWithin.
	GivenUp domain.SubjectRef `json:"given_up,omitzero"`
	At      time.Time         `json:"at,omitzero"`
}

func (f Fork) String() string { return fmt.Sprintf("%d lines, %s", f.Lines, f.SHA256) }

// maxForks bounds the head; more nodes than that do not go apart at once.
const maxForks = 64

// same compares all but who gave a file up.
func (f Fork) same(o Fork) bool { return f.Lines == o.Lines && f.SHA256 == o.SHA256 }

func (j *Journal) head(ctx context.Context) (journalHead, keys.Version, error) {
	value, version, err := j.Heads.Document(ctx, headDocument)
	if errors.Is(err, domain.ErrNotFound) {
		return journalHead{SHA256: domain.JournalHash{}.String()}, 0, nil
	}
	if err != nil {
		return journalHead{}, 0, fmt.Errorf("reading the journal's head: %w", err)
	}
	var h journalHead
	if err := json.Unmarshal(value, &h); err != nil {
		return journalHead{}, 0, fmt.Errorf("reading the journal's head: %w", err)
	}
	j.wentBack.Store(!h.Back.IsZero())
	j.unnoted.Store(h.Back != h.Noted)
	return h, version, nil
}

// changeHead edits the custodian's note by compare-and-set, each time as it stands;
// nothing is written where edit changes nothing.
func (j *Journal) changeHead(ctx context.Context, edit func(*journalHead) (changed bool, err error)) error {
	for range appendTries {
		h, version, err := j.head(ctx)
		if err != nil {
			return err
		}
		changed, err := edit(&h)
		if err != nil {
			return err
		}
		if !changed {
			return nil
		}
		value, err := json.Marshal(h)
		if err != nil {
			return fmt.Errorf("encoding the journal's head: %w", err)
		}
		switch _, err = j.Heads.PutDocument(ctx, headDocument, version, value); {
		case err == nil:
			return nil
		case !errors.Is(err, domain.ErrConflict):
			return fmt.Errorf("moving the journal's head to line %d: %w", h.Seq, err)
		}
	}
	return fmt.Errorf("the journal's head keeps moving: %w", domain.ErrConflict)
}

// moveHead brings the custodian's note to the last line: only from a line that this
// journal has, too. What stands in the log by now is forked no more.
func (j *Journal) moveHead(ctx context.Context) error { return j.moveHeadAs(ctx, domain.CommandID{}) }

// moveHeadAs does so after a replay of that name, if it has one.
func (j *Journal) moveHeadAs(ctx context.Context, replay domain.CommandID) error {
	err := j.changeHead(ctx, func(h *journalHead) (bool, error) {
		if h.Seq > j.chain.Next { // another node has gone on
			if err := j.catchUp(ctx); err != nil {
				return false, err
			}
		}
		if err := j.extends(*h); err != nil {
			return false, err
		}
		missing := j.missing(h.Forked)
		changed := h.Seq != j.chain.Next || len(missing) != len(h.Forked)
		h.Seq, h.SHA256, h.Forked = j.chain.Next, j.chain.Prev.String(), missing
		if !replay.IsZero() {
			h.Restored, changed = replay, true
		}
		return changed, nil
	})
	if err == nil {
		j.expects.saw(j.chain.Next)
	}
	return err
}

// extends reports nil where the journal goes on from the custodian's note.
func (j *Journal) extends(h journalHead) error {
	if h.Seq > j.chain.Next {
		return fmt.Errorf("custodian at line %d, journal at %d: %w", h.Seq, j.chain.Next, ErrJournalShort)
	}
	if j.hashBefore(h.Seq) != h.SHA256 && !j.aside.has(h.Seq, h.SHA256) {
		return fmt.Errorf("the custodian's line %d is another one: %w", h.Seq, domain.ErrForked)
	}
	return nil
}

// missing are the files whose last line this journal does not have, and of which it
// is not known otherwise that all that they name stands in it.
func (j *Journal) missing(forks []Fork) []Fork {
	return slices.DeleteFunc(slices.Clone(forks), func(f Fork) bool {
		return f.Lines <= j.chain.Next && j.hashBefore(f.Lines) == f.SHA256 || j.aside != nil && j.aside.stands && j.aside.fork.same(f)
	})
}

// headLag is how long a line may stand in the log before the custodian's head says
// so. A head that is later was restored, or whoever wrote the line died: both are
// mended by a replay.
const headLag = 10 * time.Second

// An expectation is how far the custodian's head must be. It is safe for concurrent
// use.
type expectation struct {
	mu    sync.Mutex // protects what follows
	seen  uint64     // how far it was
	lines uint64     // that there are
	due   uint64     // lines that have stood for headLag
	young []youngLine
	// restored is the last replay that was seen.
	restored domain.CommandID
}

// A youngLine is how many lines there were, since when.
type youngLine struct {
	lines uint64
	since time.Time
}

func (e *expectation) took(lines uint64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = lines
	e.young = append(e.young, youngLine{lines, now})
}

func (e *expectation) saw(lines uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = max(e.seen, lines)
}

// another takes a replay's name, and reports whether it is a new one.
func (e *expectation) another(replay domain.CommandID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	is := e.restored != replay
	e.restored = replay
	return is
}

// least is how far a head that is read from now on must be.
func (e *expectation) least(now time.Time) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.young) > 0 && now.Sub(e.young[0].since) > headLag {
		e.due, e.young = e.young[0].lines, e.young[1:]
	}
	return min(max(e.seen, e.due), e.lines)
}

// standing returns the lines of the log's journal, and which time that the log went
// back was the last. domain.ErrForked while a file has lines that are not among them.
func (j *Journal) standing(ctx context.Context) (back domain.CommandID, lines []keys.Line, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	h, _, err := j.head(ctx)
	if err == nil && len(h.Forked) > 0 {
		err = forkedBy(h.Forked)
	}
	if err != nil {
		return back, nil, err
	}
	lines, err = j.everyLine(ctx)
	return h.Back, lines, err
}

// notedAgain says that what the log lost is noted, unless it went back since.
func (j *Journal) notedAgain(ctx context.Context, back domain.CommandID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.changeHead(ctx, func(h *journalHead) (bool, error) {
		changed := h.Noted != back
		h.Noted = back
		return changed, nil
	})
	if err == nil {
		_, _, err = j.head(ctx)
	}
	return err
}

// Lost reports whether the journal names what an event needs, in a ledger whose log
// went back: the notes say so anywhere else.
func (j *Journal) Lost(ctx context.Context, stream domain.StreamName, e domain.Envelope) (bool, error) {
	if !j.wentBack.Load() {
		return false, nil
	}
	return j.Ring.Lost(ctx, e.Where(j.ID), stream.Block)
}
