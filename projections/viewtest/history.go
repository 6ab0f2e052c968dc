package viewtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// A History writes a random but lawful life of a ledger: traffic, erasures of
// every kind, expiries, disposals, cuts. Draw returns a number from 0 to n-1.
type History struct {
	*Writer
	Draw func(n int) int
	// Shown keeps everything in the store that was disposed of. Set it while a
	// projector follows: nothing may be cut before the views have passed the
	// record of it.
	Shown bool

	people  []*person
	blocks  []domain.BlockID
	pending []destruction // done and not yet disposed of
	shown   []destruction // disposed of by record; the store may still show events
	expired []domain.RetentionKey
	done    map[string]int // how often each kind of step was taken
}

type person struct {
	ref   domain.SubjectRef
	block domain.BlockID // of an anonymous one
	gens  map[domain.Class]domain.Gen
	conn  domain.ConnectionID
	dead  bool
}

type destruction struct {
	facts   []domain.Fact
	command domain.CommandID
	streams []domain.Stream // what its disposal deletes
}

// NewHistory begins a ledger with a few people and one block of anonymous ones.
func NewHistory(draw func(n int) int) *History {
	h := &History{Writer: NewWriter(), Draw: draw, done: map[string]int{}}
	for range 4 {
		h.addPerson(domain.BlockID{})
	}
	h.addBlock()
	return h
}

