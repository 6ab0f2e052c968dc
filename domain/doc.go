// Package domain holds the words of Lethe and the rules that need nothing but
// themselves: who a data subject is, what an event says, which key opens it,
// when a retention period ends.
//
// Everything here is pure: no clock, no network, no file, no key. Formats are
// those of docs/FORMAT.md; a change to one of them is a new version beside the
// old one, because a ledger outlives every release.
package domain
