// Package embedded is the default custodian: the keys of one machine, in an
// erasable key tree beside a root of 32 bytes.
//
// Everything stands in one tree, so what changes together changes in one commit,
// and changes that wait at the same time share one: enrolments are cheap when
// there are many. Nodes of the tree are encrypted, each under a key of its own,
// so records are kept as they are, bundles included.
//
// What the tree cannot read or write is domain.ErrUnavailable: a damaged page, a
// full disk and a closed custodian never read as a destroyed key.
package embedded
