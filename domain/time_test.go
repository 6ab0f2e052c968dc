package domain_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
)

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestPeriodArithmetic(t *testing.T) {
	for _, c := range []struct {
		from   time.Time
		period string
		want   time.Time
	}{
		{day(2026, 8, 31), "P6M", day(2027, 2, 28)},
		{day(2027, 8, 31), "P6M", day(2028, 2, 29)}, // leap year
		{day(2028, 2, 29), "P1Y", day(2029, 2, 28)},
		{day(2028, 2, 29), "P4Y", day(2032, 2, 29)},
		{day(2026, 1, 31), "P1M", day(2026, 2, 28)},
		{day(2026, 1, 31), "P1M1D", day(2026, 3, 1)}, // clamped, then a day
		{day(2099, 12, 31), "P2M", day(2100, 2, 28)}, // 2100 is no leap year
		{day(2026, 10, 31), "P13M", day(2027, 11, 30)},
		{day(2026, 11, 23), "P2W", day(2026, 12, 7)},
		{day(2026, 11, 23), "PT25H30M", time.Date(2026, 11, 24, 1, 30, 0, 0, time.UTC)},
		{day(2026, 11, 23), "P400Y", day(2426, 11, 23)},
	} {
		if got := domain.MustPeriod(c.period).After(c.from); !got.Equal(c.want) {
			t.Errorf("%v + %s = %v, want %v", c.from, c.period, got, c.want)
		}
	}
}

// TestClockChangesDoNotMove: the zone of a time never moves a bucket or a due
// date. 2026-03-29 has 23 hours in Paris, 2026-10-25 has 25.
func TestClockChangesDoNotMove(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Skip("no zone database here: ", err)
	}
	for _, instant := range []time.Time{time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC), time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)} {
		for _, w := range []domain.Width{domain.Minute, domain.HourW, domain.Day, domain.Month, domain.Year} {
			if a, b := domain.BucketAt(instant, w), domain.BucketAt(instant.In(paris), w); a != b {
				t.Errorf("%s: %s in UTC, %s in Paris", w, a, b)
			}
		}
		if a, b := domain.MustPeriod("P1D").After(instant), domain.MustPeriod("P1D").After(instant.In(paris)); !a.Equal(b) || a.Sub(instant) != 24*time.Hour {
			t.Errorf("a day after %v: %v and %v", instant, a, b)
		}
	}
	if domain.HourOf(time.Date(2026, 10, 25, 2, 30, 0, 0, paris)) == "2026-10-25T02Z" {
		t.Error("an hour was taken from a local clock")
	}
}

func TestPeriodsThatAreNone(t *testing.T) {
	for _, s := range []string{"", "P", "PT", "P0D", "P1DT", "P-1D", "P1.5D", "PT5S", "30D", "p30d", "P1D1M", "P07D", " P1D", "P1D\n", "P1H", "P1S", "P100000D"} {
		if p, err := domain.ParsePeriod(s); err == nil {
			t.Errorf("%q was read as %v", s, p)
		}
	}
	for _, s := range []string{"P30D", "P6M", "PT10M", "P1Y2M3W4DT5H6M", "P9999Y9999M9999W99999DT99999H99999M"} {
		if p, err := domain.ParsePeriod(s); err != nil || p.String() != s {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
}

func TestPeriodOrder(t *testing.T) {
	for _, c := range []struct{ short, long string }{
		{"P30D", "P1M"}, {"P1M", "P31D"}, {"P1Y", "P367D"}, {"P300Y", "P301Y"}, {"PT59M", "PT1H"}, {"P11M", "P1Y"},
	} {
		a, b := domain.MustPeriod(c.short), domain.MustPeriod(c.long)
		if a.Shorter(b) != a || b.Shorter(a) != a {
			t.Errorf("%s is not shorter than %s", c.short, c.long)
		}
	}
	for _, c := range []struct {
		period string
		width  domain.Width
		want   bool
	}{
		{"P2D", domain.Day, true},
		{"PT47H", domain.Day, false},
		{"P2M", domain.Month, true},
		{"P60D", domain.Month, false},
		{"P24M", domain.Year, true},
		{"P23M", domain.Year, false},
		{"PT2M", domain.Minute, true},
		{"P400Y", domain.Year, true},
	} {
		if got := domain.MustPeriod(c.period).Covers(2, c.width); got != c.want {
			t.Errorf("%s covers two %ss: %v", c.period, c.width, got)
		}
	}
}

func TestBucketForms(t *testing.T) {
	for _, s := range []string{
		"", "202", "20261", "2026-13", "2026-00", "2026-02-29", "2026-04-31", "2026-11-23T24", "2026-11-23T10:60", "2026-11-23t10", "2026-11-23T1",
		"2026-1-023", "２０２６", "+026", "2026-11-23T10:41Z", "2100-02-29",
	} {
		if b, err := domain.ParseBucket(s); err == nil {
			t.Errorf("%q was read as %v", s, b)
		}
	}
	for _, s := range []string{"2026-11-23", "2026-11-23T10", "", "2026-02-30T10Z", "2026-11-23T24Z", "2026-11-23T10z", "2026-11-23T10:41Z"} {
		if h, err := domain.ParseHour(s); err == nil {
			t.Errorf("hour %q was read as %v", s, h)
		}
	}
}

// TestBucketsHoldTheirTimes: a bucket holds the times it is named after, the
// next one begins where it ends, and its text reads back.
func TestBucketsHoldTheirTimes(t *testing.T) {
	widths := []domain.Width{domain.Minute, domain.HourW, domain.Day, domain.Month, domain.Year}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 7_000_000_000).Draw(t, "seconds"), 0).UTC()
		w := rapid.SampledFrom(widths).Draw(t, "width")
		b := domain.BucketAt(at, w)
		parsed, err := domain.ParseBucket(string(b))
		if err != nil || parsed != b || b.Width() != w {
			t.Fatalf("%s of %v: %v, %v", w, at, parsed, err)
		}
		if at.Before(b.Start()) || !at.Before(b.End()) || domain.BucketAt(b.End(), w) != b.Next() || !b.In(domain.HourOf(at)) {
			t.Fatalf("%v is not in %s [%v, %v)", at, b, b.Start(), b.End())
		}
		h, err := domain.ParseHour(string(domain.HourOf(at)))
		if err != nil || h.Start() != at.Truncate(time.Hour) {
			t.Fatalf("hour of %v: %v, %v", at, h, err)
		}
		p := domain.MustPeriod("P2Y")
		if b.Due(domain.AtMost, p).After(p.After(at)) || b.Due(domain.AtLeast, p).Before(p.After(at)) {
			t.Fatalf("%s: due %v at most, %v at least", b, b.Due(domain.AtMost, p), b.Due(domain.AtLeast, p))
		}
	})
	if domain.Bucket("2026-11-23").In("2026-11-24T00Z") || domain.Bucket("2026-11-23T10:41").In("2026-11-23T11Z") || domain.Bucket("").In("2026-11-23T11Z") {
		t.Error("a bucket holds an hour that is not its own")
	}
}

func TestPadme(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 0, 1: 1, 2: 2, 9: 10, 100: 104, 128: 128, 129: 144, 702: 704, 1000: 1024, 65537: 67584} {
		if got := domain.Padme(n); got != want {
			t.Errorf("Padme(%d) = %d, want %d", n, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(2, 1<<40).Draw(t, "n")
		if p := domain.Padme(n); p < n || float64(p) > 1.125*float64(n)+1 || domain.Padme(p) != p {
			t.Fatalf("Padme(%d) = %d", n, p)
		}
	})
}
