package esdb

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// scavengeRounds is how often every node is scavenged. A scavenge goes up to a
// point in the log, and takes one that another node set, or finishes one that was
// interrupted, before it sets its own: after the first round no node has anything
// to finish, after the second none has an older point to go to, and the third goes
// up to one that was set after the call.
const scavengeRounds = 3

// scavengePoll is how often a node is asked whether it is done.
const scavengePoll = 200 * time.Millisecond

// Scavenge returns when every configured node has finished a scavenge, begun after
// the call, of everything removed before it: then no node has the bytes any more.
// It uses the scavenger's account over the admin HTTP API, one node after the
// other. A node is told by its instance id: two addresses of one node, a node that
// is away, and one that is restarted meanwhile (whose disk may be another one) are
// errors. Everything that fails matches domain.ErrUnavailable; calling it again
// begins again. It is bounded by Deadlines.Scavenge.
func (s *Store) Scavenge(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, s.Deadlines.Scavenge)
	defer stop()
	if len(s.Nodes) == 0 {
		return fmt.Errorf("scavenge: %w: no nodes are configured", domain.ErrUnavailable)
	}
	ids, err := s.instances(ctx)
	for range scavengeRounds {
		for i := 0; i < len(s.Nodes) && err == nil; i++ {
			err = s.scavengeNode(ctx, s.Nodes[i], ids[i])
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("scavenge: %w (%w)", ended(ctx), err)
	}
	return fmt.Errorf("scavenge: %w", unavailable(err))
}

// instances tells the nodes apart.
func (s *Store) instances(ctx context.Context) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(s.Nodes))
	seen := map[uuid.UUID]string{}
	for i, node := range s.Nodes {
		id, err := s.instance(ctx, node)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[id]; twice {
			return nil, fmt.Errorf("nodes %s and %s are the same one", other, node)
		}
		ids[i], seen[id] = id, node
	}
	return ids, nil
}

// instance asks a node for its own id: of all members that it knows, the one at the
// address it was asked at.
func (s *Store) instance(ctx context.Context, node string) (uuid.UUID, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Deadlines.Read)
	defer cancel()
	members, err := s.members(ctx, node)
	if err != nil {
		return uuid.Nil, err
	}
	for _, m := range members {
		if len(members) == 1 || endpoint(m) == node {
			return instanceID(m)
		}
	}
	return uuid.Nil, fmt.Errorf("node %s calls itself by another address", node)
}

func instanceID(m *gossip.MemberInfo) (uuid.UUID, error) {
	if text := m.GetInstanceId().GetString_(); text != "" {
		return uuid.Parse(text)
	}
	u := m.GetInstanceId().GetStructured()
	if u == nil {
		return uuid.Nil, errors.New("a node does not tell its instance id")
	}
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(u.GetMostSignificantBits()))
	binary.BigEndian.PutUint64(id[8:], uint64(u.GetLeastSignificantBits()))
	return id, nil
}

// scavengeNode begins a scavenge, waiting for one that is in progress, and waits
// for its end.
func (s *Store) scavengeNode(ctx context.Context, node string, instance uuid.UUID) error {
	id, err := s.startScavenge(ctx, node)
	if err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	s.Logf("event store: scavenge %s of node %s has begun", id, node)
	if err := s.finishScavenge(ctx, node, id); err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	now, err := s.instance(ctx, node)
	if err == nil && now != instance {
		err = fmt.Errorf("node %s was restarted or replaced meanwhile", node)
	}
	return err
}

// startScavenge asks until no other one is in progress. Threshold 0 leaves nothing
// deleted behind.
func (s *Store) startScavenge(ctx context.Context, node string) (id string, err error) {
	const path = "/admin/scavenge?threshold=0"
	var begun scavengeState
	for {
		code, err := s.ask(ctx, s.Accounts.Scavenger, http.MethodPost, node, path, nil, &begun)
		switch {
		case err != nil:
			return "", err
		case code == http.StatusOK && begun.ID != "":
			return begun.ID, nil
		case code != http.StatusBadRequest && code != http.StatusConflict:
			return "", statusError(code, http.MethodPost, path)
		}
		if !s.pause(ctx, scavengePoll) {
			return "", ended(ctx)
		}
	}
}

// The words of the API and of a scavenge's own stream.
const (
	scavengeInProgress = "InProgress"
	scavengeSuccess    = "Success"
)

// finishScavenge waits for the end of a scavenge.
func (s *Store) finishScavenge(ctx context.Context, node, id string) error {
	for {
		result, err := s.scavengeResult(ctx, node, id)
		switch {
		case err != nil:
			return err
		case result == scavengeSuccess:
			return nil
		case result != scavengeInProgress:
			return fmt.Errorf("scavenge %s ended as %q", id, result)
		}
		if !s.pause(ctx, scavengePoll) {
			return ended(ctx)
		}
	}
}

// A scavengeState is how the admin API tells of one.
type scavengeState struct {
	ID     string `json:"scavengeId"`
	Result string `json:"scavengeResult"`
}

func (s *Store) scavengeResult(ctx context.Context, node, id string) (string, error) {
	const path = "/admin/scavenge/last"
	var last scavengeState
	code, err := s.ask(ctx, s.Accounts.Scavenger, http.MethodGet, node, path, nil, &last)
	switch {
	case err != nil:
		return "", err
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed: // releases of 23.10 do not have it
		return s.scavengeNoted(ctx, node, id)
	case code != http.StatusOK:
		return "", statusError(code, http.MethodGet, path)
	case last.ID != id:
		return "", fmt.Errorf("scavenge %s is not known any more: the node tells of %q", id, last.ID)
	}
	return last.Result, nil
}

// scavengeNoted reads what came of a scavenge in the stream that the server keeps
// about it.
func (s *Store) scavengeNoted(ctx context.Context, node, id string) (string, error) {
	const path = "/admin/scavenge/current"
	var now scavengeState
	code, err := s.ask(ctx, s.Accounts.Scavenger, http.MethodGet, node, path, nil, &now)
	switch {
	case err != nil:
		return "", err
	case code != http.StatusOK:
		return "", statusError(code, http.MethodGet, path)
	case now.ID == id:
		return scavengeInProgress, nil
	}
	stream := "$scavenges-" + id
	p, err := s.page(ctx, stream, 1, func(ctx context.Context, limit int) (*page, error) {
		return s.streamPage(ctx, s.scavenges, stream, eventstore.LastRevision, eventstore.Backward, newPage(limit))
	})
	if err != nil {
		return "", err
	}
	if len(p.events) == 0 || p.events[0].Type() != "$scavengeCompleted" {
		return scavengeInProgress, nil // the note is written behind the end
	}
	var note struct {
		Result string `json:"result"`
	}
	if err := json.Unmarshal(p.events[0].Data(), &note); err != nil {
		return "", fmt.Errorf("note of scavenge %s: %w", id, err)
	}
	return note.Result, nil
}
