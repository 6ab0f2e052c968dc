package esdb

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// window is how many events the server looks at between two checkpoints of a
// filtered subscription. Its default, 32, is many small reads where others write.
const window = 1000

// ReadAll implements eventstore.Reader: of the streams under Config.Prefix. What
// was truncated or deleted is shown until the server is scavenged.
func (s *Store) ReadAll(ctx context.Context, from domain.Position, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	at := from
	if dir == eventstore.Backward {
		return s.pages(ctx, "the log backwards", limit, func(ctx context.Context, limit int) (*page, error) {
			return s.before(ctx, &at, newPage(limit))
		})
	}
	return s.pages(ctx, "the log", limit, func(ctx context.Context, limit int) (*page, error) {
		return s.behind(ctx, &at, newPage(limit))
	})
}

// before reads a page backwards and moves at there. The client cannot filter a
// read, so what is not ours is left out here.
func (s *Store) before(ctx context.Context, at *domain.Position, p *page) (*page, error) {
	if *at == domain.Start {
		p.end = true
		return p, nil
	}
	opts := client.ReadAllOptions{From: position(*at), Direction: client.Backwards}
	type reached struct {
		page *page
		at   domain.Position
	}
	r, err := call(ctx, s.reads, func(ctx context.Context, c *client.Client) (reached, error) {
		got := reached{p, *at}
		read, err := c.ReadAll(ctx, opts, pageEvents)
		if err != nil {
			return got, err
		}
		n := 0
		for e, err := range received(read) {
			if err != nil {
				return got, err
			}
			n++
			got.at = e.Position
			if s.ours(e) {
				if p.add(e); p.full() {
					return got, nil
				}
			}
		}
		p.end = n < pageEvents
		return got, nil
	})
	if err != nil {
		return nil, err
	}
	*at = r.at
	return r.page, nil
}

// behind reads a page forwards and moves at there: the beginning of a filtered
// subscription, up to where the server says that the reader has caught up.
func (s *Store) behind(ctx context.Context, at *domain.Position, p *page) (*page, error) {
	if *at == domain.End {
		p.end = true
		return p, nil
	}
	from := *at
	type reached struct {
		page *page
		at   domain.Position
	}
	r, err := call(ctx, s.reads, func(ctx context.Context, c *client.Client) (reached, error) {
		got := reached{p, from}
		ctx, alive, cancel := watched(ctx, s.Deadlines.Read)
		defer cancel()
		sub, err := s.subscribeAll(ctx, c, from)
		if err != nil {
			return got, err
		}
		err = s.drain(sub, alive, func(e *client.SubscriptionEvent) bool {
			switch {
			case e.CheckPointReached != nil:
				got.at = domain.Position{Commit: e.CheckPointReached.Commit, Prepare: e.CheckPointReached.Prepare}
			case e.CaughtUp != nil:
				p.end = true
			case e.EventAppeared != nil:
				rec := incoming(e.EventAppeared)
				got.at = rec.Position
				p.add(rec)
			}
			return !p.end && !p.full()
		})
		return got, err
	})
	if err != nil {
		return nil, s.placed(ctx, from, err)
	}
	*at = r.at
	return r.page, nil
}

// drain gives what a subscription delivers to take, until that has enough.
func (s *Store) drain(sub *client.Subscription, alive func(), take func(*client.SubscriptionEvent) bool) (err error) {
	defer func() { err = errors.Join(err, sub.Close()) }()
	for {
		e := sub.Recv()
		alive()
		if e.SubscriptionDropped != nil {
			return e.SubscriptionDropped.Error
		}
		if !take(e) {
			return nil
		}
	}
}

// watched returns a context that ends when alive was not called for d.
func watched(ctx context.Context, d time.Duration) (_ context.Context, alive, cancel func()) {
	ctx, end := context.WithCancelCause(ctx)
	t := time.AfterFunc(d, func() { end(context.DeadlineExceeded) })
	return ctx, func() { t.Reset(d) }, func() {
		t.Stop()
		end(nil)
	}
}

// subscribeAll begins a subscription to our streams behind a position. The server
// filters by the beginning of the stream's name, byte by byte.
func (s *Store) subscribeAll(ctx context.Context, c *client.Client, after domain.Position) (*client.Subscription, error) {
	return c.SubscribeToAll(ctx, client.SubscribeToAllOptions{
		From:               position(after),
		MaxSearchWindow:    window,
		CheckpointInterval: 1,
		Filter:             &client.SubscriptionFilter{Type: client.StreamFilterType, Prefixes: []string{s.Prefix}},
	})
}

// textHandler is what 23.10 ends a subscription with that begins at a position
// which no event has, and much else.
const textHandler = "Exception was thrown by handler."

// errMisplaced is judged as misplaced.
var errMisplaced = status.Error(codes.Unknown, textBadPosition)

// placed tells a position that no event has from other failures of a
// subscription, by reading there.
func (s *Store) placed(ctx context.Context, at domain.Position, err error) error {
	if !strings.Contains(err.Error(), textHandler) || at == domain.Start || at == domain.End {
		return err
	}
	_, readErr := call(ctx, s.reads, func(ctx context.Context, c *client.Client) (struct{}, error) {
		r, err := c.ReadAll(ctx, client.ReadAllOptions{From: position(at), Direction: client.Forwards}, 1)
		if err != nil {
			return struct{}{}, err
		}
		for _, err := range received(r) {
			return struct{}{}, err
		}
		return struct{}{}, nil
	})
	if judge(readErr) == misplaced {
		return errMisplaced
	}
	return err
}

func position(p domain.Position) client.AllPosition {
	switch p {
	case domain.Start:
		return client.Start{}
	case domain.End:
		return client.End{}
	default:
		return client.Position{Commit: p.Commit, Prepare: p.Prepare}
	}
}

func (s *Store) ours(e domain.Recorded) bool { return strings.HasPrefix(string(e.Stream()), s.Prefix) }
