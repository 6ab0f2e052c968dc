package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// leftAfter is the age from which what nothing leads to is left over. Whatever is
// under way for so long has been given up: an enrolment begins anew after
// enrolWithin.
const leftAfter = 24 * time.Hour

// Swept counts what a sweep looked at and what it destroyed.
type Swept struct {
	Examined int // Transit keys of the ledger that were old enough
	Keys     int // Transit keys that no document names
	Persons  int // enrolments that were beaten or broken off
	Blocks   int // blocks that were never acknowledged
	Finished int // destructions that were begun and not ended
}

// Sweep destroys what broken-off calls left: Transit keys older than 24 hours
// that no document names, and documents that nothing leads to. It looks at those
// made after since (the end of the sweep before, less a day; zero for all) and
// needs an eraser's token. Interrupted, it is called again.
func (c *Custodian) Sweep(ctx context.Context, since time.Time) (s Swept, err error) {
	if err := c.mayDestroy(); err != nil {
		return s, err
	}
	names, err := c.transit.list(ctx)
	if err != nil {
		return s, fmt.Errorf("sweeping: %w", err)
	}
	until := c.clock().Add(-leftAfter)
	if theirs := time.Unix(c.client.date.Load(), 0).Add(-leftAfter); theirs.Before(until) {
		until = theirs // a clock of ours that is fast must not make anything old
	}
	for _, name := range names {
		made, err := name.made()
		if !strings.HasPrefix(string(name), string(c.ledger)+"-") || err != nil || made.After(until) || made.Before(since) {
			continue // another ledger's, younger, or looked at before
		}
		s.Examined++
		if err := c.sweepKey(ctx, name, until, &s); err != nil {
			return s, fmt.Errorf("sweeping: %w", err)
		}
	}
	return s, nil
}

// sweepKey finds out what a key is for and, where that is nothing, destroys it:
// once Vault itself says, too, that it is old. The clock of the process that made
// it may have been slow.
func (c *Custodian) sweepKey(ctx context.Context, name keyName, until time.Time, s *Swept) error {
	end, err := c.judge(ctx, name, s)
	if err != nil || end == nil {
		return err
	}
	born, err := c.transit.born(ctx, name)
	if errors.Is(err, errAbsent) || born.After(until) {
		return nil
	}
	if err != nil {
		return inner(err)
	}
	return end()
}

// born is when Vault made a key. Errors: errAbsent.
func (t transit) born(ctx context.Context, name keyName) (time.Time, error) {
	var answer struct {
		Keys map[string]int64 `json:"keys"`
	}
	err := t.call(ctx, http.MethodGet, t.mount+"/keys/"+string(name), nil, nil, &answer)
	if err == nil && answer.Keys["1"] == 0 {
		err = fmt.Errorf("a transit key without a time: %w", ErrDamaged)
	}
	return time.Unix(answer.Keys["1"], 0), err
}

// list lists every Transit key of the mount: one call, about 9 bytes a key.
func (t transit) list(ctx context.Context) ([]keyName, error) {
	var answer struct {
		Keys []keyName `json:"keys"`
	}
	err := t.call(ctx, "LIST", t.mount+"/keys", nil, nil, &answer)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	return answer.Keys, inner(err)
}

// A verdict destroys what is left over; nil where a key is in use.
type verdict func() error

func (c *Custodian) judge(ctx context.Context, name keyName, s *Swept) (verdict, error) {
	kind, owner, err := name.owner()
	if err != nil {
		return nil, nil // not a name of ours: left alone
	}
	var id [16]byte
	copy(id[:], owner)
	switch kind {
	case ofPerson:
		return c.judgeVessel(ctx, name, personPlace(id, 0), s, c.judgePerson)
	case ofBlock:
		return c.judgeVessel(ctx, name, blockPlace(id), s, c.judgeBlock)
	case ofDocument:
		return c.judgeVessel(ctx, name, documentPlace(id), s, c.judgeDocument)
	case ofLedger:
		inUse := func(context.Context, place, vessel, *Swept) (verdict, error) { return nil, nil }
		return c.judgeVessel(ctx, name, place{path: string(owner)}, s, inUse)
	case ofRetention:
		return c.judgeRetention(ctx, name, string(owner), s)
	}
	return nil, nil
}

// judgeVessel looks at the document that should name a key. named decides about
// one that does.
func (c *Custodian) judgeVessel(ctx context.Context, name keyName, p place, s *Swept, named func(context.Context, place, vessel, *Swept) (verdict, error)) (verdict, error) {
	d, _, err := c.vessels.read(ctx, p)
	if err != nil {
		if err = c.found(ctx, err); !isAbsent(err) {
			return nil, err
		}
	}
	switch {
	case err == nil && d.Key == name:
		return named(ctx, p, d, s)
	case slices.Contains(d.Doomed, name):
		return c.counted(&s.Finished, func() error { return c.transit.destroy(ctx, name) }), nil
	}
	return c.counted(&s.Keys, func() error { return c.transit.destroy(ctx, name) }), nil
}

func (c *Custodian) counted(n *int, end verdict) verdict {
	return func() error {
		*n++
		return end()
	}
}

// judgePerson condemns a person whom the directory does not lead to.
func (c *Custodian) judgePerson(ctx context.Context, _ place, d vessel, s *Swept) (verdict, error) {
	mine, err := decodeSubject(d.State)
	if err != nil {
		return nil, err
	}
	stands, err := c.Lookup(ctx, mine.Directory)
	if err != nil && !isAbsent(err) {
		return nil, err
	}
	if err == nil && stands.Ref == mine.Ref {
		return nil, nil
	}
	return c.counted(&s.Persons, func() error { return c.Remove(ctx, mine.Ref) }), nil
}

// judgeBlock condemns a block that the index does not name.
func (c *Custodian) judgeBlock(ctx context.Context, p place, _ vessel, s *Swept) (verdict, error) {
	listed, err := c.indexed(ctx, blockKey(p.owner))
	if err != nil || listed != nil {
		return nil, err
	}
	return c.counted(&s.Blocks, func() error { return c.RemoveBlock(ctx, p.owner) }), nil
}

// judgeDocument condemns a document whose name leads to another, or nowhere.
func (c *Custodian) judgeDocument(ctx context.Context, p place, d vessel, s *Swept) (verdict, error) {
	l, there, err := c.listing(ctx, string(d.State))
	if err != nil || (there && l.id == p.owner) {
		return nil, err
	}
	return c.counted(&s.Keys, func() error {
		d, err := c.vessels.shut(ctx, p)
		if err != nil {
			return inner(err)
		}
		return c.vessels.discard(ctx, p, d)
	}), nil
}

// judgeRetention looks at the record of a bucket.
func (c *Custodian) judgeRetention(ctx context.Context, name keyName, bucket string, s *Swept) (verdict, error) {
	k, err := domain.ParseRetentionKey(bucket)
	if err != nil {
		return nil, nil // not a name of ours: left alone
	}
	p, err := pageFor(k)
	if err != nil {
		return nil, err
	}
	t, err := c.pageOrEmpty(p)(ctx, p.path())
	if err != nil {
		return nil, inner(err)
	}
	if raw, ok := t.table[string(k.Bucket)]; ok {
		r, err := decodeRetained(k, raw)
		switch {
		case err != nil || (r.Key == name && !r.Destroyed):
			return nil, err
		case r.Key == name:
			return c.counted(&s.Finished, func() error {
				return c.DestroyRetention(ctx, []domain.RetentionKey{k}, r.Journal)
			}), nil
		}
	}
	return c.counted(&s.Keys, func() error { return c.transit.destroy(ctx, name) }), nil
}
