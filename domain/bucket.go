package domain

import (
	"fmt"
	"time"
)

// A Width is how much time one bucket covers, and so the precision of every
// retention and of a date range.
type Width string

// The widths of FORMAT §1. Minute is for trials with the embedded custodian.
const (
	Minute Width = "minute"
	HourW  Width = "hour"
	Day    Width = "day"
	Month  Width = "month"
	Year   Width = "year"
)

// Layouts of a bucket's name by its width; a name's length tells its width.
func (w Width) layout() string {
	switch w {
	case Minute:
		return "2006-01-02T15:04"
	case HourW:
		return "2006-01-02T15"
	case Day:
		return "2006-01-02"
	case Month:
		return "2006-01"
	case Year:
		return "2006"
	}
	return ""
}

// Valid reports whether w is one of the five widths.
func (w Width) Valid() bool { return w.layout() != "" }

// shortest is the least time a bucket of this width covers.
func (w Width) shortest() time.Duration {
	switch w {
	case Minute:
		return time.Minute
	case HourW:
		return time.Hour
	case Day:
		return 24 * time.Hour
	case Month:
		return 28 * 24 * time.Hour
	case Year:
		return 365 * 24 * time.Hour
	}
	return 0
}

// A Bucket is the UTC start of an interval of event time, written as its width
// writes it: 2026-11-23 is a day (FORMAT §1).
type Bucket string

// BucketAt returns the bucket of width w that holds t.
func BucketAt(t time.Time, w Width) Bucket { return Bucket(t.UTC().Format(w.layout())) }

// ParseBucket reads a bucket in its canonical form.
func ParseBucket(s string) (Bucket, error) {
	b := Bucket(s)
	w := b.Width()
	if w == "" {
		return "", fmt.Errorf("bucket %q: want a UTC minute, hour, day, month or year such as 2026-11-23", s)
	}
	t, err := time.Parse(w.layout(), s)
	if err != nil || t.Format(w.layout()) != s {
		return "", fmt.Errorf("bucket %q: want a UTC minute, hour, day, month or year such as 2026-11-23", s)
	}
	return b, nil
}

// Width tells the width from the form; empty for what is no bucket.
func (b Bucket) Width() Width {
	switch len(b) {
	case len("2006-01-02T15:04"):
		return Minute
	case len("2006-01-02T15"):
		return HourW
	case len("2006-01-02"):
		return Day
	case len("2006-01"):
		return Month
	case len("2006"):
		return Year
	}
	return ""
}

// Start returns the first instant of the bucket; the zero time for what is no
// bucket.
func (b Bucket) Start() time.Time {
	t, err := time.Parse(b.Width().layout(), string(b))
	if err != nil {
		return time.Time{}
	}
	return t
}

// End returns the first instant behind the bucket.
func (b Bucket) End() time.Time { return b.Next().Start() }

// Next returns the bucket that follows.
func (b Bucket) Next() Bucket {
	t := b.Start()
	switch w := b.Width(); w {
	case Minute, HourW, Day:
		return BucketAt(t.Add(w.shortest()), w)
	case Month:
		return BucketAt(t.AddDate(0, 1, 0), w)
	case Year:
		return BucketAt(t.AddDate(1, 0, 0), w)
	}
	return ""
}

// A Rule says from where a retention period counts (ARCHITECTURE §7).
type Rule string

// The two rules. AtMost counts from the bucket's start: nothing opens after its
// period, and nothing dies more than one width early. AtLeast counts from the
// bucket's end: nothing dies early, nothing lives more than one width late.
const (
	AtMost  Rule = "at-most"
	AtLeast Rule = "at-least"
)

// Due returns when the retention key of bucket b is to be destroyed.
func (b Bucket) Due(r Rule, p Period) time.Time {
	if r == AtLeast {
		return p.After(b.End())
	}
	return p.After(b.Start())
}

// An Hour is an event's time cut to the hour: 2026-11-23T10Z. The exact time is
// sealed.
type Hour string

const hourLayout = "2006-01-02T15Z"

// HourOf cuts t to its UTC hour.
func HourOf(t time.Time) Hour { return Hour(t.UTC().Format(hourLayout)) }

// ParseHour reads the canonical form.
func ParseHour(s string) (Hour, error) {
	t, err := time.Parse(hourLayout, s)
	if err != nil || t.Format(hourLayout) != s {
		return "", fmt.Errorf("hour %q: want the form 2026-11-23T10Z", s)
	}
	return Hour(s), nil
}

// Start returns the first instant of the hour.
func (h Hour) Start() time.Time {
	t, err := time.Parse(hourLayout, string(h))
	if err != nil {
		return time.Time{}
	}
	return t
}
