package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A journalHead is the custodian's note: how many lines, and the last one's hash.
type journalHead struct {
	Seq    uint64 `json:"seq"`
	SHA256 string `json:"sha256"`
}

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
	return h, version, nil
}

// moveHead brings the custodian's note to the last line: only from a line that this
// journal has, too.
func (j *Journal) moveHead(ctx context.Context) error {
	for range appendTries {
		have, version, err := j.head(ctx)
		if err != nil {
			return err
		}
		if have.Seq > j.chain.Next { // another node has gone on
			if err := j.catchUp(ctx); err != nil {
				return err
			}
		}
		want := journalHead{Seq: j.chain.Next, SHA256: j.chain.Prev.String()}
		switch {
		case have == want:
			return nil
		case have.Seq > j.chain.Next:
			return fmt.Errorf("custodian at line %d, journal at %d: %w", have.Seq, j.chain.Next, ErrJournalShort)
		case j.hashBefore(have.Seq) != have.SHA256:
			return fmt.Errorf("the custodian's line %d is another one: %w", have.Seq, ErrJournalForked)
		}
		value, err := json.Marshal(want)
		if err != nil {
			return fmt.Errorf("encoding the journal's head: %w", err)
		}
		if _, err = j.Heads.PutDocument(ctx, headDocument, version, value); !errors.Is(err, domain.ErrConflict) {
			if err != nil {
				return fmt.Errorf("moving the journal's head to line %d: %w", want.Seq, err)
			}
			return nil
		}
	}
	return fmt.Errorf("the journal's head keeps moving: %w", domain.ErrConflict)
}
