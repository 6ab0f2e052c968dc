package ledger

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
)

// TestMomentsNameWhatTheirTimesName: also from one hour to the next and back,
// before 1970, and in zones that are not whole hours off.
func TestMomentsNameWhatTheirTimesName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, zone := &Ledger{}, time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone"))
		first := rapid.Int64Range(-1<<35, 1<<35).Draw(t, "at")
		for _, step := range rapid.SliceOf(rapid.Int64Range(-4000, 4000)).Draw(t, "steps") {
			first += step
			at := time.Unix(first, rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(zone)
			m := l.momentOf(at)
			if m.hour != domain.HourOf(at) {
				t.Fatalf("%v is in hour %s, not %s", at, domain.HourOf(at), m.hour)
			}
			for _, w := range []domain.Width{domain.Minute, domain.HourW, domain.Day, domain.Month, domain.Year} {
				if got, want := m.bucket(at, w), domain.BucketAt(at, w); got != want {
					t.Fatalf("%v is in bucket %s, not %s", at, want, got)
				}
			}
		}
	})
}
