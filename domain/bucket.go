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

// period is the time a bucket of this width covers; the zero Period for what is
// no width.
func (w Width) period() Period {
	switch w {
	case Minute:
		return Period{minutes: 1}
	case HourW:
		return Period{hours: 1}
	case Day:
		return Period{days: 1}
	case Month:
		return Period{months: 1}
	case Year:
		return Period{years: 1}
	}
	return Period{}
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
	if !validTime(s) {
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
	w := b.Width()
	return BucketAt(w.period().After(b.Start()), w)
}

// In reports whether an event of hour h can stand in the bucket: the bucket
// holds the hour, or is a minute of it.
func (b Bucket) In(h Hour) bool {
	n := min(len(b), len(hourLayout)-len("Z"))
	return n > 0 && len(h) == len(hourLayout) && b[:n] == Bucket(h[:n])
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
	if len(s) != len(hourLayout) || s[len(s)-1] != 'Z' || !validTime(s[:len(s)-1]) {
		return "", fmt.Errorf("hour %q: want the form 2026-11-23T10Z", s)
	}
	return Hour(s), nil
}

// validTime reports whether s is a date to the precision that its length tells,
// in exactly the form 2006-01-02T15:04. It stands in for time.Parse, because it
// runs for every envelope.
func validTime(s string) bool {
	const form = "0000-00-00T00:00"
	for i := range len(s) {
		digit := s[i] >= '0' && s[i] <= '9'
		if i >= len(form) || digit != (form[i] == '0') || (!digit && s[i] != form[i]) {
			return false
		}
	}
	two := func(at, otherwise int) int {
		if len(s) < at+2 {
			return otherwise
		}
		return int(s[at]-'0')*10 + int(s[at+1]-'0')
	}
	month, day := two(5, 1), two(8, 1)
	return month >= 1 && month <= 12 && day >= 1 && day <= daysIn(100*two(0, 0)+two(2, 0), month) && two(11, 0) < 24 && two(14, 0) < 60
}

// daysIn is the length of a month.
func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// Start returns the first instant of the hour.
func (h Hour) Start() time.Time {
	t, err := time.Parse(hourLayout, string(h))
	if err != nil {
		return time.Time{}
	}
	return t
}
