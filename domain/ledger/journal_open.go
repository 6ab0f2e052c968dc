package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// A storedLine is a line with the event that holds it in the log.
type storedLine struct {
	id  domain.EventID
	raw []byte
}

// readLog reads and checks every line of the log's journal.
func (j *Journal) readLog(ctx context.Context) ([]storedLine, error) {
	var lines []storedLine
	for r, err := range j.Log.ReadStream(ctx, j.stream, 0, eventstore.Forward, 0) {
		if err != nil {
			return nil, fmt.Errorf("reading the journal: %w", err)
		}
		raw, err := j.document(r)
		if err != nil {
			return nil, err
		}
		lines = append(lines, storedLine{id: r.ID(), raw: raw})
	}
	return lines, nil
}

// mend makes log, file and custodian agree on the longest journal that all of
// them extend, and replays what the custodian has not seen.
func (j *Journal) mend(ctx context.Context, lines []storedLine) (found Replayed, err error) {
	inFile := j.file.takeLines()
	public, err := j.publicKeys(ctx)
	if err != nil {
		return found, err
	}
	if err := j.diverges(ctx, lines, inFile, public); err != nil {
		return found, err
	}
	if err := j.takeStored(lines, public); err != nil {
		return found, err
	}
	found.FileLines = max(len(lines)-len(inFile), len(inFile)-len(lines))
	if j.aside == nil {
		// The log went back; the file still knows. Its lines stand again behind the
		// log's last one.
		for _, raw := range inFile[min(len(lines), len(inFile)):] {
			if err := j.putBack(ctx, raw); err != nil {
				return found, err
			}
		}
	}
	if found.Lines, err = j.replay(ctx); err != nil {
		return found, err
	}
	j.opened = nil
	if err := j.judge(ctx); !errors.Is(err, domain.ErrForked) {
		return found, err
	}
	found.Stopped = j.Allowed()
	return found, nil
}

// takeStored checks the signatures of the log's lines and takes them.
func (j *Journal) takeStored(lines []storedLine, public []ed25519.PublicKey) error {
	for _, line := range lines {
		taken, err := j.take(line.id, line.raw)
		if err != nil {
			return err
		}
		j.opened = append(j.opened, taken)
		if err := verified(j.ID, line.raw, public); err != nil {
			return err
		}
	}
	return nil
}

func verified(l domain.LedgerID, raw []byte, public []ed25519.PublicKey) error {
	line, err := domain.DecodeJournalLine(raw)
	if err != nil {
		return err
	}
	return line.Verify(l, public...)
}

func (j *Journal) publicKeys(ctx context.Context) ([]ed25519.PublicKey, error) {
	all, err := j.Ring.PublicKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("public keys of the journal: %w", err)
	}
	var public []ed25519.PublicKey
	for _, k := range all {
		if k.Use == keys.SignJournal {
			public = append(public, k.Key)
		}
	}
	return public, nil
}

// replay carries out again what the custodian's head does not cover: after a
// crash that is the line in progress, after a restore everything since the copy.
// While a file with other lines is missing or set aside, nothing: who has it does.
func (j *Journal) replay(ctx context.Context) (int, error) {
	head, _, err := j.head(ctx)
	if err != nil {
		return 0, err
	}
	if j.aside != nil || len(j.missing(head.Forked)) > 0 {
		return 0, nil
	}
	if err := j.extends(head); err != nil {
		return 0, err
	}
	j.expects.saw(head.Seq)
	if head.Seq == j.chain.Next {
		return 0, nil
	}
	if _, err := j.Ring.Replay(ctx, j.opened); err != nil {
		return 0, fmt.Errorf("destroying again what the journal names: %w", err)
	}
	return int(j.chain.Next - head.Seq), j.moveHeadAs(ctx, domain.New[domain.CommandID]()) //nolint:gosec // counts
}

// hashBefore returns the hash that line seq names as its predecessor.
func (j *Journal) hashBefore(seq uint64) string {
	if seq == 0 {
		return domain.JournalHash{}.String()
	}
	return j.file.hashes[seq-1].String()
}