func (h *History) id() (id [16]byte) {
	for i := range id {
		id[i] = byte(h.Draw(256))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

func (h *History) addPerson(block domain.BlockID) {
	h.people = append(h.people, &person{ref: h.id(), block: block, gens: map[domain.Class]domain.Gen{}, conn: h.id()})
}

func (h *History) addBlock() {
	b := domain.BlockID(h.id())
	h.blocks = append(h.blocks, b)
	for range 2 {
		h.addPerson(b)
	}
}

// Steps takes n random steps.
func (h *History) Steps(n int) {
	steps := []struct {
		name   string
		weight int
		take   func()
	}{
		{"traffic", 30, h.traffic},
		{"life", 20, h.life},
		{"request", 8, h.request},
		{"access", 5, h.access},
		{"node", 5, h.node},
		{"time", 5, func() { h.NoteTime() }},
		{"later", 6, h.later},
		{"policy", 1, h.policy},
		{"subject", 3, h.eraseSubject},
		{"class", 3, h.eraseClass},
		{"range", 3, h.eraseRange},
		{"block", 1, h.retireBlock},
		{"expire", 3, h.expire},
		{"dispose bucket", 3, h.disposeBucket},
		{"dispose subjects", 3, h.disposeSubjects},
		{"cut", 2, h.cutDestruction},
		{"cut node", 1, h.cutNode},
		{"lost stream", 1, h.deleteUnrecorded},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	for range n {
		at := h.Draw(total)
		for _, s := range steps {
			if at -= s.weight; at < 0 {
				h.done[s.name]++
				s.take()
				break
			}
		}
	}
}

func (h *History) pick() *person {
	if h.Draw(30) == 0 {
		h.addPerson(domain.BlockID{})
	}
	alive := slices.DeleteFunc(slices.Clone(h.people), func(p *person) bool { return p.dead })
	if len(alive) == 0 {
		h.addPerson(domain.BlockID{})
		return h.people[len(h.people)-1]
	}
	return alive[h.Draw(len(alive))]
}

func (h *History) place(p *person, c domain.Class) Place {
	pl := Place{Scope: domain.Erasable, Ref: p.ref, Class: c, Tier: domain.OwnTier, Gen: max(p.gens[c], 1), Block: p.block}
	if !p.block.IsZero() {
		pl.Tier, pl.Gen = domain.AnonTier, 1
	}
	if c == domain.ClassRights {
		pl.Scope = domain.Obligated
	}
	return pl
}

func (h *History) pool() domain.Fact { return domain.Name("pool", []string{"chat", "feed"}[h.Draw(2)]) }

func (h *History) traffic() {
	p := h.pick()
	h.Person(h.place(p, "messages"), domain.TrafficRecorded, uint32(1+h.Draw(64)), h.pool(), domain.UUID("connection", p.conn)) //nolint:gosec // small
}

func (h *History) life() {
	p := h.pick()
	conn := domain.UUID("connection", p.conn)
	switch h.Draw(4) {
	case 0:
		p.conn = h.id()
		h.Person(h.place(p, "lifecycle"), domain.ConnectionOpened, 1, h.pool(), domain.UUID("connection", p.conn), domain.Int("tls", 13))
	case 1:
		h.Person(h.place(p, "lifecycle"), domain.ConnectionIdled, 1, h.pool(), conn)
	case 2:
		h.Person(h.place(p, "lifecycle"), domain.ConnectionResumed, 1, h.pool(), conn)
	default:
		h.Person(h.place(p, "lifecycle"), domain.ConnectionClosed, 1, h.pool(), conn, domain.Int("close", 1000), domain.Name("reason", "client"))
	}
}

func (h *History) request() {
	p := h.pick()
	if !p.block.IsZero() {
		return
	}
	pl, id := h.place(p, domain.ClassRights), domain.UUID("request", domain.RequestID(p.conn))
	switch h.Draw(4) {
	case 0:
		h.Person(pl, domain.RequestReceived, 1, id, domain.Name("kind", "erasure"))
	case 1:
		h.Person(pl, domain.RequestDecided, 1, id, domain.Name("outcome", "erase"))
	case 2:
		h.Person(pl, domain.RequestReceipted, 1, id, domain.UUID("receipt", domain.ReceiptID(h.id())))
	default:
		h.Person(pl, domain.RequestCompleted, 1, id)
	}
}

func (h *History) access() {
	p := h.pick()
	if !p.block.IsZero() {
		return
	}
	if h.Draw(2) == 0 {
		h.Person(h.place(p, domain.ClassAccess), domain.AccessOpened, 1)
		return
	}
	h.Person(h.place(p, domain.ClassActs), domain.ActPerformed, 1, domain.Name("action", "export"))
}

func (h *History) node() {
	switch h.Draw(3) {
	case 0:
		h.Node(domain.ConnectionRefused, h.pool(), domain.Name("reason", "limit"), domain.Int("count", int64(1+h.Draw(5))))
	case 1:
		h.Node(domain.GapRecorded, h.pool(), domain.Int("from", 1), domain.Int("to", 2))
	default:
		h.Node(domain.LateRecorded, domain.List("dropped", []string{"messages/2026-11-23:3"}))
	}
}

func (h *History) later() { h.Now = h.Now.Add(time.Duration(1+h.Draw(10)) * time.Hour) }

func (h *History) policy() {
	periods := []string{"P7D", "P30D", "P90D"}
	h.Revise(Policy(periods[h.Draw(3)], periods[h.Draw(3)]))
}

// destroy writes a destruction, begun and done, with late events between.
func (h *History) destroy(kind domain.DestructionKind, streams []domain.Stream, facts ...domain.Fact) {
	d := destruction{command: h.id(), streams: streams}
	d.facts = append([]domain.Fact{domain.Name("kind", kind), domain.UUID("command", d.command)}, facts...)
	h.Destroyed(domain.DestructionBegun, d.facts...)
	if h.Draw(3) == 0 {
		h.traffic()
	}
	d.facts = append(d.facts, domain.Int("keys", int64(1+h.Draw(5))), domain.Int("journal", int64(h.Draw(9))))
	h.Destroyed(domain.DestructionDone, d.facts...)
	if kind != projections.KindRetention {
		h.pending = append(h.pending, d)
	}
}

func (h *History) streamsOf(p *person, classes ...domain.Class) (list []domain.Stream) {
	for _, c := range classes {
		for g := domain.Gen(1); g <= max(p.gens[c], 1); g++ {
			list = append(list, h.Streams.Of(domain.Where{Ref: p.ref, Class: c, Tier: domain.OwnTier, Gen: g}))
		}
	}
	return list
}

func (h *History) eraseSubject() {
	p := h.pick()
	p.dead = true
	var streams []domain.Stream
	if p.block.IsZero() {
		streams = h.streamsOf(p, "messages", "lifecycle", domain.ClassAccess, domain.ClassActs, domain.ClassRights)
	}
	h.destroy(projections.KindSubject, streams, domain.UUID("ref", p.ref))
	if h.Draw(4) == 0 { // a node that was cut off writes on
		h.Person(h.place(p, "messages"), domain.TrafficRecorded, 2, h.pool(), domain.UUID("connection", p.conn))
	}
}

func (h *History) eraseClass() {
	p := h.pick()
	if !p.block.IsZero() {
		return
	}
	gen := max(p.gens["messages"], 1)
	stream := h.Streams.Of(domain.Where{Ref: p.ref, Class: "messages", Tier: domain.OwnTier, Gen: gen})
	h.destroy(projections.KindClass, []domain.Stream{stream}, domain.UUID("ref", p.ref), domain.List("classes", []string{fmt.Sprintf("messages:%d", gen)}))
	p.gens["messages"] = gen + 1
}

func (h *History) eraseRange() {
	p := h.pick()
	if !p.block.IsZero() {
		return
	}
	gen := max(p.gens["lifecycle"], 1)
	day := domain.BucketAt(h.Now, domain.Day)
	h.destroy(projections.KindRange, nil, domain.UUID("ref", p.ref),
		domain.List("classes", []string{fmt.Sprintf("lifecycle:%d", gen)}), domain.List("buckets", []string{"lifecycle/0/" + string(day)}))
	p.gens["lifecycle"] = gen + 1
}

func (h *History) retireBlock() {
	i := h.Draw(len(h.blocks))
	b := h.blocks[i]
	h.destroy(projections.KindBlock, nil, domain.UUID("block", b))
	for _, p := range h.people {
		if p.block == b {
			p.dead = true
		}
	}
	h.blocks = slices.Delete(h.blocks, i, i+1)
	h.addBlock()
}

func (h *History) key() domain.RetentionKey {
	tier := []domain.Tier{domain.OwnTier, domain.AnonTier}[h.Draw(2)]
	class := []domain.Class{"messages", "lifecycle"}[h.Draw(2)]
	return domain.RetentionKey{Class: class, Tier: tier, Bucket: domain.BucketAt(h.Now.AddDate(0, 0, -h.Draw(2)), domain.Day)}
}

func (h *History) expire() {
	k := h.key()
	h.destroy(projections.KindRetention, nil, domain.List("buckets", []string{k.String()}))
	h.expired = append(h.expired, k)
}

func (h *History) totals(k domain.RetentionKey) domain.Fact {
	t := projections.Total{Pool: "chat", Key: k, Events: int64(1 + h.Draw(9)), Records: int64(h.Draw(99))}
	if h.Draw(3) == 0 {
		return domain.Fact{}
	}
	return domain.List("totals", []string{t.String()})
}

func (h *History) disposeBucket() {
	if len(h.expired) == 0 {
		return
	}
	k := h.expired[h.Draw(len(h.expired))]
	h.Disposed(domain.BucketDisposed, domain.Name("kind", projections.KindRetention), domain.Name("class", k.Class),
		domain.Name("tier", k.Tier), domain.Name("bucket", k.Bucket), h.totals(k))
}

func (h *History) disposeSubjects() {
	if len(h.pending) == 0 {
		return
	}
	n := 1 + h.Draw(len(h.pending))
	var commands []string
	for _, d := range h.pending[:n] {
		commands = append(commands, d.command.String())
	}
	h.Disposed(domain.SubjectDisposed, domain.List("commands", commands), h.totals(h.key()))
	for _, d := range h.pending[:n] {
		for _, s := range d.streams {
			h.Delete(s, h.Draw(2) == 0 || h.Shown)
		}
		if d.streams == nil {
			h.shown = append(h.shown, d)
		}
	}
	h.pending = slices.Clone(h.pending[n:])
}

// cutDestruction carries forward what is not disposed of or may still be shown,
// records the cut, and makes it, now or never.
func (h *History) cutDestruction() {
	last, err := h.Last(context.Background(), h.Streams.Destruction())
	if err != nil || last < 1 {
		return
	}
	for _, d := range append(slices.Clone(h.pending), h.shown...) {
		h.Destroyed(domain.DestructionCarried, d.facts...)
	}
	h.Disposed(domain.StreamDisposed, domain.Name("stream", h.Streams.Destruction()), domain.Int("revision", int64(last)+1))
	if h.Draw(2) == 0 && !h.Shown {
		h.Truncate(h.Streams.Destruction(), last+1)
	}
}

func (h *History) cutNode() {
	stream := h.Streams.Node(domain.BucketAt(h.Now, domain.Day), h.writer)
	last, err := h.Last(context.Background(), stream)
	if err != nil || last < 1 {
		return
	}
	h.Disposed(domain.StreamDisposed, domain.Name("stream", stream), domain.Int("revision", int64(last)))
	if h.Draw(2) == 0 && !h.Shown {
		h.Truncate(stream, last)
	}
}

// deleteUnrecorded deletes a stream that no record speaks of, as an operator's
// mistake does.
func (h *History) deleteUnrecorded() {
	p := h.pick()
	if p.block.IsZero() {
		p.dead = true
		for _, s := range h.streamsOf(p, "messages", "lifecycle", domain.ClassAccess, domain.ClassActs, domain.ClassRights) {
			h.Delete(s, h.Draw(2) == 0 || h.Shown)
		}
	}
}
