package keytest

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// testClosed: a custodian that cannot be asked says so, in every method, and
// never that there is nothing.
func testClosed(t *testing.T, open Open) {
	c, err := open(t.TempDir())
	check(t, err)
	_, err = c.Material(background())
	check(t, err)
	check(t, c.Close())
	for name, call := range everyMethod(c) {
		if err := call(); !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s of a closed custodian: %v", name, err)
		}
	}
}

// everyMethod calls each method for something that is not there.
func everyMethod(c keys.Custodian) map[string]func() error {
	s, b := someone(1)
	block, k := domain.New[domain.BlockID](), retentionKey("2026-11-23")
	return map[string]func() error{
		"Lookup": func() error { _, err := c.Lookup(background(), s.Directory); return err },
		"Enrol":  func() error { _, err := c.Enrol(background(), s, b); return err },
		"Bundle": func() error { _, _, err := c.Bundle(background(), s.Ref); return err },
		"Change": func() error {
			return c.Change(background(), s.Ref, func(*keys.Subject, *seal.Bundle) error { return nil })
		},
		"Remove":           func() error { return c.Remove(background(), s.Ref) },
		"Subjects":         func() error { return c.Subjects(background(), func(keys.Subject) bool { return true }) },
		"AddBlock":         func() error { return c.AddBlock(background(), block, noon, &seal.Block{}) },
		"Block":            func() error { _, err := c.Block(background(), block); return err },
		"ChangeBlock":      func() error { return c.ChangeBlock(background(), block, func(*seal.Block) error { return nil }) },
		"RemoveBlock":      func() error { return c.RemoveBlock(background(), block) },
		"EachBlock":        func() error { return c.EachBlock(background(), eachBlock(func(domain.BlockID, bool) {})) },
		"Retention":        func() error { _, _, err := c.Retention(background(), k); return err },
		"IssueRetention":   func() error { _, _, err := c.IssueRetention(background(), k, noon); return err },
		"SetDue":           func() error { return c.SetDue(background(), k, noon) },
		"DestroyRetention": func() error { return c.DestroyRetention(background(), []domain.RetentionKey{k}, 0) },
		"EachRetention":    func() error { return c.EachRetention(background(), func(keys.RetentionRecord) bool { return true }) },
		"Document":         func() error { _, _, err := c.Document(background(), "d"); return err },
		"PutDocument":      func() error { _, err := c.PutDocument(background(), "d", 0, nil); return err },
		"RemoveDocument":   func() error { return c.RemoveDocument(background(), "d", 0) },
		"EachDocument":     func() error { return c.EachDocument(background(), "", func(string, []byte) bool { return true }) },
		"Material":         func() error { _, err := c.Material(background()); return err },
		"Sign":             func() error { _, _, err := c.Sign(background(), keys.SignReceipt, nil); return err },
		"PublicKeys":       func() error { _, err := c.PublicKeys(background()); return err },
	}
}

// racers is how many goroutines a race has.
const racers = 16

// race runs fn for each number at once and returns the errors.
func race(n int, fn func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func testEnrolRace(t *testing.T, open Open) {
	f := newFixture(t, open)
	var refs [racers]domain.SubjectRef
	check(t, race(racers, func(i int) error {
		s, b := someone(1)
		stands, err := f.Enrol(background(), s, b)
		refs[i] = stands.Ref
		return err
	}))
	f.twice(func() {
		for _, ref := range refs {
			equal(t, "ref", ref, refs[0])
		}
		equal(t, "entries", len(subjectsOf(t, f)), 1)
		_, b, err := f.Bundle(background(), refs[0])
		check(t, err)
		equal(t, "keys", len(b.Subjects), 2)
	})
}

// testEnrolRemoveRace: whatever the order, an entry and its bundle are there
// together or not at all.
func testEnrolRemoveRace(t *testing.T, open Open) {
	f := newFixture(t, open)
	check(t, race(racers, func(i int) error {
		for range 10 {
			s, b := someone(byte(i % 3))
			stands, err := f.Enrol(background(), s, b)
			if err != nil {
				return err
			}
			if i%2 == 0 {
				if err := f.Remove(background(), stands.Ref); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	f.twice(func() {
		for n := range byte(3) {
			s, _ := someone(n)
			found, err := f.Lookup(background(), s.Directory)
			if errors.Is(err, domain.ErrNotFound) {
				continue
			}
			check(t, err)
			_, _, err = f.Bundle(background(), found.Ref)
			check(t, err)
		}
		for _, s := range subjectsOf(t, f) {
			found, err := f.Lookup(background(), s.Directory)
			check(t, err)
			equal(t, "ref of a directory key", found.Ref, s.Ref)
		}
	})
}

// testChangeRace: no change is lost to another.
func testChangeRace(t *testing.T, open Open) {
	f := newFixture(t, open)
	s, b := someone(1)
	_, err := f.Enrol(background(), s, b)
	check(t, err)
	const each = 8
	check(t, race(racers, func(int) error {
		for range each {
			link := seal.Link{Ref: domain.New[domain.SubjectRef]()}
			err := f.Change(background(), s.Ref, func(_ *keys.Subject, b *seal.Bundle) error {
				b.Links = append(b.Links, link)
				return b.Issue("messages", b.LastOf("messages")+1, secret(1))
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	f.twice(func() {
		_, b, err := f.Bundle(background(), s.Ref)
		check(t, err)
		equal(t, "links", len(b.Links), racers*each)
		equal(t, "last gen", b.LastOf("messages"), domain.Gen(1+racers*each))
	})
}

// testRetentionRace: keys issued while they are destroyed are one key, and then
// none.
func testRetentionRace(t *testing.T, open Open) {
	f := newFixture(t, open)
	k := retentionKey("2026-11-23")
	var mu sync.Mutex
	seen := map[seal.Secret]bool{}
	check(t, race(racers, func(i int) error {
		if i == racers/2 {
			return f.DestroyRetention(background(), []domain.RetentionKey{k}, 3)
		}
		rec, key, err := f.IssueRetention(background(), k, noon)
		mu.Lock()
		defer mu.Unlock()
		if !rec.Destroyed {
			seen[key] = true
		}
		return err
	}))
	if len(seen) > 1 {
		t.Fatal("one bucket had two keys")
	}
	f.twice(func() {
		rec, key, err := f.Retention(background(), k)
		check(t, err)
		if !rec.Destroyed || key != (seal.Secret{}) {
			t.Fatalf("record %+v behind its destruction", rec)
		}
	})
}

// testDocumentRace counts to a number with compare-and-set alone.
func testDocumentRace(t *testing.T, open Open) {
	f := newFixture(t, open)
	const each = 8
	check(t, race(racers, func(int) error {
		for done := 0; done < each; {
			value, v, err := f.Document(background(), "counter")
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			n, _ := strconv.Atoi(string(value)) // an absent one counts as 0
			_, err = f.PutDocument(background(), "counter", v, []byte(strconv.Itoa(n+1)))
			switch {
			case err == nil:
				done++
			case !errors.Is(err, domain.ErrConflict):
				return err
			}
		}
		return nil
	}))
	f.twice(func() {
		value, _, err := f.Document(background(), "counter")
		check(t, err)
		equal(t, "count", string(value), strconv.Itoa(racers*each))
	})
}
