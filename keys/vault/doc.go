// Package vault is the custodian on HashiCorp Vault, for any number of gateways.
//
// Transit wraps data keys and KV version 2 holds documents. Everything secret is
// sealed (FORMAT §4) under a data key that one Transit key unwraps, and that key
// is this person's, block's, document's or bucket's own: destroying it is the
// destruction. Names of Transit keys are random and used once.
//
// Documents, below the mount and the ledger's id, change by compare-and-set only:
//
//	layout                           how many tables there are; never changes
//	directory/<n>                    tables from directory keys to entries (ref, scope, fence)
//	persons/<ref>                    entry and sealed bundle of a person
//	records/<n>                      tables that name the blocks, documents and pages there are
//	blocks/<id>                      sealed block
//	documents/<id>                   sealed document, under a random id
//	retention/<class>/<tier>/<page>  tables of retention records; never removed
//	material, signing/<use>          sealed, written once
//
// A person's document is named by the ref, which is random and never used twice.
// So a ref leads to the keys without an index that would have to be kept equal
// with the directory, opening costs two calls, and what stands there changes in
// one compare-and-set: it is complete at every instant, a crash leaves nothing
// half done but a Transit key that the document itself lists as doomed.
//
// The document decides: a fence stands from the write of it, and the copy in the
// directory follows before Change returns. An enrolment writes the directory
// last, a removal closes the document first; in between the person has no keys
// that somebody could use.
//
// Nothing here reads as destroyed because Vault says that it is missing. What is
// absent is domain.ErrNotFound only while the layout still stands, and a Transit
// key that is missing under a document that is not closed is ErrDamaged.
package vault
