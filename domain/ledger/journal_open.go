package ledger

import (
	"context"
	"crypto/ed25519"
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
func (j *Journal) mend(ctx context.Context, lines []storedLine) (Replayed, error) {
	var found Replayed
	inFile := j.file.takeLines()
	if err := j.agree(ctx, lines, inFile); err != nil {
		return found, err
	}
	found.FileLines = max(len(lines)-len(inFile), len(inFile)-len(lines))
	for i := len(lines); i < len(inFile); i++ {
		// The log went back; the file still knows. Its lines stand again behind the
		// log's last one.
		id := domain.Event(domain.New[domain.CommandID](), firstLine)
		if err := j.append(ctx, id, inFile[i]); err != nil {
			return found, err
		}
		line, err := j.take(id, inFile[i])
		if err != nil {
			return found, err
		}
		j.opened = append(j.opened, line)
	}
	replayed, err := j.replay(ctx)
	j.opened = nil
	found.Lines = replayed
	return found, err
}

// agree checks the signatures and takes the log's lines; one that the file holds
// otherwise is a fork.
func (j *Journal) agree(ctx context.Context, lines []storedLine, inFile [][]byte) error {
	public, err := j.publicKeys(ctx)
	if err != nil {
		return err
	}
	for i, line := range lines {
		if i < len(inFile) && string(inFile[i]) != string(line.raw) {
			return fmt.Errorf("line %d: %w", i, ErrJournalForked)
		}
		taken, err := j.take(line.id, line.raw)
		if err != nil {
			return err
		}
		j.opened = append(j.opened, taken)
		if err := verified(j.ID, line.raw, public); err != nil {
			return err
		}
	}
	for _, raw := range inFile[min(len(lines), len(inFile)):] {
		if err := verified(j.ID, raw, public); err != nil {
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
func (j *Journal) replay(ctx context.Context) (int, error) {
	head, _, err := j.head(ctx)
	if err != nil {
		return 0, err
	}
	if head.Seq > j.chain.Next {
		return 0, fmt.Errorf("custodian at line %d, journal at %d: %w", head.Seq, j.chain.Next, ErrJournalShort)
	}
	if hash := j.hashBefore(head.Seq); hash != head.SHA256 {
		return 0, fmt.Errorf("the custodian's line %d is another one: %w", head.Seq, ErrJournalForked)
	}
	if head.Seq == j.chain.Next {
		return 0, nil
	}
	if _, err := j.Ring.Replay(ctx, j.opened); err != nil {
		return 0, fmt.Errorf("destroying again what the journal names: %w", err)
	}
	return int(j.chain.Next - head.Seq), j.moveHead(ctx) //nolint:gosec // counts
}

// hashBefore returns the hash that line seq names as its predecessor.
func (j *Journal) hashBefore(seq uint64) string {
	if seq == 0 {
		return domain.JournalHash{}.String()
	}
	return j.file.hashes[seq-1].String()
}
