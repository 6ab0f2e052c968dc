package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// mirrorWait is how long a destruction waits for a second node to have its line on
// disk; after it one is enough, and the receipt says so (FORMAT §7).
const mirrorWait = 5 * time.Second

// Follow takes the lines that other nodes wrote: into the file, and their keys are
// dead here.
func (j *Journal) Follow(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.catchUp(ctx); err != nil {
		return fmt.Errorf("following the erasure journal: %w", err)
	}
	return nil
}

// followJournal is Journal.Follow, and puts the lines back that a log lost which
// went back under this process.
func (l *Ledger) followJournal(ctx context.Context) error {
	if err := l.Journal.Follow(ctx); !errors.Is(err, errWentBack) {
		return err
	}
	l.destroying.Lock()
	defer l.destroying.Unlock()
	l.Journal.mu.Lock()
	defer l.Journal.mu.Unlock()
	return l.Journal.follow(ctx)
}

// Wrote reports whether this process wrote a line.
func (j *Journal) Wrote(id domain.EventID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.own[id]
}

// Mirrored tells the journal how many lines another node has on disk.
func (j *Journal) Mirrored(lines uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if lines > j.mirrored {
		j.mirrored = lines
		close(j.told)
		j.told = make(chan struct{})
	}
}

// AwaitMirror waits until another node has line seq on disk, and reports whether
// one said so within mirrorWait.
func (j *Journal) AwaitMirror(ctx context.Context, seq uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, mirrorWait)
	defer cancel()
	for {
		j.mu.Lock()
		mirrored, told := j.mirrored > seq, j.told
		j.mu.Unlock()
		if mirrored {
			return true
		}
		select {
		case <-told:
		case <-ctx.Done():
			return false
		}
	}
}
