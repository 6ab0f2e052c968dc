package erasable

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of a Tree.
const (
	// MaxKey is the longest key in bytes. The empty key is one, too.
	MaxKey = 256
	// MaxValue is the longest value in bytes.
	MaxValue = 1 << 20

	maxInline = 960 // key and value; four such entries fit a node
)

// A Tx is one consistent state of the tree, with the changes of one Update on
// top. It serves only the goroutine and the time of the function it was given to.
type Tx struct {
	p     *pager
	root  ref
	group map[string]op // changes of Updates before this one in the same commit
	own   map[string]op // nil within View
	bytes int
	done  bool
	err   error // of a Put or Delete: the Update fails even if its function did not look
}

// Get returns key's value and whether there is one. The caller owns it.
// A page that cannot be read is an error, never an absent key.
func (tx *Tx) Get(key []byte) ([]byte, bool, error) {
	if tx.done {
		return nil, false, ErrTxDone
	}
	if o, ok := tx.changed(key); ok {
		return slices.Clone(o.value), o.value != nil, nil
	}
	return tx.p.lookup(tx.root, key)
}

// changed returns what this Update, or one before it, does with key.
func (tx *Tx) changed(key []byte) (op, bool) {
	if o, ok := tx.own[string(key)]; ok {
		return o, true
	}
	o, ok := tx.group[string(key)]
	return o, ok
}

// Put sets key's value; both are copied. What was there before is forgotten as
// by Delete. A failed Put fails the Update.
func (tx *Tx) Put(key, value []byte) error {
	if len(key) > MaxKey || len(value) > MaxValue {
		return tx.fail(ErrTooLarge)
	}
	return tx.set(op{key: bytes.Clone(key), value: append([]byte{}, value...)})
}

// Delete forgets key; an absent one is not an error. A failed Delete fails the
// Update.
func (tx *Tx) Delete(key []byte) error {
	return tx.set(op{key: bytes.Clone(key)})
}

// set reads the leaf first: damage then fails this Update alone and not all
// that share its commit. A deletion of nothing is no change.
func (tx *Tx) set(o op) error {
	if tx.done {
		return ErrTxDone
	}
	if tx.own == nil {
		return tx.fail(ErrReadOnly)
	}
	there, err := tx.p.has(tx.root, o.key)
	if err != nil {
		return tx.fail(err)
	}
	if _, changed := tx.changed(o.key); !there && !changed && o.value == nil {
		return nil
	}
	tx.own[string(o.key)] = o
	tx.bytes += len(o.key) + len(o.value)
	return nil
}

// end makes the transaction useless and forgets its root's key.
func (tx *Tx) end() {
	tx.done = true
	clear(tx.root.key[:])
}

func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// Scan calls fn for each key with the prefix, ascending, as the transaction
// stood when Scan was called. Key and value are the tree's own: fn must neither
// keep nor change them. An error of fn ends the scan and is returned as it is.
func (tx *Tx) Scan(prefix []byte, fn func(key, value []byte) error) error {
	if tx.done {
		return ErrTxDone
	}
	m := merged{changes: tx.changesOf(prefix), fn: fn}
	if tx.root.kind != kindNone {
		err := tx.p.scan(tx.root, prefix, func(e entry) error { return m.stored(tx.p, e) })
		if err != nil {
			return err
		}
	}
	return m.upTo(nil)
}

// changesOf returns the changes of keys with the prefix, ascending.
func (tx *Tx) changesOf(prefix []byte) []op {
	var all map[string]op
	for _, layer := range []map[string]op{tx.group, tx.own} {
		for k, o := range layer {
			if strings.HasPrefix(k, string(prefix)) {
				if all == nil {
					all = map[string]op{}
				}
				all[k] = o
			}
		}
	}
	return ascending(all)
}

func ascending(changes map[string]op) []op {
	ops := slices.Collect(maps.Values(changes))
	slices.SortFunc(ops, func(a, b op) int { return bytes.Compare(a.key, b.key) })
	return ops
}

// merged lays changes over what is stored; both ascend.
type merged struct {
	changes []op
	fn      func(key, value []byte) error
}

// upTo emits the changes below key; all that are left if key is nil.
func (m *merged) upTo(key []byte) error {
	for len(m.changes) > 0 && (key == nil || bytes.Compare(m.changes[0].key, key) < 0) {
		o := m.changes[0]
		m.changes = m.changes[1:]
		if o.value == nil {
			continue
		}
		if err := m.fn(o.key, o.value); err != nil {
			return err
		}
	}
	return nil
}

// stored emits a leaf entry unless a change says otherwise.
func (m *merged) stored(p *pager, e entry) error {
	if err := m.upTo(e.key); err != nil {
		return err
	}
	if len(m.changes) > 0 && bytes.Equal(m.changes[0].key, e.key) {
		return nil // emitted, or not, by the next upTo
	}
	if e.tag != tagLarge {
		return m.fn(e.key, e.rest)
	}
	v, err := p.largeValue(e)
	if err != nil {
		return err
	}
	return m.fn(e.key, v)
}

// scan calls fn for the leaf entries under r whose keys have the prefix.
func (p *pager) scan(r ref, prefix []byte, fn func(entry) error) error {
	c, err := p.get(r)
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	defer p.cache.unpin(c)
	if c.kind == kindInner {
		return p.scanInner(c, prefix, fn)
	}
	for i, _ := c.find(prefix); i < c.n; i++ {
		e := c.at(i)
		if !bytes.HasPrefix(e.key, prefix) {
			return nil
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *pager) scanInner(c *cached, prefix []byte, fn func(entry) error) error {
	first := c.route(prefix)
	for i := first; i < c.n; i++ {
		e := c.at(i)
		if i > first && bytes.Compare(e.key, prefix) > 0 && !bytes.HasPrefix(e.key, prefix) {
			return nil
		}
		if err := p.scan(e.child(), prefix, fn); err != nil {
			return err
		}
	}
	return nil
}
