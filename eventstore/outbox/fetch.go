package outbox

import (
	"context"
	"fmt"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A pageReader reads pending events that are no longer in memory. The events of a
// stream lie between those of many others, which are shipped at about the same
// time: so it reads some that follow one another at once and keeps them a while.
type pageReader struct {
	local Local
	mu    sync.Mutex // one read at a time; the next one mostly finds what it needs
	pages *lru.Cache[pageKey, []domain.Sealed]
}

// A pageKey names pageEvents events of a segment.
type pageKey struct {
	segment uint64
	page    domain.Revision
}

// Bounds of what is kept: with events of 1 kB 4 MiB.
const (
	pageEvents = 64
	pageBytes  = 256 << 10
	pagesInUse = 64
)

func newPageReader(local Local) (*pageReader, error) {
	pages, err := lru.New[pageKey, []domain.Sealed](pagesInUse)
	if err != nil {
		return nil, fmt.Errorf("cache of pages: %w", err)
	}
	return &pageReader{local: local, pages: pages}, nil
}

// event returns the event at a place, as it lies in the segment.
func (p *pageReader) event(ctx context.Context, at place) (domain.Sealed, error) {
	key := pageKey{segment: at.segment.number, page: at.revision / pageEvents}
	n := int(at.revision % pageEvents)
	if page, there := p.pages.Get(key); there && n < len(page) {
		return page[n], nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if page, there := p.pages.Get(key); there && n < len(page) {
		return page[n], nil
	}
	page, err := p.read(ctx, at.segment.stream, key.page*pageEvents, pageEvents)
	if err != nil {
		return domain.Sealed{}, err
	}
	p.pages.Add(key, page)
	if n < len(page) {
		return page[n], nil
	}
	// Large events: it lies behind what a page may hold.
	page, err = p.read(ctx, at.segment.stream, at.revision, 1)
	if err == nil && len(page) == 0 {
		err = fmt.Errorf("event %d of segment %d is not there: %w", at.revision, at.segment.number, eventstore.ErrDamaged)
	}
	if err != nil {
		return domain.Sealed{}, err
	}
	return page[0], nil
}

func (p *pageReader) read(ctx context.Context, s domain.Stream, from domain.Revision, n int) (page []domain.Sealed, err error) {
	bytes := 0
	for e, err := range p.local.ReadStream(ctx, s, from, eventstore.Forward, n) {
		if err != nil {
			return nil, err
		}
		page = append(page, e.Sealed)
		if bytes += e.Size(); bytes > pageBytes {
			break
		}
	}
	return page, nil
}

// fetch reads pending events, from memory or from the local store.
func (b *Outbox) fetch(ctx context.Context, stream domain.Stream, places []place) ([]domain.Sealed, error) {
	events := make([]domain.Sealed, len(places))
	for i, p := range places {
		var e domain.Sealed
		var err error
		if p.event != nil {
			e = *p.event
		} else if e, err = b.reader.event(ctx, p); err != nil {
			return nil, fmt.Errorf("read %s from the outbox: %w", stream, err)
		}
		if events[i], err = inner(stream, e); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// inner is the event that wrap was given.
func inner(stream domain.Stream, e domain.Sealed) (domain.Sealed, error) {
	_, _, data, err := unwrap(e)
	if err != nil {
		return domain.Sealed{}, fmt.Errorf("event %s: %w: %w", e.ID(), err, eventstore.ErrDamaged)
	}
	return domain.NewSealed(e.ID(), stream, e.Type(), e.Envelope(), data), nil
}
