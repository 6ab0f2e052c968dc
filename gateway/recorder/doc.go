// Package recorder turns what happens on connections into events: the life of
// each connection, where it came from, and the metadata of every message, one
// event a class (FORMAT §2). It implements gateway.Recorder.
//
// Message metadata is appended as columns under the connection's own lock and
// handed over in chunks: when one is full, when the flush interval has passed,
// when an hour or a bucket ends, and at the close. A crash loses at most one
// flush interval. Chunks wait in queues of a fixed size; when the ledger falls
// behind they fill up, Message blocks, and the gateway stops reading. Nothing is
// dropped, but for the buffers of a person who is being erased.
//
// A pool with on_ledger_failure: pass does not block: what finds no room is counted
// in a gap, which is owed and stands in the log before anything later of the pool.
// Of a connection that was opened in a gap, what comes behind the gap is recorded,
// its close included; its opening and its origin are not made up.
package recorder
