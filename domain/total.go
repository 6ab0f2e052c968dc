package domain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrFacts says that the facts of a note do not read as its type promises.
var ErrFacts = errors.New("facts of a note cannot be read")

// A Total counts what was disposed of, without refs: one entry of the totals of
// bucket.disposed and subject.disposed (FORMAT §2).
type Total struct {
	Pool    string // empty for events that belong to no pool
	Key     RetentionKey
	Events  int64
	Records int64
}

// noPool stands for the empty pool, because a name in a fact is never empty.
const noPool = "-"

// String writes the form of the fact: pool/class/tier/bucket:events:records. The
// bucket of a minute has a colon itself, so the form is read from its end.
func (t Total) String() string {
	pool := t.Pool
	if pool == "" {
		pool = noPool
	}
	return fmt.Sprintf("%s/%s:%d:%d", pool, t.Key, t.Events, t.Records)
}

// ParseTotal reads the form that String writes.
func ParseTotal(s string) (Total, error) {
	rest, records, ok := CutCount(s)
	rest, events, ok2 := CutCount(rest)
	pool, key, ok3 := strings.Cut(rest, "/")
	if !ok || !ok2 || !ok3 || pool == "" {
		return Total{}, fmt.Errorf("total %q: want pool/class/tier/bucket:events:records: %w", s, ErrFacts)
	}
	k, err := ParseRetentionKey(key)
	if err != nil {
		return Total{}, err
	}
	if pool == noPool {
		pool = ""
	}
	return Total{Pool: pool, Key: k, Events: events, Records: records}, nil
}

// CutCount cuts a count behind the last colon off.
func CutCount(s string) (rest string, n int64, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, false
	}
	n, err := strconv.ParseInt(s[i+1:], 10, 64)
	return s[:i], n, err == nil && n >= 0
}

// ParseRetentionKey reads class/tier/bucket, as RetentionKey.String writes it.
func ParseRetentionKey(s string) (RetentionKey, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return RetentionKey{}, fmt.Errorf("bucket %q: want class/tier/bucket: %w", s, ErrFacts)
	}
	k := RetentionKey{Class: Class(parts[0]), Tier: Tier(parts[1])}
	var err error
	if k.Bucket, err = ParseBucket(parts[2]); err != nil {
		return RetentionKey{}, fmt.Errorf("%w: %w", err, ErrFacts)
	}
	if err := k.Class.Validate(); err != nil {
		return RetentionKey{}, fmt.Errorf("%w: %w", err, ErrFacts)
	}
	if err := k.Tier.Validate(); err != nil {
		return RetentionKey{}, fmt.Errorf("%w: %w", err, ErrFacts)
	}
	return k, nil
}
