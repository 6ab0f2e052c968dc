package esdbtest

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Revisions that are no revision. The last event of a tombstoned stream bears
// tombstoned as its number.
const (
	noEvents   int64 = -1
	tombstoned int64 = math.MaxInt64
)

// Types of the events that the server writes by itself.
const (
	kindMetadata  = "$metadata"
	kindTombstone = "$streamDeleted"
	kindLink      = "$>"
)

// A proposal is an event as a caller sent it.
type proposal struct {
	id           uuid.UUID
	kind         string
	json         bool
	data, custom []byte
}

// A record is an event in the log. It never changes once it is there.
type record struct {
	proposal
	// seq counts the records of the log; what a reader may see is bounded by it.
	seq      uint64
	position uint64
	stream   string
	revision int64
	created  time.Time
	// meta is what the record says about another stream, if it is on a metastream.
	meta *streamMeta
}

// size is what the record adds to the positions behind it: as on a real server
// most numbers between two records are no position of anything.
func (r *record) size() uint64 {
	return uint64(100 + len(r.stream) + len(r.kind) + len(r.data) + len(r.custom))
}

func isMetastream(stream string) bool { return strings.HasPrefix(stream, "$$") }

func metastreamOf(stream string) string { return "$$" + stream }

// streamMeta is the metadata of a stream as far as the server obeys it.
type streamMeta struct {
	maxCount       int64
	truncateBefore int64
	maxAge         time.Duration
	acl            map[string][]string
}

// softDeleted: the stream is to be found again only by appending to it.
func (m *streamMeta) softDeleted() bool { return m != nil && m.truncateBefore == tombstoned }

// wireMeta has a field for each key that is checked before any is obeyed.
type wireMeta struct {
	MaxCount       *int64                `json:"$maxCount"`
	MaxAge         *int64                `json:"$maxAge"`
	TruncateBefore *int64                `json:"$tb"`
	ACL            map[string]principals `json:"$acl"`
}

// principals is written as one name or as a list of names.
type principals []string

func (p *principals) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return json.Unmarshal(b, (*[]string)(p))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*p = principals{one}
	return nil
}

// parseMeta reads the body of a metadata event. A body with anything wrong in it
// counts as empty, as on the real server.
func parseMeta(body []byte) *streamMeta {
	var w wireMeta
	if json.Unmarshal(body, &w) != nil {
		return &streamMeta{}
	}
	m := &streamMeta{}
	for _, limit := range []struct {
		from  *int64
		to    *int64
		least int64
	}{{w.MaxCount, &m.maxCount, 1}, {w.TruncateBefore, &m.truncateBefore, 0}, {w.MaxAge, (*int64)(&m.maxAge), 1}} {
		if limit.from == nil {
			continue
		}
		if *limit.from < limit.least {
			return &streamMeta{}
		}
		*limit.to = *limit.from
	}
	m.maxAge *= time.Duration(time.Second)
	m.acl = acls(w.ACL)
	return m
}

func acls(in map[string]principals) map[string][]string {
	if in == nil {
		return nil
	}
	out := make(map[string][]string, len(in))
	for right, who := range in {
		out[right] = who
	}
	return out
}
