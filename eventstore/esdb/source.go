package esdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// An allSource is the log behind a position, filtered to our streams.
type allSource struct {
	store *Store
	after domain.Position
}

func (a *allSource) open(ctx context.Context, c *client.Client) (*client.Subscription, []*client.SubscriptionEvent, error) {
	if a.after == domain.End {
		// The end of now: one that is dropped before it delivered anything goes on from
		// there, and not from the end of then.
		end, err := a.store.endOfLog(ctx)
		if err != nil {
			return nil, nil, err
		}
		a.after = end
	}
	sub, err := a.store.subscribeAll(ctx, c, a.after)
	return sub, nil, err
}

// endOfLog is the position of the server's last event, whoever's it is.
func (s *Store) endOfLog(ctx context.Context) (domain.Position, error) {
	return call(ctx, s.reads, func(ctx context.Context, c *client.Client) (domain.Position, error) {
		r, err := c.ReadAll(ctx, client.ReadAllOptions{From: client.End{}, Direction: client.Backwards}, 1)
		if err != nil {
			return domain.Start, err
		}
		for e, err := range received(r) {
			return e.Position, err
		}
		return domain.Start, nil
	})
}

func (a *allSource) take(e domain.Recorded) (bool, error) { return a.store.ours(e), nil }
func (a *allSource) delivered(e domain.Recorded)          { a.after = e.Position }
func (a *allSource) passed(p domain.Position)             { a.after = p }

func (a *allSource) failed(ctx context.Context, err error) error {
	return a.store.placed(ctx, a.after, err)
}

// A streamSource is one stream behind a revision. The server says nothing about
// having caught up with a stream that is not there, so that one is waited for in
// the log: a subscription from its end is opened first, and the stream looked for
// then, so that nothing comes between.
type streamSource struct {
	store  *Store
	stream domain.Stream
	after  domain.Revision
}

// errAppeared: the stream is there after all.
var errAppeared = errors.New("the stream is there by now")

func (s *streamSource) open(ctx context.Context, c *client.Client) (*client.Subscription, []*client.SubscriptionEvent, error) {
	for {
		there, err := s.there(ctx)
		if err != nil {
			return nil, nil, err
		}
		if there {
			sub, err := s.openStream(ctx, c)
			return sub, nil, err
		}
		sub, first, err := s.openLog(ctx, c)
		if !errors.Is(err, errAppeared) {
			return sub, first, err
		}
	}
}

func (s *streamSource) there(ctx context.Context) (bool, error) {
	last, err := s.store.last(ctx, s.store.reads, s.stream)
	return last != domain.NoStream, err
}

func (s *streamSource) openStream(ctx context.Context, c *client.Client) (*client.Subscription, error) {
	opts := client.SubscribeToStreamOptions{From: client.Start{}}
	if s.after != domain.NoStream {
		opts.From = client.Revision(uint64(s.after))
	}
	return c.SubscribeToStream(ctx, string(s.stream), opts)
}

// openLog subscribes to everything whose name begins like the stream's, from the
// end of the log, and looks for the stream when that subscription is live.
func (s *streamSource) openLog(ctx context.Context, c *client.Client) (*client.Subscription, []*client.SubscriptionEvent, error) {
	sub, err := c.SubscribeToAll(ctx, client.SubscribeToAllOptions{
		From:               client.End{},
		MaxSearchWindow:    window,
		CheckpointInterval: 1,
		Filter:             &client.SubscriptionFilter{Type: client.StreamFilterType, Prefixes: []string{string(s.stream)}},
	})
	if err != nil {
		return nil, nil, err
	}
	first, err := s.untilLive(sub)
	if err == nil {
		var there bool
		if there, err = s.there(ctx); there && err == nil {
			err = errAppeared
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, sub.Close())
	}
	return sub, first, nil
}

// untilLive receives what comes before the server says that there is no more. One
// that does not say so within Deadlines.Read is given up.
func (s *streamSource) untilLive(sub *client.Subscription) (first []*client.SubscriptionEvent, err error) {
	given := time.AfterFunc(s.store.Deadlines.Read, func() { _ = sub.Close() })
	defer given.Stop()
	for {
		e := sub.Recv()
		if e.SubscriptionDropped != nil {
			return nil, e.SubscriptionDropped.Error
		}
		if first = append(first, e); e.CaughtUp != nil {
			return first, nil
		}
	}
}

// take leaves out what another stream's name begins like, and what came twice: an
// event below after can come by the log.
func (s *streamSource) take(e domain.Recorded) (bool, error) {
	switch {
	case e.Stream() != s.stream:
		return false, nil
	case e.Type() == eventstore.DeletedType && e.Revision == eventstore.LastRevision:
		return false, fmt.Errorf("stream %s: %w", s.stream, eventstore.ErrDeleted)
	}
	return e.Revision > s.after, nil
}

func (s *streamSource) delivered(e domain.Recorded) {
	if e.Stream() == s.stream {
		s.after = max(s.after, e.Revision)
	}
}

func (s *streamSource) passed(domain.Position) {}

func (s *streamSource) failed(_ context.Context, err error) error { return err }
