// Package tlog writes the leaf entries of the Merkle log (FORMAT §8): one for
// each event of the ledger, in the order of the log, from the first event on. The
// stream checkpoint is left out, which will hold the tree heads; so are events
// whose type begins with $.
//
// Entries stand in C2SP tlog-tiles entry bundles, 256 to a bundle, beside a head
// that says up to which event they go. Promises: entries are on disk before the
// head that covers them; after a crash writing goes on with neither gap nor
// double; what a head covers is never changed.
//
// Log is a sink of the loop of package projections. Its loop shares the reading
// and verifying of the log with that of the views (projections.Tail) and nothing
// else: each has its own place, and the failure of one stops neither the other
// nor its reading.
package tlog
