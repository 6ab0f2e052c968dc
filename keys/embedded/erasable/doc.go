// Package erasable is a durable, encrypted, transactional key-value tree that
// really forgets: the store beneath the embedded key custodian.
//
// Values live in a B-tree of 4096-byte pages in keys.tree. Every node is
// encrypted under 32 random bytes of its own, which only its parent holds; the
// key of the topmost node stands in keys.root. A commit writes every changed
// node anew, on other pages and under fresh keys, up to the top; then the new
// root into the free one of the two slots of keys.root; then random bytes over
// the old slot. Once Update has returned, what it deleted or replaced cannot be
// read any more even by somebody who has every byte that keys.tree ever held
// and the present keys.root.
//
// This does not cover what keeps earlier contents of keys.root: snapshots,
// copy-on-write and data-journalling file systems, remapped cells of an SSD,
// copies of that file made by hand. It does not cover a memory image or swap
// either; caches are bounded and zeroed on eviction as far as Go allows.
//
// keys.root is never renamed and never truncated: either would leave its old
// blocks, and the roots in them, to whoever reads the device. Without it
// nothing opens, so it is never created beside a keys.tree that is there.
//
// Owners: one goroutine per Tree, the writer, owns the space map, the batch in
// the making and both files' contents; it ends in Close. Tree.mu guards which
// version readers get. Readers never wait for the writer, nor it for them.
package erasable
