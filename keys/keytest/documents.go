package keytest

import (
	"crypto/ed25519"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

func testDocuments(t *testing.T, open Open) {
	f := newFixture(t, open)
	_, _, err := f.Document(background(), "erasure/1")
	wantErr(t, err, domain.ErrNotFound)
	_, err = f.PutDocument(background(), "erasure/1", 5, nil)
	wantErr(t, err, domain.ErrConflict)
	check(t, f.RemoveDocument(background(), "erasure/1", 5))

	v, err := f.PutDocument(background(), "erasure/1", 0, []byte("one"))
	check(t, err)
	_, err = f.PutDocument(background(), "erasure/1", 0, []byte("late"))
	wantErr(t, err, domain.ErrConflict)
	next, err := f.PutDocument(background(), "erasure/1", v, []byte("two"))
	check(t, err)
	wantErr(t, f.RemoveDocument(background(), "erasure/1", v), domain.ErrConflict)
	_, err = f.PutDocument(background(), "erasure/2", 0, nil)
	check(t, err)
	_, err = f.PutDocument(background(), "erasures", 0, []byte("other"))
	check(t, err)

	f.twice(func() {
		value, stands, err := f.Document(background(), "erasure/1")
		check(t, err)
		equal(t, "value", string(value), "two")
		equal(t, "version", stands, next)
		got := map[string]string{}
		check(t, f.EachDocument(background(), "erasure/", func(name string, value []byte) bool {
			got[name] = string(value)
			return true
		}))
		if !maps.Equal(got, map[string]string{"erasure/1": "two", "erasure/2": ""}) {
			t.Fatalf("documents %v", got)
		}
	})
	check(t, f.RemoveDocument(background(), "erasure/1", next))
	check(t, f.RemoveDocument(background(), "erasure/1", next))
	f.twice(func() {
		_, _, err := f.Document(background(), "erasure/1")
		wantErr(t, err, domain.ErrNotFound)
	})
}

// testDocumentVersions: whoever read a document that was removed and made again
// meanwhile must not overwrite the new one.
func testDocumentVersions(t *testing.T, open Open) {
	f := newFixture(t, open)
	old, err := f.PutDocument(background(), "head", 0, []byte("old"))
	check(t, err)
	check(t, f.RemoveDocument(background(), "head", old))
	f.reopen()
	_, err = f.PutDocument(background(), "head", 0, []byte("new"))
	check(t, err)
	_, err = f.PutDocument(background(), "head", old, []byte("stale"))
	wantErr(t, err, domain.ErrConflict)
	wantErr(t, f.RemoveDocument(background(), "head", old), domain.ErrConflict)
}

func testLedgerKeys(t *testing.T, open Open) {
	f := newFixture(t, open)
	first, err := f.Material(background())
	check(t, err)
	public, err := f.PublicKeys(background())
	check(t, err)
	if len(first.Integrity) == 0 || first.Pepper == first.DeadTag {
		t.Fatal("the material is not made of several keys")
	}
	f.twice(func() {
		m, err := f.Material(background())
		check(t, err)
		if !reflect.DeepEqual(m, first) {
			t.Fatal("the material changed")
		}
		again, err := f.PublicKeys(background())
		check(t, err)
		if !reflect.DeepEqual(again, public) {
			t.Fatal("the signing keys changed")
		}
		for _, use := range []keys.SigningUse{keys.SignReceipt, keys.SignJournal, keys.SignCheckpoint} {
			wantSignature(t, f, use, public)
		}
	})
	_, _, err = f.Sign(background(), "other", nil)
	wantErr(t, err, domain.ErrNotFound)
}

func wantSignature(t *testing.T, f *fixture, use keys.SigningUse, public []keys.PublicKey) {
	t.Helper()
	id, signature, err := f.Sign(background(), use, []byte("message"))
	check(t, err)
	i := slices.IndexFunc(public, func(k keys.PublicKey) bool { return k.ID == id })
	if i < 0 || public[i].Use != use || !ed25519.Verify(public[i].Key, []byte("message"), signature) {
		t.Fatalf("the signature of %s does not verify", use)
	}
}

// testLedgerKeysOnce: the first calls come together.
func testLedgerKeysOnce(t *testing.T, open Open) {
	f := newFixture(t, open)
	var all [8]keys.Material
	var errs [8]error
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i], errs[i] = f.Material(background()) })
	}
	wg.Wait()
	for i := range all {
		check(t, errs[i])
		if !reflect.DeepEqual(all[i], all[0]) {
			t.Fatal("two callers have two ledgers' material")
		}
	}
}
