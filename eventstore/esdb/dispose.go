package esdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Truncate implements eventstore.Disposer, with the disposer's account: it writes
// $tb into the stream's metadata, at the exact revision of what it read there, and
// keeps what else stands there. Never beyond the last event: that would hide the
// stream's end from everybody. The bytes leave the disk with a scavenge. A deleted
// stream answers ErrDeleted.
func (s *Store) Truncate(ctx context.Context, stream domain.Stream, before domain.Revision) error {
	return s.dispose(ctx, "truncate", stream, func(ctx context.Context) error {
		return s.truncate(ctx, stream, before)
	})
}

// Delete implements eventstore.Disposer, with the disposer's account: it writes a
// tombstone. The bytes leave the disk with a scavenge.
func (s *Store) Delete(ctx context.Context, stream domain.Stream) error {
	return s.dispose(ctx, "delete", stream, func(ctx context.Context) error {
		err := s.tombstone(ctx, stream)
		if judge(err) == deleted {
			return nil // then or by an earlier try: it is gone for ever
		}
		return err
	})
}

func (s *Store) dispose(ctx context.Context, verb string, stream domain.Stream, try func(ctx context.Context) error) error {
	if err := s.checkName(stream); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	what := fmt.Sprintf("%s %s", verb, stream)
	unlock, err := s.streams.lock(ctx, stream)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer unlock()
	if v, err := s.settle(ctx, s.Deadlines.Settle, try); err != nil {
		return outcome(ctx, what, v, err)
	}
	return nil
}

// tombstone deletes at any revision: whoever deletes a stream for ever does not ask
// what is in it.
func (s *Store) tombstone(ctx context.Context, stream domain.Stream) error {
	opts := client.TombstoneStreamOptions{ExpectedRevision: client.Any{}, Deadline: &s.Deadlines.Attempt}
	_, err := call(ctx, s.disposals, func(ctx context.Context, c *client.Client) (*client.DeleteResult, error) {
		return c.TombstoneStream(ctx, string(stream), opts)
	})
	return err
}

// errOvertaken: somebody else wrote the metadata in between. It is tried again.
var errOvertaken = fmt.Errorf("the metadata was written in between: %w", errUnsent)

func (s *Store) truncate(ctx context.Context, stream domain.Stream, before domain.Revision) error {
	last, err := s.last(ctx, s.disposals, stream)
	if err != nil || last == domain.NoStream {
		return err
	}
	m, err := s.metadata(ctx, stream)
	if err != nil {
		return err
	}
	before = min(before, last)
	if before <= m.truncatedBelow() {
		return nil
	}
	err = s.writeMetadata(ctx, stream, m, before)
	if judge(err) == wrongRevision {
		return errors.Join(errOvertaken, unlinked(err))
	}
	return err
}

// unlinked keeps an error's text and drops what it is judged by.
func unlinked(err error) error { return errors.New(err.Error()) }

// streamMetadata is the document of a stream's own stream, $$name. The client's type for
// it cannot read back more than one role, nor the largest $tb.
type streamMetadata struct {
	revision domain.Revision // of the document
	fields   map[string]json.RawMessage
}

const truncateBefore = "$tb"

func (s *Store) metadata(ctx context.Context, stream domain.Stream) (streamMetadata, error) {
	m := streamMetadata{revision: domain.NoStream, fields: map[string]json.RawMessage{}}
	p, err := s.streamPage(ctx, s.disposals, "$$"+string(stream), eventstore.LastRevision, eventstore.Backward, newPage(1))
	switch {
	case judge(err) == absent:
		return m, nil
	case err != nil || len(p.events) == 0:
		return m, err
	}
	m.revision = p.events[0].Revision
	// What is not an object counts for nothing at the server, too.
	var fields map[string]json.RawMessage
	if json.Unmarshal(p.events[0].Data(), &fields) == nil && fields != nil {
		m.fields = fields
	}
	return m, nil
}

// truncatedBelow is 0 where nothing is, and the largest where it cannot be read:
// a truncation is never taken back.
func (m streamMetadata) truncatedBelow() domain.Revision {
	raw, ok := m.fields[truncateBefore]
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return eventstore.LastRevision
	}
	return domain.Revision(n)
}

func (s *Store) writeMetadata(ctx context.Context, stream domain.Stream, m streamMetadata, before domain.Revision) error {
	m.fields[truncateBefore] = json.RawMessage(strconv.FormatInt(int64(before), 10))
	data, err := json.Marshal(m.fields)
	if err != nil {
		return err
	}
	// The id follows from what is written and where, so that a repetition is known.
	name := fmt.Sprintf("%s\n%d\n%d", stream, m.revision, before)
	event := client.EventData{
		EventID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)), EventType: "$metadata", ContentType: client.ContentTypeJson, Data: data,
	}
	opts := client.AppendToStreamOptions{ExpectedRevision: revision(m.revision), Deadline: &s.Deadlines.Attempt}
	_, err = call(ctx, s.disposals, func(ctx context.Context, c *client.Client) (*client.WriteResult, error) {
		return c.AppendToStream(ctx, "$$"+string(stream), opts, event)
	})
	return err
}
