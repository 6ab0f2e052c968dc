package erasable

import "errors"

// Failures a caller can tell apart with errors.Is. None carries a key or a
// value of the tree.
var (
	// ErrLocked: another process, or another Tree of this one, has the directory.
	ErrLocked = errors.New("directory is in use by another process")
	// ErrDamaged: a page is not what was written there. The text names file and page.
	ErrDamaged = errors.New("damaged")
	// ErrNoRoot: keys.tree is there and keys.root is absent or unreadable.
	ErrNoRoot = errors.New("the root of the key tree is missing or unreadable: without it nothing opens; restore keys.root and keys.tree from a backup")
	// ErrWrapped: the root is wrapped, and Options.Wrap is absent or another key.
	ErrWrapped = errors.New("the root of the key tree is wrapped under another key than the one given")
	// ErrReopen: a write that commits failed, so that the state on disk is the
	// one before or the one after. The Tree takes no more updates; a Tree opened
	// anew has one of the two, whole.
	ErrReopen = errors.New("a commit failed half-way: the key tree must be reopened")
	// ErrClosed: the Tree was closed.
	ErrClosed = errors.New("key tree is closed")
	// ErrReadOnly: Put or Delete within View.
	ErrReadOnly = errors.New("transaction reads only")
	// ErrTxDone: a Tx was used after its function returned.
	ErrTxDone = errors.New("transaction has ended")
	// ErrTooLarge: a key over MaxKey or a value over MaxValue.
	ErrTooLarge = errors.New("key or value too large")
)
