// Package embedded is the store of one machine: the log in a directory, on
// Pebble, written by one process.
//
// One goroutine, the sequencer, decides every append and lays many of them into
// one batch; a second one waits for the batch to be synced and answers its
// callers while the sequencer builds the next. At most one batch is unsynced at
// any time, and nobody is shown what is not synced yet: every read ends at the
// last durable position.
//
// What is laid down where:
//
//	l position            an event (record.go)
//	i stream revision     the position of a stream's event, or, once the event was
//	                      truncated, its id, by which a repetition is still known
//	n name, N number      a stream's number by its name, and back
//	s stream              truncated below, or deleted
//	p stream              events of the stream wait for their removal
//	m                     the layout's version
//
// Positions have no holes: the first event has 1, and each has one more than the
// one before, deletions included. They are never given again, because the last
// event of a stream is kept by a truncation, and a deletion leaves one behind.
//
// Damage is found by Pebble's checksums of every block and of every chunk of the
// write-ahead log, and by a position in the index without an event.
//
// Damage in the last 32 KiB of the log of a process that was killed cannot be
// told from a write that was cut short, which is dropped; Close leaves no such log.
//
// Not covered: removed bytes stay in the write-ahead log's recycled files and in
// obsolete blocks until they are overwritten or compacted away (Scavenge); their
// keys were destroyed before.
package embedded
