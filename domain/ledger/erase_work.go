package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// erasureDocument is the prefix of the custodian's documents of requests.
const erasureDocument = "erasure/"

// An erasure is a request in progress, as the custodian keeps it: everything
// that must not be decided twice. It holds refs but no external id, and goes
// when the request's period ends.
type erasure struct {
	Request     domain.RequestID  `json:"request"`
	Receipt     domain.ReceiptID  `json:"receipt"`
	Destruction keys.Destruction  `json:"destruction"`
	File        domain.SubjectRef `json:"file"` // in whose stream the request stands
	FileClass   domain.Class      `json:"file_class"`
	Erase       []domain.Class    `json:"erase"`
	Withheld    []domain.Withheld `json:"withheld"`
	Empty       bool              `json:"empty,omitempty"`  // nothing was ever in the range
	Narrow      bool              `json:"narrow,omitempty"` // names classes or a purpose
	Ground      string            `json:"ground"`
	Reason      string            `json:"reason"`
	Channel     string            `json:"channel"`
	Role        string            `json:"role"`
	After       struct {
		Destruction domain.Revision `json:"destruction"`
		File        domain.Revision `json:"file"`
	} `json:"after"` // where the streams ended before the request began

	Received  time.Time       `json:"received"`
	Fenced    time.Time       `json:"fenced,omitzero"`
	Plan      *keys.Plan      `json:"plan,omitempty"`
	Probe     *probe          `json:"probe,omitempty"`
	Journal   *uint64         `json:"journal,omitempty"`  // the line that names the dead keys
	Mirrored  bool            `json:"mirrored,omitempty"` // a second node has that line
	Destroyed time.Time       `json:"destroyed,omitzero"`
	Signed    json.RawMessage `json:"signed,omitempty"` // the receipt, once it is signed
	Done      time.Time       `json:"done,omitzero"`
	Disposed  time.Time       `json:"disposed,omitzero"` // of its ciphertext, too
	Position  domain.Position `json:"position,omitzero"`

	version keys.Version
}

// nothing reports whether there is nothing to destroy: an unknown person, or
// only classes that are withheld.
func (w *erasure) nothing() bool { return w.Destruction.Ref.IsZero() || len(w.Erase) == 0 }

// withheld reports whether all that was asked for is kept by law.
func (w *erasure) withheld() bool { return len(w.Erase) == 0 && !w.Empty }

func decodeErasure(value []byte) (*erasure, error) {
	w := &erasure{}
	if err := json.Unmarshal(value, w); err != nil {
		return nil, fmt.Errorf("reading an erasure in progress: %w", err)
	}
	return w, nil
}

func (l *Ledger) load(ctx context.Context, request domain.RequestID) (*erasure, error) {
	value, version, err := l.Custody.Document(ctx, erasureDocument+request.String())
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", request, err)
	}
	w, err := decodeErasure(value)
	if err != nil {
		return nil, err
	}
	w.version = version
	return w, nil
}

// save keeps what was decided; from here on the decision stands, whoever
// finishes the request.
func (l *Ledger) save(ctx context.Context, w *erasure) error {
	value, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encoding request %s: %w", w.Request, err)
	}
	w.version, err = l.Custody.PutDocument(ctx, erasureDocument+w.Request.String(), w.version, value)
	if err != nil {
		return fmt.Errorf("keeping request %s: %w", w.Request, err)
	}
	return nil
}

// outcome answers a finished request from what stands in the log.
func (l *Ledger) outcome(_ context.Context, w *erasure) (Outcome, error) {
	receipt, err := domain.DecodeReceipt(w.Signed)
	if err != nil {
		return Outcome{}, fmt.Errorf("receipt of request %s: %w", w.Request, err)
	}
	state := RequestKeysDestroyed
	switch {
	case w.withheld():
		state = RequestWithheld
	case w.Journal != nil && !w.Disposed.IsZero():
		state = RequestCompleted
	}
	return Outcome{Request: w.Request, State: state, Receipt: receipt, Stored: w.Signed, Position: w.Position}, nil
}
