package vault

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// enrolWithin is how long after its Transit key was made an enrolment may still
// write the directory. The sweep leaves alone what is younger than a day, so what
// an enrolment wrote is there when its entry leads to it.
const enrolWithin = time.Minute

func (c *Custodian) directory(key keys.DirectoryKey) string {
	return directoryPath(shardOf(key[:], c.layout.Directory))
}

func directoryPath(n uint32) string { return fmt.Sprintf("directory/%04x", n) }

// Lookup finds the entry of a directory key: one call.
func (c *Custodian) Lookup(ctx context.Context, key keys.DirectoryKey) (keys.Subject, error) {
	s, err := c.tables.must(ctx, c.directory(key))
	if err != nil {
		return keys.Subject{}, inner(err)
	}
	raw, ok := s.table[string(key[:])]
	if !ok {
		return keys.Subject{}, domain.ErrNotFound
	}
	return decodeSubject(raw)
}

// Enrol adds an entry with its bundle, unless there is one: behind a Lookup four
// calls, otherwise five. What it made and did not come to need is left to the
// sweep.
func (c *Custodian) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (keys.Subject, error) {
	if _, seen := c.tables.recent.Get(c.directory(s.Directory)); !seen {
		stands, err := c.Lookup(ctx, s.Directory)
		if err == nil || !isAbsent(err) {
			return stands, err
		}
	} else if stands, there, err := c.seen(ctx, s.Directory); err != nil || there {
		return stands, err
	}
	for {
		begun, err := c.prepare(ctx, s, b)
		if err != nil {
			return keys.Subject{}, err
		}
		stands, inTime, err := c.enter(ctx, s, begun.Add(enrolWithin))
		if err != nil || inTime {
			return stands, err
		}
	}
}

// seen looks into the table as it was last read. What is there is looked up
// again, because it may have gone; what is not is proved by the write.
func (c *Custodian) seen(ctx context.Context, key keys.DirectoryKey) (s keys.Subject, there bool, err error) {
	snapshot, _ := c.tables.recent.Get(c.directory(key))
	if _, ok := snapshot.table[string(key[:])]; !ok {
		return s, false, nil
	}
	s, err = c.Lookup(ctx, key)
	if isAbsent(err) {
		return s, false, nil
	}
	return s, err == nil, err
}

// enter writes the directory: the commit point. inTime is false where that would
// be too late.
func (c *Custodian) enter(ctx context.Context, s keys.Subject, until time.Time) (stands keys.Subject, inTime bool, err error) {
	key := string(s.Directory[:])
	_, err = c.tables.update(ctx, c.directory(s.Directory), c.tables.must, func(t table, _ uint64) (bool, error) {
		stands, inTime = s, true
		if raw, ok := t[key]; ok {
			stands, err = decodeSubject(raw)
			return false, err
		}
		if !c.clock().Before(until) {
			inTime = false
			return false, nil
		}
		t[key] = encodeSubject(s)
		return true, nil
	})
	return stands, inTime, err
}

// Subjects calls each for every entry, table by table.
func (c *Custodian) Subjects(ctx context.Context, each func(keys.Subject) bool) error {
	paths := make([]string, c.layout.Directory)
	for i := range paths {
		paths[i] = directoryPath(uint32(i)) //nolint:gosec // below a uint32
	}
	return c.eachTable(ctx, paths, func(t table) (bool, error) {
		for _, raw := range t {
			s, err := decodeSubject(raw)
			if err != nil || !each(s) {
				return false, err
			}
		}
		return true, nil
	})
}

// readers is how many documents are read at once when many are.
const readers = 16

// eachTable reads tables, some at a time, and calls each for them in order, one
// after the other, until it wants no more.
func (c *Custodian) eachTable(ctx context.Context, paths []string, each func(table) (more bool, err error)) error {
	for len(paths) > 0 {
		n := min(readers, len(paths))
		found := make([]snapshot, n)
		err := together(n, func(i int) (err error) {
			found[i], err = c.tables.must(ctx, paths[i])
			return err
		})
		if err != nil {
			return inner(err)
		}
		for _, s := range found {
			if more, err := each(s.table); err != nil || !more {
				return err
			}
		}
		paths = paths[n:]
	}
	return nil
}

// together runs fn for 0 to n-1 at once and returns the first error by number.
func together(n int, fn func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
