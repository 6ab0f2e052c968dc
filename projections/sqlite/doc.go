// Package sqlite keeps the generations of views in SQLite files, one a
// generation, and a catalogue that says which of them serve.
//
// Promises: a commit of a serving generation is on disk before it returns (WAL,
// synchronous FULL). A rebuild is written without a journal and synced as a whole
// before the catalogue names it; the catalogue is exchanged by rename. After
// SIGKILL at any point the generation that served serves on, and what was never
// swapped in is removed. Memory is bounded by the page caches.
//
// A store that cannot write or read now matches domain.ErrUnavailable; a file
// that is not what was written matches ErrDamaged.
package sqlite
