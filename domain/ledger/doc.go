// Package ledger holds the use cases: record, open, expire, erase, and who
// looked. It declares the small interfaces it needs and meets no engine.
//
// Every use case recovers by being called again: the ids of its events derive
// from its command, every step first looks whether it was done, and what was
// decided is kept in the custodian before anything is destroyed. There is no
// resume mode (see Erase).
package ledger
