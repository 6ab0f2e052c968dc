package keytest

import (
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// stranger takes an anonymous ref and seals an event for it.
func (w *world) stranger() item {
	w.t.Helper()
	block, ref, err := w.ring.Anonymous(background())
	check(w.t, err)
	i, err := w.tryAnonymous(block, ref)
	check(w.t, err)
	return i
}

func (w *world) tryAnonymous(block domain.BlockID, ref domain.SubjectRef) (item, error) {
	h, err := w.ring.SealingAnonymous(background(), block, ref, "network", w.bucket("network", w.now))
	if err != nil {
		return item{}, err
	}
	return w.sealWith(h, block, w.now)
}

func testAnonymous(t *testing.T, open Open) {
	w := newWorld(t, open)
	var mu sync.Mutex
	refs, blocks := map[domain.SubjectRef]bool{}, map[domain.BlockID]int{}
	const each = 50
	check(t, race(racers, func(int) error {
		for range each {
			block, ref, err := w.ring.Anonymous(background())
			if err != nil {
				return err
			}
			mu.Lock()
			refs[ref] = true
			blocks[block]++
			mu.Unlock()
		}
		return nil
	}))
	equal(t, "refs", len(refs), racers*each)
	for _, n := range blocks {
		if n > seal.BlockSize {
			t.Fatalf("%d refs of one block", n)
		}
	}
	one, two := w.stranger(), w.stranger()
	w.wantsTwice(nil, one, two)
	swapped := one
	swapped.where.Ref = two.where.Ref
	if w.read(swapped) == nil {
		t.Fatal("the key of another ref opened it")
	}
	_, err := w.ring.SealingAnonymous(background(), one.block, domain.New[domain.SubjectRef](), "network", "2026-11-23")
	wantErr(t, err, domain.ErrNotFound)
	_, err = w.ring.SealingAnonymous(background(), one.block, one.where.Ref, "preferences", "2026-11")
	if err == nil {
		t.Fatal("sealed in a class that is not captured from anonymous connections")
	}
	w.now = w.now.AddDate(0, 0, 14)
	w.wants(domain.ErrDenied, one, two)
	w.expire()
	w.wantsTwice(domain.ErrExpired, one, two)

	w.policy = &domain.Policy{}
	_, _, err = w.ring.Anonymous(background())
	wantErr(t, err, domain.ErrNotFound)
}

// testAnonymousAhead: the next block is there before the first is used up, so
// that an outage does not stop anonymous connections at once.
func testAnonymousAhead(t *testing.T, open Open) {
	w := newWorld(t, open)
	for range seal.BlockSize - 2 {
		_, _, err := w.ring.Anonymous(background())
		check(t, err)
	}
	// A block stands in the custodian a moment before the ring hands it out.
	ahead := func() (n int) {
		check(t, w.EachBlock(background(), eachBlock(func(id domain.BlockID, _ bool) {
			if w.ring.HandsOut(id) {
				n++
			}
		})))
		return n
	}
	for tries := 0; ahead() < 2; tries++ {
		if tries == 2000 {
			t.Fatal("no block was issued ahead")
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.faulty.Down()
	for range 2 + seal.BlockSize {
		_, _, err := w.ring.Anonymous(background())
		check(t, err)
	}
	_, _, err := w.ring.Anonymous(background())
	wantErr(t, err, domain.ErrUnavailable)
	w.faulty.FailAt(0, Lost)
}

func testEraseLinked(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	mine, other := w.stranger(), w.stranger()
	own := w.seal(ada, "messages", w.now)
	for range 2 {
		check(t, w.ring.LinkAnonymous(background(), ada, mine.block, mine.where.Ref))
	}
	w.wants(nil, mine, other)
	d := erasure(keys.DestroySubject, ada)
	check(t, w.ring.Fence(background(), d))
	wantErr(t, w.ring.LinkAnonymous(background(), ada, other.block, other.where.Ref), domain.ErrFenced)
	for range 2 {
		w.wants(domain.ErrDenied, mine, own)
		w.wants(nil, other)
		_, err := w.tryAnonymous(mine.block, mine.where.Ref)
		wantErr(t, err, domain.ErrFenced)
		w.restart()
		check(t, w.ring.Fence(background(), d)) // the ledger does so before it serves
	}
	p, err := w.ring.Plan(background(), d)
	check(t, err)
	equal(t, "tags", len(p.Tags), 2)
	equal(t, "links", len(p.Links), 1)
	w.write(d.Kind, p.Tags)
	check(t, w.finish(d, p))
	w.wantsTwice(domain.ErrErased, mine, own)
	w.wants(nil, other)
	b, err := w.Block(background(), mine.block)
	check(t, err)
	equal(t, "refs left in the block", len(b.Refs), seal.BlockSize-1)
	if _, ok := b.Subject(mine.where.Ref, "network"); ok {
		t.Fatal("the linked ref's key is still there")
	}
	wantErr(t, w.ring.LinkAnonymous(background(), ada, other.block, other.where.Ref), domain.ErrErased)
	wantErr(t, w.ring.Fence(background(), erasure(keys.DestroySubject, domain.New[domain.SubjectRef]())), domain.ErrNotFound)
	check(t, w.ring.Fence(background(), d)) // destroyed before
}

func testRetireBlock(t *testing.T, open Open) {
	w := newWorld(t, open)
	i := w.stranger()
	w.wants(nil, i)
	d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroyBlock, Block: i.block}
	check(t, w.ring.Fence(background(), d))
	w.wants(domain.ErrDenied, i)
	p, err := w.ring.Plan(background(), d)
	check(t, err)
	equal(t, "keys", p.Keys, seal.BlockSize*2)
	w.write(d.Kind, p.Tags)
	check(t, w.finish(d, p))
	w.wantsTwice(domain.ErrErased, i)
	_, err = w.Block(background(), i.block)
	wantErr(t, err, domain.ErrNotFound)
}
