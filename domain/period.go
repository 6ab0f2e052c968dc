package domain

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A Period is an ISO 8601 duration as a policy writes it: P30D, P6M, PT10M. It
// keeps calendar units apart, because a month is not a number of days.
type Period struct {
	text                                string
	years, months, days, hours, minutes int
}

var periodForm = regexp.MustCompile(`^P(?:([1-9]\d{0,3})Y)?(?:([1-9]\d{0,3})M)?(?:([1-9]\d{0,3})W)?(?:([1-9]\d{0,4})D)?(?:T(?:([1-9]\d{0,4})H)?(?:([1-9]\d{0,4})M)?)?$`)

// ParsePeriod reads an ISO 8601 duration of years, months, weeks, days, hours
// and minutes. Fractions, seconds, zeros, leading zeros and the empty period are
// refused: a period is a part of stream names, so it has one spelling.
func ParsePeriod(s string) (Period, error) {
	m := periodForm.FindStringSubmatch(s)
	if m == nil || s[len(s)-1] == 'T' {
		return Period{}, fmt.Errorf("period %q: want an ISO 8601 duration such as P30D, P6M or PT10M", s)
	}
	var n [6]int
	for i := range n {
		if m[i+1] != "" {
			n[i], _ = strconv.Atoi(m[i+1]) // digits by the expression above
		}
	}
	p := Period{text: s, years: n[0], months: n[1], days: 7*n[2] + n[3], hours: n[4], minutes: n[5]}
	if p.minutesAbout() == 0 {
		return Period{}, fmt.Errorf("period %q is empty", s)
	}
	return p, nil
}

// MustPeriod is ParsePeriod for constants.
func MustPeriod(s string) Period {
	p, err := ParsePeriod(s)
	if err != nil {
		panic(err)
	}
	return p
}

// String returns the period as it was written.
func (p Period) String() string { return p.text }

// IsZero reports whether p is no period at all.
func (p Period) IsZero() bool { return p.text == "" }

// MarshalText implements encoding.TextMarshaler.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler. The empty text is the zero
// Period, so that whatever was encoded decodes; a policy without one is invalid.
func (p *Period) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*p = Period{}
		return nil
	}
	*p, err = ParsePeriod(string(b))
	return err
}

// After returns t plus the period, in UTC. Months clamp to the last day of the
// month: 31 August + 6 months = 28 February (FORMAT §4).
func (p Period) After(t time.Time) time.Time {
	t = addMonths(t.UTC(), 12*p.years+p.months)
	return t.AddDate(0, 0, p.days).Add(time.Duration(p.hours)*time.Hour + time.Duration(p.minutes)*time.Minute)
}

// addMonths adds whole months and clamps the day instead of rolling it over.
func addMonths(t time.Time, months int) time.Time {
	first := time.Date(t.Year(), t.Month(), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC).AddDate(0, months, 0)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// minutesAbout orders periods: a year counts 365 days and a month a twelfth of
// it. Nanoseconds would overflow after 292 years.
func (p Period) minutesAbout() int64 {
	const day, month = 24 * 60, 365 * 24 * 60 / 12
	return month*int64(12*p.years+p.months) + day*int64(p.days) + 60*int64(p.hours) + int64(p.minutes)
}

// Shorter returns the shorter of two periods; a month counts 365/12 days here.
func (p Period) Shorter(q Period) Period {
	if q.minutesAbout() < p.minutesAbout() {
		return q
	}
	return p
}

// Covers reports whether p is at least n buckets of width w, counted as Shorter
// counts.
func (p Period) Covers(n int, w Width) bool {
	return p.minutesAbout() >= int64(n)*w.period().minutesAbout()
}
