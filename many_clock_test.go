package lethe

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// pastDue puts a key of 40 days ago into the custodian, which is past due.
func pastDue(t *testing.T, l *Lethe) domain.RetentionKey {
	t.Helper()
	k := domain.RetentionKey{Class: "messages", Tier: domain.OwnTier, Bucket: domain.BucketAt(time.Now().AddDate(0, 0, -40), domain.Day)}
	if _, _, err := l.custodian.IssueRetention(t.Context(), k, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	return k
}

func destroyed(t *testing.T, l *Lethe, k domain.RetentionKey) bool {
	t.Helper()
	rec, key, err := l.custodian.Retention(t.Context(), k)
	key.Zero()
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		t.Fatal(err)
	}
	return rec.Destroyed
}

// counted counts the events of a type in the log.
func counted(t *testing.T, l *Lethe, typ domain.EventType) (n int) {
	t.Helper()
	for r, err := range l.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type() == typ {
			n++
		}
	}
	return n
}

// gauges reads the metrics of a serving process that have no labels.
func gauges(t *testing.T, l *Lethe) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{l.edge.Load()})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if m := f.GetMetric()[0]; len(f.GetMetric()) == 1 && m.GetGauge() != nil {
			values[f.GetName()] = m.GetGauge().GetValue()
		}
	}
	return values
}

// TestNothingIsDestroyedByAClockThatIsOffTheLogs: a log whose clock is 61 s off
// means that one of the two is wrong. Nothing dies, no key is made, the time is not
// noted, and everything says so; 59 s off is as ever.
//
// Proves: INV-8
func TestNothingIsDestroyedByAClockThatIsOffTheLogs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		off     time.Duration
		trusted bool
	}{
		"61 s ahead": {61 * time.Second, false}, "61 s behind": {-61 * time.Second, false},
		"59 s ahead": {59 * time.Second, true}, "59 s behind": {-59 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := esdbtest.Start(t, esdbtest.Options{Clock: func() time.Time { return time.Now().Add(c.off) }})
			r := serve(t, remoteConfig(t, t.TempDir(), upstream(t), log))
			k := pastDue(t, r.Lethe)
			run, err := r.RetentionRun(t.Context(), legal, false)
			if c.trusted != (err == nil) || c.trusted != destroyed(t, r.Lethe, k) {
				t.Errorf("the retention run destroyed %v, %v", run.Destroyed, err)
			}
			if !c.trusted && (!errors.Is(err, domain.ErrClock) || !errors.Is(err, ledger.ErrClocksApart)) {
				t.Errorf("the retention run says %v", err)
			}
			if n := counted(t, r.Lethe, domain.TimeNoted); (n > 0) != c.trusted {
				t.Errorf("%d times are noted", n)
			}
			if err := r.ring.IssueAhead(t.Context()); c.trusted != (err == nil) {
				t.Errorf("issuing keys ahead: %v", err)
			}
			saysWhatTheClockIs(t, r.Lethe, c.off, c.trusted)
		})
	}
}

func saysWhatTheClockIs(t *testing.T, l *Lethe, off time.Duration, trusted bool) {
	t.Helper()
	status, err := l.KeysStatus(t.Context(), legal)
	if err != nil || (status.State == "ready") != trusted {
		t.Errorf("keys status says %+v, %v", status, err)
	}
	said := strings.Contains(status.Reason, "NTP")
	doctor, err := l.Doctor(t.Context(), legal)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range doctor.Findings {
		if f.Subject == "clock" && ((f.Level == "ok") != trusted || strings.Contains(f.Message, "NTP") == trusted) {
			t.Errorf("doctor says %+v", f)
		}
	}
	if said == trusted {
		t.Errorf("keys status gives the reason %q", status.Reason)
	}
	m := gauges(t, l)
	if (m["lethe_clock_trusted"] == 1) != trusted {
		t.Errorf("lethe_clock_trusted is %v", m["lethe_clock_trusted"])
	}
	if apart := m["lethe_clock_apart_seconds"]; apart+off.Seconds() > 1 || apart+off.Seconds() < -1 {
		t.Errorf("lethe_clock_apart_seconds is %v with the log %v off", apart, off)
	}
}

// A dialled is how far a clock is ahead, which a test turns.
type dialled struct{ ahead atomic.Int64 }

func (d *dialled) now() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }

func (d *dialled) set(ahead time.Duration) { d.ahead.Store(int64(ahead)) }

// TestWhatIsPastDueReadsDeniedUntilTheClocksAgree: a machine that jumps a month
// ahead destroys nothing of that month; once the log's clock says the same, it
// does.
//
// Proves: INV-8, INV-9
func TestWhatIsPastDueReadsDeniedUntilTheClocksAgree(t *testing.T) {
	t.Parallel()
	var here, there dialled
	log := esdbtest.Start(t, esdbtest.Options{Clock: there.now})
	r := serveWith(t, remoteConfig(t, t.TempDir(), upstream(t), log), Options{
		Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel), Version: "test", Clock: here.now,
	})
	ada := dial(t, r.Gateway, "ada")
	ada.talk(t, 10)
	await(t, "20 records", func() bool { return records(r.show(t, "ada"), "messages", "present") == 20 })
	e := oneOf(t, r.Lethe, "messages")
	if _, err := r.ledger.Open(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	const month = 31 * 24 * time.Hour
	here.set(month)
	for name, ahead := range map[string]time.Duration{"the log's clock stays": 0, "the log's clock is 61 s less ahead": month - 61*time.Second} {
		there.set(ahead)
		if run, err := r.RetentionRun(t.Context(), legal, false); !errors.Is(err, domain.ErrClock) || len(run.Destroyed) != 0 {
			t.Errorf("%s: the retention run destroyed %v, %v", name, run.Destroyed, err)
		}
		if _, err := r.ledger.Open(t.Context(), e); !errors.Is(err, domain.ErrDenied) {
			t.Errorf("%s: what is past due reads %v", name, err)
		}
	}
	there.set(month)
	await(t, "what is past due expires", func() bool {
		if _, err := r.RetentionRun(t.Context(), legal, false); err != nil {
			t.Logf("the retention run: %v", err)
		}
		_, err := r.ledger.Open(t.Context(), e)
		return errors.Is(err, domain.ErrExpired)
	})
}

// oneOf is an event about a person in a class.
func oneOf(t *testing.T, l *Lethe, class domain.Class) domain.Recorded {
	t.Helper()
	streams := domain.StreamsOf(l.cfg.Ledger)
	for r, err := range l.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if name, err := streams.Parse(r.Stream()); err == nil && name.Kind == domain.StreamSubject && name.Class == class {
			return r
		}
	}
	t.Fatal("the log has no such event")
	return domain.Recorded{}
}
