package ledger

import (
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A moment is what the events of one hour have in common: the texts of that hour
// and of its buckets. Handles, drafts and envelopes share them.
type moment struct {
	start   int64 // Unix seconds
	hour    domain.Hour
	buckets [4]domain.Bucket // as widths
}

// widths are those whose buckets are never shorter than an hour.
var widths = [4]domain.Width{domain.HourW, domain.Day, domain.Month, domain.Year}

// momentOf returns the moment of t; the last one asked for is kept.
func (l *Ledger) momentOf(t time.Time) *moment {
	const hour = int64(time.Hour / time.Second)
	start := t.Unix() - (t.Unix()%hour+hour)%hour
	if m := l.moment.Load(); m != nil && m.start == start {
		return m
	}
	m := &moment{start: start, hour: domain.HourOf(t)}
	for i, w := range widths {
		m.buckets[i] = domain.BucketAt(t, w)
	}
	l.moment.Store(m)
	return m
}

// bucket returns the bucket of width w that holds t, a time of this hour.
func (m *moment) bucket(t time.Time, w domain.Width) domain.Bucket {
	for i, known := range widths {
		if w == known {
			return m.buckets[i]
		}
	}
	return domain.BucketAt(t, w)
}
