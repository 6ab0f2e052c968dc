// Package projections turns the log into read models. One loop serves live and
// rebuild: it reads from a checkpoint, verifies every event, folds a batch in
// memory and hands it to its consumers, each of which writes rows and checkpoint
// in one transaction. Loops that follow the same log share one reading of its end
// (Tail); an event is then verified once.
//
// Promises:
//
//   - A rebuilt view equals the live one at the same position, row for row,
//     disposals included (Digest). So a view is a pure function of the events
//     that were not disposed of and of the records that stand for the others.
//   - An outage moves no checkpoint. A failing tag, an unknown event type and a
//     log that went back stop the loop loudly.
//   - Rows hold refs, facts, counts, hours and log positions: never clear
//     personal data, never the store's own time, never the reader's clock. A body
//     is not opened, and no key is seen here.
//   - Every row about a person belongs to one stream and bucket, and goes with
//     it; sums over streams are taken when they are read.
//
// One thing is asked of whoever disposes of data: the stream destruction is cut
// only when every live view has passed the stream.disposed that says so, and a
// destruction is carried forward for as long as the store may show what it took.
// A view that never read a destruction cannot apply its disposal.
//
// Engines store rows; they know nothing of views (see Generation).
package projections
