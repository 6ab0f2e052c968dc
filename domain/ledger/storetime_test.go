package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
)

// A pair is a wall clock and a boot clock that a test moves, and the log's beside
// them.
type pair struct {
	boot time.Duration
	wall time.Time
	// ahead is how far the wall clock is before the log's.
	ahead time.Duration
	// slow is how long the log takes, before and after it gave its time.
	slow [2]time.Duration
	away error
}

func (p *pair) now() ledger.Instant { return ledger.Instant{Boot: p.boot, Wall: p.wall.Add(p.ahead)} }

func (p *pair) pass(d time.Duration) { p.boot, p.wall = p.boot+d, p.wall.Add(d) }

func (p *pair) echo(_ context.Context, begun func()) (domain.Recorded, error) {
	begun()
	p.pass(p.slow[0])
	r := domain.Recorded{StoreTime: p.wall}
	p.pass(p.slow[1])
	return r, p.away
}

func newPair() (*pair, *ledger.StoreTime) {
	p := &pair{wall: time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC)}
	return p, ledger.NewStoreTime(ledger.StoreTimeConfig{Now: p.now, Echo: p.echo})
}

// Proves: INV-8
func TestTheClockAndTheLogsAreLessThanAMinuteApart(t *testing.T) {
	for name, c := range map[string]struct {
		ahead time.Duration
		slow  [2]time.Duration
		agree bool
	}{
		"equal":                         {0, [2]time.Duration{}, true},
		"59 s ahead":                    {59 * time.Second, [2]time.Duration{}, true},
		"59 s behind":                   {-59 * time.Second, [2]time.Duration{}, true},
		"60 s ahead":                    {60 * time.Second, [2]time.Duration{}, false},
		"60 s behind":                   {-60 * time.Second, [2]time.Duration{}, false},
		"an hour ahead":                 {time.Hour, [2]time.Duration{}, false},
		"59 s behind, sent 2 s before":  {-59 * time.Second, [2]time.Duration{2 * time.Second, 0}, false},
		"59 s ahead, back 2 s later":    {59 * time.Second, [2]time.Duration{0, 2 * time.Second}, false},
		"equal and a log of 50 s":       {0, [2]time.Duration{20 * time.Second, 30 * time.Second}, true},
		"equal and a log of 70 s":       {0, [2]time.Duration{0, 70 * time.Second}, false},
		"70 s ahead and a log of 2 min": {70 * time.Second, [2]time.Duration{2 * time.Minute, 0}, false},
	} {
		p, s := newPair()
		p.ahead, p.slow = c.ahead, c.slow
		if err := s.Agrees(); !errors.Is(err, ledger.ErrNotCompared) {
			t.Errorf("%s: before it was compared: %v", name, err)
		}
		err := s.Compare(t.Context())
		if c.agree != (err == nil) || c.agree != (s.Agrees() == nil) {
			t.Errorf("%s: %v, then %v", name, err, s.Agrees())
		}
		if !c.agree && (!errors.Is(err, domain.ErrClock) || !errors.Is(err, ledger.ErrClocksApart)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A comparison holds until the next one, unless the clock jumps; a log that is away
// changes nothing.
//
// Proves: INV-8
func TestAComparisonHoldsUntilTheClockJumps(t *testing.T) {
	p, s := newPair()
	if err := s.Compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.pass(3 * time.Hour)
	p.away = domain.ErrUnavailable
	if err := s.Compare(t.Context()); !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrClock) {
		t.Errorf("with the log away: %v", err)
	}
	if err := s.Agrees(); err != nil {
		t.Errorf("three hours later: %v", err)
	}
	p.ahead = 2 * time.Second
	if err := s.Agrees(); !errors.Is(err, ledger.ErrNotCompared) {
		t.Errorf("after a jump: %v", err)
	}
	p.ahead = 0
	if err := s.Agrees(); !errors.Is(err, ledger.ErrNotCompared) {
		t.Errorf("after a jump back: %v", err)
	}
	p.away = nil
	if err := s.Compare(t.Context()); err != nil {
		t.Errorf("compared again: %v", err)
	}
}

// Beyond one machine nothing is destroyed by a clock that is a minute off the
// log's, and the time is noted only while they agree.
//
// Proves: INV-8
func TestNothingExpiresByAClockThatIsOffTheLogs(t *testing.T) {
	c := newCluster(t, 1)
	n := c.nodes[0]
	var ahead time.Duration
	now := func() ledger.Instant {
		i := n.now()
		return ledger.Instant{Boot: i.Boot, Wall: i.Wall.Add(ahead)}
	}
	n.Many.StoreTime = ledger.NewStoreTime(ledger.StoreTimeConfig{Now: now, Echo: n.node.Echo})
	k := domain.RetentionKey{Class: "messages", Tier: domain.OwnTier, Bucket: domain.BucketAt(time.Now().AddDate(0, 0, -40), domain.Day)}
	if _, _, err := c.custodian.IssueRetention(t.Context(), k, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: c.store}
	for name, step := range map[string]struct {
		ahead time.Duration
		stale bool
		want  error
	}{
		"61 s ahead":              {61 * time.Second, false, domain.ErrClock},
		"61 s behind":             {-61 * time.Second, false, domain.ErrClock},
		"not shown what it wrote": {time.Minute, true, domain.ErrUnavailable},
	} {
		ahead = step.ahead
		n.link.stale.Store(step.stale)
		if done, err := n.Expire(t.Context()); !errors.Is(err, step.want) || len(done.Keys) != 0 {
			t.Errorf("%s: destroyed %v, %v", name, done.Keys, err)
		}
		if err := n.node.Time(t.Context()); !errors.Is(err, domain.ErrClock) {
			t.Errorf("%s: noting the time: %v", name, err)
		}
	}
	if begun, noted := w.count(domain.DestructionBegun), w.count(domain.TimeNoted); begun != 0 || noted != 0 {
		t.Errorf("%d destructions and %d times are noted by a clock that is off", begun, noted)
	}
	ahead = 59 * time.Second
	n.link.stale.Store(false)
	if err := n.Many.StoreTime.Compare(t.Context()); err != nil {
		t.Error(err)
	}
	if err := n.node.Time(t.Context()); err != nil || w.count(domain.TimeNoted) != 1 {
		t.Errorf("59 s ahead the time is not noted: %v", err)
	}
	if done, err := n.Expire(t.Context()); err != nil || len(done.Keys) != 1 {
		t.Errorf("59 s ahead: destroyed %v, %v", done.Keys, err)
	}
}
