package esdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A read holds at most this much in memory, and no connection while its caller
// works: it goes on from where it was.
const (
	pageEvents = 512
	pageBytes  = 4 << 20
)

// A page is what one call gave.
type page struct {
	events []domain.Recorded
	bytes  int
	limit  int
	end    bool // there is nothing behind it
}

func newPage(limit int) *page {
	if limit <= 0 || limit > pageEvents {
		limit = pageEvents
	}
	return &page{limit: limit}
}

func (p *page) full() bool { return len(p.events) >= p.limit || p.bytes >= pageBytes }

func (p *page) add(e domain.Recorded) {
	p.events = append(p.events, e)
	p.bytes += e.Size()
}

// pages yields the events of the pages that next returns, until the last one, or
// limit is reached, or ctx ends.
func (s *Store) pages(ctx context.Context, what string, limit int, next func(ctx context.Context, limit int) (*page, error)) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		ctx, cancel := s.bound(ctx)
		defer cancel()
		for left := limit; limit == 0 || left > 0; {
			p, err := s.page(ctx, what, left, next)
			if err != nil {
				yield(domain.Recorded{}, err)
				return
			}
			for _, e := range p.events {
				if !yield(e, nil) {
					return
				}
			}
			if p.end {
				return
			}
			left -= len(p.events)
		}
	}
}

// page tries for one page; a part of one is thrown away with the try.
func (s *Store) page(ctx context.Context, what string, limit int, next func(ctx context.Context, limit int) (*page, error)) (p *page, err error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("read %s: %w", what, ended(ctx))
	}
	v, err := s.again(ctx, func(ctx context.Context) (err error) {
		p, err = next(ctx, limit)
		return err
	})
	switch {
	case err == nil:
		return p, nil
	case v == absent:
		return &page{end: true}, nil
	}
	return nil, outcome(ctx, "read "+what, v, err)
}

// ReadStream implements eventstore.Reader. A negative revision is before the first
// event.
func (s *Store) ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	if dir == eventstore.Backward && from < 0 {
		return func(func(domain.Recorded, error) bool) {}
	}
	next := max(from, 0)
	return s.pages(ctx, string(stream), limit, func(ctx context.Context, limit int) (*page, error) {
		p, err := s.streamPage(ctx, s.reads, string(stream), next, dir, newPage(limit))
		if err == nil && len(p.events) > 0 {
			last := p.events[len(p.events)-1].Revision
			if next = last + 1; dir == eventstore.Backward {
				next = last - 1
				p.end = p.end || last == 0
			}
		}
		return p, err
	})
}

func (s *Store) streamPage(ctx context.Context, from *pool, stream string, at domain.Revision, dir eventstore.Direction, p *page) (*page, error) {
	opts := client.ReadStreamOptions{From: client.Revision(uint64(at)), Direction: client.Forwards}
	if dir == eventstore.Backward {
		opts.Direction = client.Backwards
		if at == eventstore.LastRevision {
			opts.From = client.End{}
		}
	}
	return call(ctx, from, func(ctx context.Context, c *client.Client) (*page, error) {
		r, err := c.ReadStream(ctx, stream, opts, uint64(p.limit))
		if err != nil {
			return nil, err
		}
		for e, err := range received(r) {
			if err != nil {
				return nil, err
			}
			if p.add(e); p.full() {
				return p, nil
			}
		}
		p.end = true
		return p, nil
	})
}

// received yields what a read gives and ends it in any case: one that is left open
// holds its goroutines.
func received(r *client.ReadStream) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		defer r.Close()
		for {
			e, err := r.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(domain.Recorded{}, err)
				return
			}
			if !yield(incoming(e), nil) {
				return
			}
		}
	}
}

// incoming turns an event of the client into ours. Links are not resolved.
func incoming(r *client.ResolvedEvent) domain.Recorded {
	e := r.OriginalEvent()
	return domain.Recorded{
		Sealed:    domain.NewSealed(domain.EventID(e.EventID), domain.Stream(e.StreamID), domain.EventType(e.EventType), e.UserMetadata, e.Data),
		Revision:  domain.Revision(e.EventNumber),
		Position:  domain.Position{Commit: e.Position.Commit, Prepare: e.Position.Prepare},
		StoreTime: e.CreatedDate,
	}
}

// Last implements eventstore.Reader.
func (s *Store) Last(ctx context.Context, stream domain.Stream) (domain.Revision, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var last domain.Revision
	v, err := s.again(ctx, func(ctx context.Context) (err error) {
		last, err = s.last(ctx, s.reads, stream)
		return err
	})
	if err != nil {
		return 0, outcome(ctx, fmt.Sprintf("last of %s", stream), v, err)
	}
	return last, nil
}

// errHidden: a stream whose every event is truncated. Truncate keeps the last one,
// so somebody else did it, and how far the stream goes cannot be read any more.
var errHidden = errors.New("every event of the stream was truncated, the last one included, which this store never does")

// last is one try of Last.
func (s *Store) last(ctx context.Context, from *pool, stream domain.Stream) (domain.Revision, error) {
	p, err := s.streamPage(ctx, from, string(stream), eventstore.LastRevision, eventstore.Backward, newPage(1))
	switch {
	case judge(err) == absent:
		return domain.NoStream, nil
	case err != nil:
		return 0, err
	case len(p.events) == 0:
		return 0, errHidden
	}
	return p.events[0].Revision, nil
}

// checkName refuses the names of streams that are not the ledger's.
func (s *Store) checkName(stream domain.Stream) error {
	if !strings.HasPrefix(string(stream), s.Prefix) || len(stream) == len(s.Prefix) {
		return fmt.Errorf("stream %q is not one of %s: %w", stream, s.Prefix, eventstore.ErrInvalid)
	}
	return nil
}
