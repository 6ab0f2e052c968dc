package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// Restored tells what a check after a restore found.
type Restored struct {
	Lines uint64 // of the journal
	// Behind is how many of them the custodian had not seen: more than the line in
	// progress means that it was restored from a copy.
	Behind uint64
	// Put is how many lines only this node's file had, and that stand behind the
	// log's last one now.
	Put int
	// Again counts what was there although the journal names it, and is destroyed
	// now.
	Again keys.Replayed
}

// RestoreCheck carries every destruction that the journal names out once more, by
// the whole procedure of FORMAT §7, and brings the custodian's head to the last
// line. Where this node's journal file contradicts the log it puts what that names
// behind the log's last line first; that ends the stop. It is what a start does
// where the custodian's head is behind; called at any time it finds nothing, unless
// keys came back. domain.ErrForked: it did all that, and another node's file still
// has lines that the log does not have.
func (l *Ledger) RestoreCheck(ctx context.Context) (Restored, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	return l.Journal.check(ctx, true)
}

// RestoreWatch does the same if the custodian's head is behind the journal, which
// while nothing is being destroyed means that it was restored under this process.
// It leaves a file that contradicts the log to RestoreCheck.
func (l *Ledger) RestoreWatch(ctx context.Context) (Restored, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	return l.Journal.check(ctx, false)
}

func (j *Journal) check(ctx context.Context, always bool) (found Restored, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.follow(ctx); err != nil {
		return found, err
	}
	head, _, err := j.head(ctx)
	if err != nil {
		return found, err
	}
	if head.Seq < j.chain.Next {
		found.Behind = j.chain.Next - head.Seq
	}
	found.Lines = j.chain.Next
	switch {
	case always && j.aside != nil:
		if found.Put, err = j.adopt(ctx); err != nil {
			return found, err
		}
	case !always && (found.Behind == 0 || j.aside != nil):
		return found, j.Allowed()
	}
	found.Lines = j.chain.Next
	if found.Again, err = j.replayAll(ctx, found.Behind > 0); err != nil {
		return found, err
	}
	return found, j.settled(ctx)
}

// follow is catchUp, and opens the journal anew where the log went back.
func (j *Journal) follow(ctx context.Context) error {
	err := j.catchUp(ctx)
	if errors.Is(err, errWentBack) {
		err = j.again(ctx)
	}
	return err
}

// replayAll carries the destructions of all lines of the log out again. Where the
// custodian was restored the other processes are told.
func (j *Journal) replayAll(ctx context.Context, restored bool) (again keys.Replayed, err error) {
	lines, err := j.everyLine(ctx)
	if err != nil {
		return again, err
	}
	if again, err = j.Ring.Replay(ctx, lines); err != nil {
		return again, fmt.Errorf("destroying again what the journal names: %w", err)
	}
	if !restored && again == (keys.Replayed{}) {
		return again, j.moveHead(ctx)
	}
	return again, j.moveHeadAs(ctx, domain.New[domain.CommandID]())
}

// settled makes a file whose lines stand in the log the log's again, and frees this
// process unless there is another one.
func (j *Journal) settled(ctx context.Context) error {
	if j.aside != nil && j.aside.stands {
		if err := j.join(ctx); err != nil {
			return err
		}
	}
	return j.judge(ctx)
}

// everyLine reads the journal's lines as they stand in the log.
func (j *Journal) everyLine(ctx context.Context) (lines []keys.Line, err error) {
	stored, err := j.readLog(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range stored {
		line, err := domain.DecodeJournalLine(s.raw)
		if err != nil {
			return nil, err
		}
		lines = append(lines, keys.Line{Seq: line.Seq, Kind: keys.DestructionKind(line.Kind), Dead: line.Dead})
	}
	return lines, nil
}
