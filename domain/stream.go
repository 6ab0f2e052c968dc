package domain

import (
	"fmt"
	"strconv"
	"strings"
)

// Streams makes the stream names of one ledger (FORMAT §2).
type Streams struct{ prefix string }

// StreamsOf returns the names of ledger l.
func StreamsOf(l LedgerID) Streams { return Streams{prefix: "lethe." + string(l) + "."} }

// Prefix is what every stream of the ledger begins with.
func (s Streams) Prefix() string { return s.prefix }

// Of returns the stream of one person's class, tier and gen. Class and tier have
// no hyphen, so the name parses back.
func (s Streams) Of(w Where) Stream {
	var room [128]byte // enough for the names of most policies
	b := append(room[:0], s.prefix...)
	b = append(b, w.Class...)
	b = append(b, '-')
	b = append(b, w.Tier...)
	b = append(b, '-')
	b = strconv.AppendUint(b, uint64(w.Gen), 10)
	b = append(b, '-')
	return Stream(w.Ref.Append(b))
}

// Anonymous returns the stream of a class for the connections of one block that
// nobody identified.
func (s Streams) Anonymous(c Class, b Bucket, block BlockID) Stream {
	return Stream(s.prefix + string(c) + "-" + string(AnonTier) + "-" + string(b) + "-" + block.String())
}

// Node returns the stream of one process for one day.
func (s Streams) Node(day Bucket, w WriterID) Stream {
	return Stream(s.prefix + "node-" + string(day) + "-" + w.String())
}

// Destruction holds the one order of holds, erasures and expiries.
func (s Streams) Destruction() Stream { return Stream(s.prefix + string(ClassDestruction)) }

// Retention holds what was disposed of.
func (s Streams) Retention() Stream { return Stream(s.prefix + string(ClassRetention)) }

// Journal holds the erasure journal, line n at revision n.
func (s Streams) Journal() Stream { return Stream(s.prefix + string(ClassJournal)) }

// Policy holds the policy's revisions in full.
func (s Streams) Policy() Stream { return Stream(s.prefix + string(ClassPolicy)) }

// Checkpoint holds signed tree heads.
func (s Streams) Checkpoint() Stream { return Stream(s.prefix + string(ClassCheckpoint)) }

// A StreamKind says what a stream is about.
type StreamKind int

// The kinds of streams.
const (
	// StreamForeign is none of this ledger's.
	StreamForeign StreamKind = iota
	StreamSubject
	StreamAnonymous
	StreamNode
	StreamDestruction
	StreamRetention
	StreamJournal
	StreamPolicy
	StreamCheckpoint
)

// A StreamName is what a stream's name says. Only the parts of its kind are set.
type StreamName struct {
	Kind   StreamKind
	Class  Class
	Tier   Tier
	Gen    Gen
	Ref    SubjectRef
	Bucket Bucket
	Block  BlockID
	Writer WriterID
}

// Parse reads a stream name. Names outside the ledger's prefix are foreign; a
// name inside it that no rule makes is an error.
func (s Streams) Parse(name Stream) (StreamName, error) {
	rest, ours := strings.CutPrefix(string(name), s.prefix)
	if !ours {
		return StreamName{}, nil
	}
	if kind, ok := singleStreams[rest]; ok {
		return StreamName{Kind: kind, Class: Class(rest)}, nil
	}
	n, err := parseNamed(rest)
	if err != nil {
		return StreamName{}, fmt.Errorf("stream %s: %w", name, err)
	}
	return n, nil
}

var singleStreams = map[string]StreamKind{
	string(ClassDestruction): StreamDestruction, string(ClassRetention): StreamRetention,
	string(ClassJournal): StreamJournal, string(ClassPolicy): StreamPolicy, string(ClassCheckpoint): StreamCheckpoint,
}

// parseNamed reads class-tier-gen-ref, class-anon-bucket-block and
// node-day-writer. The UUID at the end has a fixed length, which settles the
// hyphens in buckets.
func parseNamed(rest string) (StreamName, error) {
	const uuidLen = 36
	if len(rest) < uuidLen+2 || rest[len(rest)-uuidLen-1] != '-' {
		return StreamName{}, ErrBadID
	}
	head, id := rest[:len(rest)-uuidLen-1], rest[len(rest)-uuidLen:]
	class, tail, _ := strings.Cut(head, "-")
	if class == string(ClassNode) {
		return parseNode(tail, id)
	}
	tier, last, _ := strings.Cut(tail, "-")
	n := StreamName{Class: Class(class), Tier: Tier(tier)}
	if err := n.Class.Validate(); err != nil {
		return StreamName{}, err
	}
	if n.Class.Reserved() {
		return StreamName{}, fmt.Errorf("class %s has no streams of persons", n.Class)
	}
	if err := n.Tier.Validate(); err != nil {
		return StreamName{}, err
	}
	if n.Tier == AnonTier {
		return parseAnonymous(n, last, id)
	}
	return parseSubject(n, last, id)
}

func parseNode(day, id string) (n StreamName, err error) {
	n = StreamName{Kind: StreamNode, Class: ClassNode}
	if n.Bucket, err = ParseBucket(day); err != nil {
		return StreamName{}, err
	}
	if n.Bucket.Width() != Day {
		return StreamName{}, fmt.Errorf("bucket %q: want a day", day)
	}
	n.Writer, err = Parse[WriterID](id)
	return n, err
}

func parseAnonymous(n StreamName, bucket, id string) (StreamName, error) {
	var err error
	n.Kind = StreamAnonymous
	n.Gen = 1
	if n.Bucket, err = ParseBucket(bucket); err != nil {
		return StreamName{}, err
	}
	n.Block, err = Parse[BlockID](id)
	return n, err
}

func parseSubject(n StreamName, gen, id string) (StreamName, error) {
	g, err := strconv.ParseUint(gen, 10, 32)
	if err != nil || g == 0 || strconv.FormatUint(g, 10) != gen {
		return StreamName{}, fmt.Errorf("gen %q: want a number from 1", gen)
	}
	n.Kind, n.Gen = StreamSubject, Gen(g)
	n.Ref, err = Parse[SubjectRef](id)
	return n, err
}
