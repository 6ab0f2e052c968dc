package esdbtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// What a scavenge came to, in the words of the admin API.
const (
	scavengeUnknown    = "Unknown"
	scavengeInProgress = "InProgress"
	scavengeSuccess    = "Success"
	scavengeStopped    = "Stopped"
	scavengeErrored    = "Errored"
)

// scavenging is the state of one server's scavenges. A restart forgets the last
// one and its result, not how many there were.
type scavenging struct {
	mu     sync.Mutex
	done   int
	id     uuid.UUID
	result string
	timer  *time.Timer
}

// Scavenges counts the scavenges that this server has finished with success.
func (s *Server) Scavenges() int {
	s.scavenge.mu.Lock()
	defer s.scavenge.mu.Unlock()
	return s.scavenge.done
}

// last is the last scavenge since the server started.
func (c *scavenging) last() (uuid.UUID, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.result == "" {
		return uuid.Nil, scavengeUnknown
	}
	return c.id, c.result
}

// startScavenge begins one, unless one is in progress. What it removes is what
// can be removed when it ends.
func (s *Server) startScavenge() (uuid.UUID, bool) {
	c := &s.scavenge
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.result == scavengeInProgress {
		return c.id, false
	}
	c.id, c.result = uuid.New(), scavengeInProgress
	s.letOperatorsRead(c.id)
	s.noteScavenge(c.id, "$scavengeStarted", "")
	id := c.id
	c.timer = time.AfterFunc(s.cluster.options.ScavengeDelay, func() { s.finishScavenge(id) })
	return id, true
}

func (s *Server) finishScavenge(id uuid.UUID) {
	result := scavengeSuccess
	if fails := s.hooks.Load().Scavenge; fails != nil && fails() != nil {
		result = scavengeErrored
	}
	c := &s.scavenge
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != id || c.result != scavengeInProgress {
		return
	}
	if result == scavengeSuccess {
		s.cluster.shared.sweep(s.index, len(s.cluster.servers))
		c.done++
	}
	c.result = result
	s.noteScavenge(id, "$scavengeCompleted", result)
}

// stopScavenge ends the one in progress without effect.
func (s *Server) stopScavenge(id string) bool {
	c := &s.scavenge
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.result != scavengeInProgress || c.id.String() != id {
		return false
	}
	c.timer.Stop()
	c.result = scavengeStopped
	s.noteScavenge(c.id, "$scavengeCompleted", scavengeStopped)
	return true
}

// forget is what a restart does to a scavenge.
func (c *scavenging) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.id, c.result = uuid.Nil, ""
}

// letOperatorsRead gives the stream of a scavenge its list: a server's own streams
// are the administrators' else.
func (s *Server) letOperatorsRead(id uuid.UUID) {
	s.cluster.shared.append("$$$scavenges-"+id.String(), expectAny, []proposal{{
		id: uuid.New(), kind: kindMetadata, json: true,
		data: []byte(`{"$acl":{"$r":["` + groupOperators + `"],"$w":[],"$d":[],"$mr":[],"$mw":[]}}`),
	}}, nil)
}

// noteScavenge writes what the server keeps about a scavenge in its own log.
func (s *Server) noteScavenge(id uuid.UUID, kind, result string) {
	data, err := json.Marshal(map[string]string{"scavengeId": id.String(), "nodeEndpoint": s.Address(), "result": result})
	if err != nil {
		panic(err) // a map of strings
	}
	s.cluster.shared.append("$scavenges-"+id.String(), expectAny, []proposal{{id: uuid.New(), kind: kind, json: true, data: data}}, nil)
}

// sweep removes for one server what no reader of a stream sees any more: what is
// truncated, deleted or expired. The last event of a stream stays, unless the
// stream is tombstoned, of which only the tombstone stays.
func (l *ledger) sweep(server, servers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := map[*record]bool{}
	for stream, events := range l.streams {
		for _, r := range l.removable(stream, events) {
			l.swept[r.seq] |= 1 << server
			gone[r] = l.swept[r.seq] == 1<<servers-1
		}
	}
	maps.DeleteFunc(gone, func(_ *record, everywhere bool) bool { return !everywhere })
	l.remove(gone)
}

func (l *ledger) removable(stream string, events []*record) []*record {
	if len(events) == 0 {
		return nil
	}
	last := l.last(stream, l.nextSeq)
	if last == tombstoned {
		return slices.DeleteFunc(slices.Clone(events), func(r *record) bool { return r.revision == tombstoned })
	}
	meta := l.metaOf(stream, l.nextSeq)
	first := firstKept(stream, meta, last)
	var out []*record
	for _, r := range events[:len(events)-1] {
		if r.revision < first || l.expired(r, meta) {
			out = append(out, r)
		}
	}
	return out
}

// remove takes records that every server has swept out of memory.
func (l *ledger) remove(gone map[*record]bool) {
	if len(gone) == 0 {
		return
	}
	for r := range gone {
		l.gone[r.position] = struct{}{}
		delete(l.swept, r.seq)
	}
	keep := func(r *record) bool { return gone[r] }
	l.records = slices.DeleteFunc(slices.Clone(l.records), keep)
	for stream, events := range l.streams {
		l.streams[stream] = slices.DeleteFunc(slices.Clone(events), keep)
	}
}

// Holds reports whether the server still has data in any event, whoever may
// read it: the search through its files that a real one allows.
func (s *Server) Holds(data []byte) bool {
	l, _ := s.view()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.records, func(r *record) bool {
		return l.swept[r.seq]&(1<<s.index) == 0 && (bytes.Contains(r.data, data) || bytes.Contains(r.custom, data))
	})
}
