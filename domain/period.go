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

var periodForm = regexp.MustCompile(`^P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,5})M)?)?$`)

// ParsePeriod reads an ISO 8601 duration of years, months, weeks, days, hours
// and minutes. Fractions, seconds and the empty period are refused.
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
	if p.approximate() <= 0 {
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

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Period) UnmarshalText(b []byte) (err error) {
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

// approximate orders periods; months count 30 days and years 365.
func (p Period) approximate() time.Duration {
	days := 365*p.years + 30*p.months + p.days
	return time.Duration(days)*24*time.Hour + time.Duration(p.hours)*time.Hour + time.Duration(p.minutes)*time.Minute
}

// Shorter returns the shorter of two periods; a month counts 30 days here.
func (p Period) Shorter(q Period) Period {
	if q.approximate() < p.approximate() {
		return q
	}
	return p
}

// Covers reports whether p is at least n buckets of width w.
func (p Period) Covers(n int, w Width) bool { return p.approximate() >= time.Duration(n)*w.shortest() }
