package esdb

import (
	"context"
	"fmt"
	"sync"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Append implements eventstore.Appender. While the outcome is unknown it repeats
// the same append, for Deadlines.Settle or as long as ctx, whichever ends first,
// and returns early when ctx ends within the three seconds that a repetition has
// to wait. A stream that is not under Config.Prefix is ErrInvalid.
func (s *Store) Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if err := s.checkAppend(stream, expected, events); err != nil {
		return eventstore.Appended{}, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	unlock, err := s.streams.lock(ctx, stream)
	if err != nil {
		return eventstore.Appended{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	defer unlock()
	return s.append(ctx, stream, expected, events)
}

func (s *Store) checkAppend(stream domain.Stream, expected domain.Revision, events []domain.Sealed) error {
	if err := eventstore.Check(stream, expected, events); err != nil {
		return err
	}
	return s.checkName(stream)
}

// append is Append under the stream's lock.
func (s *Store) append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	data := outgoing(events)
	opts := client.AppendToStreamOptions{ExpectedRevision: revision(expected), Deadline: &s.Deadlines.Attempt}
	var done eventstore.Appended
	v, err := s.settle(ctx, s.Deadlines.Settle, func(ctx context.Context) error {
		r, err := call(ctx, s.appends, func(ctx context.Context, c *client.Client) (*client.WriteResult, error) {
			return c.AppendToStream(ctx, string(stream), opts, data...)
		})
		if err == nil {
			done = appended(r)
			return nil
		}
		if judge(err) == wrongRevision {
			return s.wrong(ctx, stream, expected, err)
		}
		return err
	})
	if err == nil {
		return done, nil
	}
	return eventstore.Appended{}, outcome(ctx, fmt.Sprintf("append to %s", stream), v, err)
}

// appended reads an answer. One without a position, which a repetition of events
// truncated since gets, has zeros: domain.Start, not known.
func appended(r *client.WriteResult) eventstore.Appended {
	return eventstore.Appended{
		Revision: domain.Revision(r.NextExpectedVersion),
		Position: domain.Position{Commit: r.CommitPosition, Prepare: r.PreparePosition},
	}
}

// A contradiction is a stream that ends where an append was told it does not. A
// leader that was deposed can say that, of events nobody else has.
type contradiction struct{ domain.Revision }

func (c contradiction) Error() string {
	return fmt.Sprintf("the stream ends at %d, as expected, and the append was refused", c.Revision)
}

// wrong finds the actual revision, which the client tells in a sentence only.
func (s *Store) wrong(ctx context.Context, stream domain.Stream, expected domain.Revision, refusal error) error {
	last, err := s.last(ctx, s.reads, stream)
	switch {
	case err != nil:
		return err
	case last == expected:
		return contradiction{last}
	}
	return &wrongAt{eventstore.WrongRevision{Stream: stream, Expected: expected, Actual: last}, refusal}
}

// wrongAt is an answer of the contract that is still judged as the client's.
type wrongAt struct {
	answer eventstore.WrongRevision
	cause  error
}

func (w *wrongAt) Error() string   { return w.answer.Error() }
func (w *wrongAt) Unwrap() []error { return []error{&w.answer, w.cause} }

// AppendMany implements eventstore.Appender: streams at once, as many as the
// connections carry, and the appends of one stream one after the other.
func (s *Store) AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result {
	results := make([]eventstore.Result, len(appends))
	groups := byStream(appends)
	next := make(chan []int, len(groups))
	for _, g := range groups {
		next <- g
	}
	close(next)
	var workers sync.WaitGroup
	for range min(len(groups), cap(s.appends.slots)) {
		workers.Go(func() {
			for group := range next {
				for _, i := range group {
					a := appends[i]
					results[i].Appended, results[i].Err = s.Append(ctx, a.Stream, a.Expected, a.Events)
				}
			}
		})
	}
	workers.Wait()
	return results
}

// byStream groups the indexes of appends by stream, in order.
func byStream(appends []eventstore.Append) [][]int {
	place := make(map[domain.Stream]int, len(appends))
	var groups [][]int
	for i, a := range appends {
		g, ok := place[a.Stream]
		if !ok {
			g = len(groups)
			place[a.Stream] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// outgoing turns events into the client's, with their own ids: one left zero would
// get a new id with every try.
func outgoing(events []domain.Sealed) []client.EventData {
	out := make([]client.EventData, len(events))
	for i, e := range events {
		out[i] = client.EventData{
			EventID: uuid.UUID(e.ID()), EventType: string(e.Type()), ContentType: client.ContentTypeBinary,
			Data: e.Data(), Metadata: e.Envelope(),
		}
	}
	return out
}

func revision(r domain.Revision) client.ExpectedRevision {
	if r == domain.NoStream {
		return client.NoStream{}
	}
	return client.Revision(uint64(r))
}
