package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// BoundToLog reports whether work is in progress that goes by positions of the log,
// so that it would be wrong in a copy: a disposal that counts. Everything else that
// is kept in documents goes by revisions and ids, which a copy has, too.
func BoundToLog(ctx context.Context, docs keys.Documents) (bool, error) {
	_, _, err := docs.Document(ctx, sweepDocument)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for a disposal in progress: %w", err)
	}
	return true, nil
}
