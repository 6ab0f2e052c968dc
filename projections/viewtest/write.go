package viewtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// Ledger is the id of the suite's ledger.
const Ledger domain.LedgerID = "test"

// A Writer writes events as a ledger would: canonical envelopes, tagged bodies.
// It belongs to one goroutine.
type Writer struct {
	*Log
	Streams domain.Streams
	// Now is the time of the next event.
	Now time.Time
	// Revision of the policy in force.
	Revision uint32
	writer   domain.WriterID
	n        uint32
}

// NewWriter writes to an empty log that begins with Policy.
func NewWriter() *Writer {
	w := &Writer{Log: NewLog(), Streams: domain.StreamsOf(Ledger), Now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	w.writer = domain.WriterID{0: 7, 6: 0x40, 8: 0x80}
	w.Revise(Policy("P6M", "P30D"))
	return w
}

// Policy is a policy of two classes and the built-in ones.
func Policy(lifecycle, messages string) *domain.Policy {
	rule := func(id domain.Class, period string) domain.ClassRule {
		return domain.ClassRule{ID: id, Purpose: "security", Retention: domain.MustPeriod(period), Bucket: domain.Day}
	}
	rights := rule(domain.ClassRights, "P3Y")
	rights.Scope = "obligated"
	return &domain.Policy{
		Classes: []domain.ClassRule{
			rule("lifecycle", lifecycle), rule("messages", messages), rule(domain.ClassAccess, "P1Y"), rule(domain.ClassActs, "P3Y"), rights,
		},
		Disposal: domain.DisposalRule{Within: domain.MustPeriod("P30D")},
		Records:  domain.RecordPeriods{Node: domain.MustPeriod("P1Y"), Destruction: domain.MustPeriod("P1Y")},
	}
}

// Verify checks the tag that Writer makes.
func Verify(r domain.Recorded) error {
	data := r.Data()
	if len(data) < tagSize || !bytes.Equal(data[len(data)-tagSize:], tag(r.Sealed, data[:len(data)-tagSize])) {
		return fmt.Errorf("event %s: %w", r.ID(), domain.ErrTampered)
	}
	return nil
}

const tagSize = 16

func tag(s domain.Sealed, body []byte) []byte {
	id := s.ID()
	b := domain.AppendLPString(id[:], string(s.Stream()))
	b = domain.AppendLP(domain.AppendLPString(b, string(s.Type())), s.Envelope())
	sum := sha256.Sum256(append(b, body...))
	return sum[:tagSize]
}

// Seal makes an event with a tagged body.
func (w *Writer) Seal(stream domain.Stream, typ domain.EventType, env domain.Envelope, body string) domain.Sealed {
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		panic(err)
	}
	env.Hour, env.Policy = domain.HourOf(w.Now), w.Revision
	raw, err := env.Encode(spec)
	if err != nil {
		panic(err)
	}
	w.n++
	sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(stream), w.n))
	id := domain.EventID(sum[:16])
	s := domain.NewSealed(id, stream, typ, raw, nil)
	return domain.NewSealed(id, stream, typ, raw, append([]byte(body), tag(s, []byte(body))...))
}

// Retag makes an event's tag fit its other bytes, as only a writer can.
func (w *Writer) Retag(s domain.Sealed) domain.Sealed {
	body := s.Data()[:len(s.Data())-tagSize]
	return domain.NewSealed(s.ID(), s.Stream(), s.Type(), s.Envelope(), append(bytes.Clone(body), tag(s, body)...))
}

// sealed and note begin the two kinds of bodies: magic, version, key number.
const (
	sealed   = "LTH\x01\x01"
	document = "LTD\x01\x01"
)

func (w *Writer) note(stream domain.Stream, typ domain.EventType, facts ...domain.Fact) domain.Recorded {
	return w.Append(w.Seal(stream, typ, domain.Envelope{Facts: domain.NewFacts(facts...)}, sealed))
}

// A Place is where a person's events of one class stand.
type Place struct {
	Scope  domain.Scope
	Ref    domain.SubjectRef
	Class  domain.Class
	Tier   domain.Tier
	Bucket domain.Bucket // of the day of Now if empty
	Gen    domain.Gen
	Block  domain.BlockID // of an anonymous ref
}

// Person writes an event of n records about a person.
func (w *Writer) Person(p Place, typ domain.EventType, n uint32, facts ...domain.Fact) domain.Recorded {
	if p.Bucket == "" {
		p.Bucket = domain.BucketAt(w.Now, domain.Day)
	}
	where := domain.Where{Ledger: Ledger, Scope: p.Scope, Ref: p.Ref, Class: p.Class, Tier: p.Tier, Bucket: p.Bucket, Gen: p.Gen}
	stream := w.Streams.Of(where)
	if p.Tier == domain.AnonTier {
		stream = w.Streams.Anonymous(p.Class, p.Bucket, p.Block)
	}
	env := domain.Envelope{
		Scope: p.Scope, Ref: p.Ref, Class: p.Class, Tier: p.Tier, Bucket: p.Bucket, Gen: p.Gen, N: n, Facts: domain.NewFacts(facts...),
	}
	return w.Append(w.Seal(stream, typ, env, sealed))
}

// Revise writes a policy revision.
func (w *Writer) Revise(p *domain.Policy) domain.Recorded {
	doc, err := p.Encode()
	if err != nil {
		panic(err)
	}
	w.Revision++
	env := domain.Envelope{Facts: domain.NewFacts(domain.Int("revision", int64(w.Revision)), domain.Name("digest", "d"))}
	return w.Append(w.Seal(w.Streams.Policy(), domain.PolicyRevised, env, document+string(doc)))
}

// NoteTime writes time.noted at Now.
func (w *Writer) NoteTime() domain.Recorded {
	return w.Node(domain.TimeNoted, domain.Int("at", w.Now.Unix()))
}

// Node writes a note of the process.
func (w *Writer) Node(typ domain.EventType, facts ...domain.Fact) domain.Recorded {
	return w.note(w.Streams.Node(domain.BucketAt(w.Now, domain.Day), w.writer), typ, facts...)
}

// Destroyed writes a note in the stream destruction.
func (w *Writer) Destroyed(typ domain.EventType, facts ...domain.Fact) domain.Recorded {
	return w.note(w.Streams.Destruction(), typ, facts...)
}

// Disposed writes a record of what was disposed of.
func (w *Writer) Disposed(typ domain.EventType, facts ...domain.Fact) domain.Recorded {
	return w.note(w.Streams.Retention(), typ, facts...)
}
