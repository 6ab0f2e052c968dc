package keytest

import (
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// noon is when the suite begins.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func eachBlock(fn func(id domain.BlockID, atNoon bool)) func(domain.BlockID, time.Time) bool {
	return func(id domain.BlockID, issued time.Time) bool {
		fn(id, issued.Equal(noon))
		return true
	}
}

func retentionKey(bucket domain.Bucket) domain.RetentionKey {
	return domain.RetentionKey{Class: "messages", Tier: domain.OwnTier, Bucket: bucket}
}

func testRetention(t *testing.T, open Open) {
	f := newFixture(t, open)
	k, due := retentionKey("2026-11-23"), noon.AddDate(0, 0, 30)
	_, _, err := f.Retention(background(), k)
	wantErr(t, err, domain.ErrNotFound)
	wantErr(t, f.SetDue(background(), k, due), domain.ErrNotFound)

	rec, key, err := f.IssueRetention(background(), k, due)
	check(t, err)
	wantRecord(t, rec, keys.RetentionRecord{RetentionKey: k, Due: due})
	if key == (seal.Secret{}) {
		t.Fatal("the key is zero")
	}
	again, same, err := f.IssueRetention(background(), k, due.AddDate(1, 0, 0))
	check(t, err)
	wantRecord(t, again, rec)
	equal(t, "key issued again", same, key)
	_, other, err := f.IssueRetention(background(), retentionKey("2026-11-24"), due)
	check(t, err)
	if other == key {
		t.Fatal("two buckets have one key")
	}

	check(t, f.SetDue(background(), k, due.AddDate(0, 0, -10)))
	check(t, f.SetDue(background(), k, due.AddDate(0, 0, -9)))
	rec.Due = due.AddDate(0, 0, -10)
	f.twice(func() {
		stands, same, err := f.Retention(background(), k)
		check(t, err)
		wantRecord(t, stands, rec)
		equal(t, "key", same, key)
	})
}

func testRetentionDestroyed(t *testing.T, open Open) {
	f := newFixture(t, open)
	issued, never := retentionKey("2026-11-23"), retentionKey("2026-11-24")
	bystander, due := retentionKey("2026-11-25"), noon.AddDate(0, 0, 30)
	_, _, err := f.IssueRetention(background(), issued, due)
	check(t, err)
	_, alive, err := f.IssueRetention(background(), bystander, due)
	check(t, err)
	check(t, f.DestroyRetention(background(), []domain.RetentionKey{issued, never}, 7))
	check(t, f.DestroyRetention(background(), []domain.RetentionKey{issued, never}, 8))
	check(t, f.SetDue(background(), issued, noon))
	f.twice(func() {
		for _, want := range []keys.RetentionRecord{
			{RetentionKey: issued, Due: due, Destroyed: true, Journal: 7},
			{RetentionKey: never, Destroyed: true, Journal: 7},
		} {
			rec, key, err := f.Retention(background(), want.RetentionKey)
			check(t, err)
			wantRecord(t, rec, want)
			equal(t, "destroyed key", key, seal.Secret{})
			rec, key, err = f.IssueRetention(background(), want.RetentionKey, due)
			check(t, err)
			wantRecord(t, rec, want)
			equal(t, "key issued after its destruction", key, seal.Secret{})
		}
		_, key, err := f.Retention(background(), bystander)
		check(t, err)
		equal(t, "another bucket's key", key, alive)
	})
}

func testRetentionOrder(t *testing.T, open Open) {
	f := newFixture(t, open)
	want := []domain.RetentionKey{
		{Class: "a", Tier: "0", Bucket: "2026"},
		{Class: "a", Tier: "P7D", Bucket: "2026-01"},
		{Class: "a", Tier: "P7D", Bucket: "2026-02"},
		{Class: "aa", Tier: "0", Bucket: "2026-01"},
		{Class: "b", Tier: "anon", Bucket: "2025-12-31T23:59"},
	}
	for _, i := range []int{3, 0, 4, 2, 1} {
		_, _, err := f.IssueRetention(background(), want[i], noon)
		check(t, err)
	}
	f.twice(func() {
		var got []domain.RetentionKey
		check(t, f.EachRetention(background(), func(rec keys.RetentionRecord) bool {
			got = append(got, rec.RetentionKey)
			return true
		}))
		if !slices.Equal(got, want) {
			t.Fatalf("records %v, want %v", got, want)
		}
	})
	n := 0
	check(t, f.EachRetention(background(), func(keys.RetentionRecord) bool { n++; return n < 2 }))
	equal(t, "records before the end was asked for", n, 2)
}

func wantRecord(t *testing.T, got, want keys.RetentionRecord) {
	t.Helper()
	same := got.RetentionKey == want.RetentionKey && got.Due.Equal(want.Due) &&
		got.Destroyed == want.Destroyed && got.Journal == want.Journal
	if !same {
		t.Fatalf("record %+v, want %+v", got, want)
	}
}
