// Package outbox is what a gateway beyond one machine appends to: a queue of
// sealed events in a local store, and the relay that ships it to the log.
//
// Promises:
//
//   - Acknowledged means durable: an append that returned without error stands,
//     synced, in the local store and is shipped, however often the process or
//     the log goes away.
//   - Once: an event of the outbox stands in the log at most once, also when an
//     answer was lost, when the outbox is an older copy of itself, or when the
//     machine was frozen. See Relay.
//   - Order within a stream is kept.
//   - What belongs to a destroyed key is not shipped but counted, in
//     late.recorded, by the same local append that drops it.
//   - Disk is bounded by Options.MaxBytes; memory by about a twentieth of that,
//     300 bytes for each of Options.Streams, and Options.CacheBytes.
//
// How it lies in the local store: in streams of its own, the segments, one after
// the other. A segment holds events as they are, but for two numbers in front of
// their data (the stream's and the event's own in it), and pages of the book,
// which says what became of them (book.go). The state of the outbox is a fold over
// the segments. A segment whose events are all settled is deleted, oldest first;
// what still matters of its pages is written again before.
//
// One goroutine, the sequencer, decides everything that is written and lays what
// waits into one local append, which is a commit: all of it stands, or nothing.
package outbox
