// Package postgres keeps the generations of views in PostgreSQL, a schema each,
// with a catalogue that says which of them serve. Any number of processes share
// one place.
//
// Promises:
//
//   - Rows and checkpoint are written in one transaction, durable on the server
//     before Commit returns. It begins by moving the checkpoint from exactly the
//     values read, so two processes that both believe they are active write
//     nothing twice.
//   - A rebuild is written without waiting for the disk; the transaction that makes
//     it serve, all views or none, waits for everything before it. A process that
//     ends on the way leaves nothing that serves, and what it was building is
//     removed by whoever opens the view next.
//   - Readers see rows and checkpoint of one moment, of the generation that serves
//     at that moment, whichever process swapped it in.
//   - One process at a time keeps the views (Lead). The others take over when it
//     ends, and when it hangs.
//   - Rows, and so digests, are those of the other engines: text is ordered by its
//     bytes, whatever the collation of the database.
//   - Memory is bounded by one batch. A process has at most four connections for
//     readers and, while it leads, one more for the lead, one for each view that it
//     keeps and one for each generation that it builds.
//
// A server that cannot write or read now matches domain.ErrUnavailable; tables
// that are not what was written match ErrDamaged.
//
// The role needs CREATE on the database, whose encoding is UTF8. A pooler between
// has to keep sessions apart, because locks and settings belong to the session.
package postgres
