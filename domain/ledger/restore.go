package ledger

import (
	"context"
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
	// Again counts what was there although the journal names it, and is destroyed
	// now.
	Again keys.Replayed
}

// RestoreCheck carries every destruction that the journal names out once more, by
// the whole procedure of FORMAT §7, and brings the custodian's head to the last
// line. It is what a start does where the custodian's head is behind; called at
// any time it finds nothing, unless keys came back.
func (l *Ledger) RestoreCheck(ctx context.Context) (Restored, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	return l.Journal.check(ctx, true)
}

// RestoreWatch does the same if the custodian's head is behind the journal, which
// while nothing is being destroyed means that it was restored under this process.
func (l *Ledger) RestoreWatch(ctx context.Context) (Restored, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	return l.Journal.check(ctx, false)
}

func (j *Journal) check(ctx context.Context, always bool) (found Restored, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(ctx); err != nil {
		return found, err
	}
	head, _, err := j.head(ctx)
	if err != nil {
		return found, err
	}
	found.Lines = j.chain.Next
	if head.Seq < j.chain.Next {
		found.Behind = j.chain.Next - head.Seq
	}
	if found.Behind == 0 && !always {
		return found, nil
	}
	lines, err := j.everyLine(ctx)
	if err != nil {
		return found, err
	}
	if found.Again, err = j.Ring.Replay(ctx, lines); err != nil {
		return found, fmt.Errorf("destroying again what the journal names: %w", err)
	}
	return found, j.moveHead(ctx)
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
