package recorder

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// A fakeLedger keeps drafts by id. While blocked is set it refuses; fail answers
// for a draft before it is kept.
type fakeLedger struct {
	mu      sync.Mutex
	drafts  []domain.Draft
	seen    map[domain.EventID]bool
	blocked bool
	fail    func(domain.Draft) error
}

func (l *fakeLedger) Record(_ context.Context, drafts []domain.Draft) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := make([]error, len(drafts))
	for i, d := range drafts {
		switch {
		case l.blocked:
			errs[i] = domain.ErrUnavailable
		case l.fail != nil && l.fail(d) != nil:
			errs[i] = l.fail(d)
		case !l.seen[d.ID]:
			l.seen[d.ID] = true
			l.drafts = append(l.drafts, d)
		}
	}
	return errs
}

func (l *fakeLedger) set(blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = blocked
}

func (l *fakeLedger) of(typ domain.EventType, class domain.Class) (found []domain.Draft) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.drafts {
		if d.Type == typ && d.Class == class {
			found = append(found, d)
		}
	}
	return found
}

func (l *fakeLedger) messages(t *testing.T, class domain.Class) (n int) {
	t.Helper()
	for _, d := range l.of(domain.TrafficRecorded, class) {
		block, err := domain.DecodeTraffic(d.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if int(d.N) != block.N {
			t.Fatalf("the draft says %d records, its block holds %d", d.N, block.N)
		}
		n += block.N
	}
	return n
}

type fakeSubjects struct{ refs sync.Map }

func (s *fakeSubjects) Subject(_ context.Context, id string) (domain.SubjectRef, error) {
	if id == "nobody" {
		return domain.SubjectRef{}, domain.ErrUnavailable
	}
	ref, _ := s.refs.LoadOrStore(id, domain.New[domain.SubjectRef]())
	return ref.(domain.SubjectRef), nil //nolint:forcetypeassert // only refs are stored
}

func (*fakeSubjects) Anonymous(context.Context) (domain.BlockID, domain.SubjectRef, error) {
	return domain.New[domain.BlockID](), domain.New[domain.SubjectRef](), nil
}

func testPolicy() *domain.Policy {
	fields := func(names ...string) (f []domain.Field) {
		for _, n := range names {
			f = append(f, domain.Field{Name: n})
		}
		return f
	}
	network := domain.ClassRule{ID: "network", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day, Fields: fields("user_agent", "origin")}
	network.Fields = append(network.Fields, domain.Field{Name: "ip", Transform: "truncate"})
	return &domain.Policy{
		Disposal: domain.DisposalRule{Within: domain.MustPeriod("P30D")},
		Classes: []domain.ClassRule{
			network,
			{ID: "lifecycle", Retention: domain.MustPeriod("P6M"), Bucket: domain.Day, Fields: fields("opened_at", "closed_at", "bytes", "close_reason")},
			{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day, Fields: fields("at", "direction", "opcode", "size")},
			{ID: "live", Retention: domain.MustPeriod("PT2M"), Bucket: domain.Minute, Fields: fields("at")},
			{ID: "yearly", Retention: domain.MustPeriod("P3Y"), Bucket: domain.Year, Fields: fields("size")},
		},
		Pools: []domain.PoolRule{
			{ID: "chat", Path: "/", Capture: []domain.Class{"network", "lifecycle", "messages"}, Flush: domain.FlushRule{Records: 4, Interval: time.Second}},
			{ID: "live", Path: "/live", Capture: []domain.Class{"messages", "live"}},
			{ID: "slow", Path: "/slow", Capture: []domain.Class{"lifecycle", "yearly"}},
		},
	}
}

func open(t *testing.T, l *fakeLedger, queue int) *Recorder {
	t.Helper()
	l.seen = map[domain.EventID]bool{}
	r, err := New(Options{
		Ledger: l, Subjects: &fakeSubjects{}, Policy: testPolicy(), Clock: time.Now, Queue: queue,
		MAC: func(s string) []byte { return []byte(s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func admit(t *testing.T, r *Recorder, pool, id string, sever func()) *recording {
	t.Helper()
	if sever == nil {
		sever = func() {}
	}
	rec, err := r.Admit(t.Context(), gateway.Identity{ExternalID: id}, gateway.Connection{Pool: pool, Sever: sever})
	if err != nil {
		t.Fatal(err)
	}
	return rec.(*recording) //nolint:forcetypeassert // Admit makes no other
}

// one records a single message.
func one(r gateway.Recording, dir gateway.Direction, op gateway.Opcode, at time.Time, size int64) error {
	_, err := r.Messages(dir, []gateway.Message{{At: at.UnixMicro(), Size: size, Opcode: op}})
	return err
}

func shut(t *testing.T, r *Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEveryMessageIsRecordedOnceInEachClass(t *testing.T) {
	l := &fakeLedger{}
	r := open(t, l, 16)
	const connections, each = 20, 257
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			rec := admit(t, r, "live", "someone", nil)
			if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
				t.Error(err)
			}
			for i := range each {
				if err := one(rec, gateway.Direction(i%2), gateway.Text, time.Now(), int64(i)); err != nil {
					t.Error(err)
				}
			}
			rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{1, 2})
		})
	}
	wg.Wait()
	shut(t, r)
	for _, class := range []domain.Class{"messages", "live"} {
		if got := l.messages(t, class); got != connections*each {
			t.Errorf("class %s holds %d messages, %d crossed", class, got, connections*each)
		}
	}
	if got := r.Counts().Recorded.Load(); got != 2*connections*each {
		t.Errorf("counted %d", got)
	}
}

func TestAConnectionIsToldInOrder(t *testing.T) {
	l := &fakeLedger{}
	r := open(t, l, 16)
	rec := admit(t, r, "chat", "someone", nil)
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	if err := rec.Opened(at, gateway.Origin{IP: netip.MustParseAddr("203.0.113.77"), UserAgent: "agent", TLS: 0x0304}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := one(rec, gateway.In, gateway.Binary, at, 9); err != nil {
			t.Fatal(err)
		}
	}
	rec.Idled(at)
	rec.Resumed(at)
	rec.Closed(at, 1001, gateway.ClosedByUpstream, [2]int64{})
	shut(t, r)
	var types []domain.EventType
	for _, d := range l.drafts {
		types = append(types, d.Type)
	}
	want := []domain.EventType{
		domain.ConnectionOpened, domain.ConnectionOrigin, domain.TrafficRecorded,
		domain.ConnectionIdled, domain.ConnectionResumed, domain.TrafficRecorded, domain.ConnectionClosed,
	}
	if !slices.Equal(types, want) {
		t.Errorf("got %v", types)
	}
	if got := string(l.of(domain.ConnectionOrigin, "network")[0].Payload); got != `{"ip":"203.0.113.0/24","user_agent":"agent"}` {
		t.Errorf("origin is %s", got)
	}
	if tls := l.of(domain.ConnectionOpened, "lifecycle")[0].Facts.Int("tls"); tls != 13 {
		t.Errorf("tls is %d", tls)
	}
}

func TestAChunkNeverCrossesABucket(t *testing.T) {
	l := &fakeLedger{}
	r := open(t, l, 16)
	rec := admit(t, r, "live", "someone", nil)
	end := time.Date(2026, 3, 1, 10, 0, 59, 999_999_000, time.UTC)
	for _, at := range []time.Time{end, end.Add(time.Microsecond), end} {
		if err := one(rec, gateway.In, gateway.Text, at, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Opened(end, gateway.Origin{}); err != nil {
		t.Fatal(err)
	}
	rec.Closed(end, 1000, gateway.ClosedByClient, [2]int64{})
	shut(t, r)
	for _, d := range l.of(domain.TrafficRecorded, "live") {
		if d.N != 1 {
			t.Errorf("a chunk of %d messages crosses a minute", d.N)
		}
	}
	if got := l.messages(t, "live"); got != 3 {
		t.Errorf("%d of 3 messages", got)
	}
}

func TestAChunkIsHandedOverAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLedger{}
		r := open(t, l, 16)
		rec := admit(t, r, "chat", "someone", nil)
		if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(900 * time.Millisecond)
		if got := l.messages(t, "messages"); got != 0 {
			t.Errorf("%d recorded before the interval", got)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if got := l.messages(t, "messages"); got != 1 {
			t.Errorf("%d recorded behind the interval", got)
		}
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
	})
}

// A clock that was set back holds nothing up.
func TestAChunkIsHandedOverWhenTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLedger{}
		r := open(t, l, 16)
		before, after := admit(t, r, "chat", "someone", nil), admit(t, r, "chat", "somebody", nil)
		for rec, at := range map[*recording]time.Time{before: time.Now().Add(20 * time.Minute), after: time.Now()} {
			if err := one(rec, gateway.In, gateway.Text, at, 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := l.messages(t, "messages"); got != 2 {
			t.Errorf("%d recorded behind the interval", got)
		}
		for _, rec := range []*recording{before, after} {
			rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		}
		shut(t, r)
	})
}

func TestALedgerThatFallsBehindStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLedger{blocked: true}
		r := open(t, l, 1)
		rec := admit(t, r, "chat", "someone", nil)
		sent := make(chan int)
		go func() {
			n := 0
			for range 10_000 {
				if one(rec, gateway.In, gateway.Text, time.Now(), 1) != nil {
					break
				}
				n++
			}
			sent <- n
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case n := <-sent:
			t.Fatalf("%d messages passed a ledger that takes none", n)
		default:
		}
		l.set(false)
		if n := <-sent; n != 10_000 {
			t.Fatalf("%d messages went on", n)
		}
		if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
			t.Fatal(err)
		}
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
		if got := l.messages(t, "messages"); got != 10_000 {
			t.Errorf("%d of 10000 recorded", got)
		}
		if r.Counts().Retries.Load() == 0 || r.Counts().Waits.Load() == 0 {
			t.Error("nothing waited: the test exercised nothing")
		}
	})
}

func TestInterruptFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLedger{blocked: true}
		r := open(t, l, 1)
		rec := admit(t, r, "chat", "someone", nil)
		freed := make(chan error)
		go func() {
			for {
				if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
					freed <- err
					return
				}
			}
		}()
		synctest.Wait()
		rec.Interrupt()
		if err := <-freed; !errors.Is(err, errInterrupted) {
			t.Errorf("freed with %v", err)
		}
		l.set(false)
		shut(t, r)
	})
}

func TestAnErasedPersonsBuffersAreDiscardedAndTheSocketSevered(t *testing.T) {
	l := &fakeLedger{fail: func(domain.Draft) error { return domain.ErrErased }}
	r := open(t, l, 16)
	severed := make(chan struct{})
	var once sync.Once
	rec := admit(t, r, "chat", "someone", func() { once.Do(func() { close(severed) }) })
	if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
			t.Fatal(err)
		}
	}
	<-severed
	rec.Closed(time.Now(), 4410, gateway.Severed, [2]int64{})
	shut(t, r)
	if got := r.Counts().Discarded.Load(); got != 4 {
		t.Errorf("%d discarded, want 4", got)
	}
	if r.Open(rec.ref) != 0 {
		t.Error("a closed connection is still listed")
	}
}

func TestSeverReachesEveryConnectionOfThePersonOnly(t *testing.T) {
	r := open(t, &fakeLedger{}, 16)
	var mu sync.Mutex
	severed := map[string]int{}
	note := func(id string) func() {
		return func() { mu.Lock(); severed[id]++; mu.Unlock() }
	}
	a := admit(t, r, "chat", "a", note("a"))
	admit(t, r, "chat", "a", note("a"))
	admit(t, r, "chat", "b", note("b"))
	r.Sever(a.ref)
	if severed["a"] != 2 || severed["b"] != 0 {
		t.Errorf("severed %v", severed)
	}
	shut(t, r)
}

func TestAnonymousConnectionsAreRecordedOnlyWhereTheirPeriodAllows(t *testing.T) {
	l := &fakeLedger{}
	r := open(t, l, 16)
	rec := admit(t, r, "slow", "", nil)
	if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
		t.Fatal(err)
	}
	if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
		t.Fatal(err)
	}
	rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
	shut(t, r)
	if n := len(l.of(domain.ConnectionOpened, "lifecycle")); n != 1 {
		t.Errorf("%d life-cycle events", n)
	}
	if n := len(l.of(domain.TrafficRecorded, "yearly")); n != 0 {
		t.Error("an anonymous connection was recorded in a class whose buckets are longer than its period")
	}
	for _, d := range l.drafts {
		if d.Tier != domain.AnonTier || d.Block.IsZero() {
			t.Errorf("%s stands in tier %s", d.Type, d.Tier)
		}
	}
}

func TestAPersonWhoseKeysAreUnavailableIsNotAdmitted(t *testing.T) {
	r := open(t, &fakeLedger{}, 16)
	defer shut(t, r)
	_, err := r.Admit(t.Context(), gateway.Identity{ExternalID: "nobody"}, gateway.Connection{Pool: "chat", Sever: func() {}})
	if !errors.Is(err, gateway.ErrKeysUnavailable) || !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("admitted with %v", err)
	}
}

func TestMessageDoesNotAllocate(t *testing.T) {
	r := open(t, &fakeLedger{}, 16)
	rec := admit(t, r, "live", "someone", nil)
	at := time.Now()
	if err := one(rec, gateway.In, gateway.Text, at, 128); err != nil {
		t.Fatal(err)
	}
	rec.chunk.columns = domain.TrafficBuilder{}
	for range 256 {
		rec.chunk.columns.Add(at.UnixMicro(), 0, 0, 128)
	}
	rec.chunk.columns.Reset()
	list := []gateway.Message{{At: at.UnixMicro(), Size: 128, Opcode: gateway.Text}, {At: at.UnixMicro(), Size: 128, Opcode: gateway.Binary}}
	if n := testing.AllocsPerRun(100, func() { _, _ = rec.Messages(gateway.In, list) }); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	shut(t, r)
}

func BenchmarkMessage(b *testing.B) {
	r, err := New(Options{Ledger: discard{}, Subjects: &fakeSubjects{}, Policy: testPolicy(), Clock: time.Now, MAC: func(string) []byte { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	rec, err := r.Admit(b.Context(), gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "live", Sever: func() {}})
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	b.ReportAllocs()
	list := make([]gateway.Message, 16)
	for i := range list {
		list[i] = gateway.Message{At: at.UnixMicro(), Size: 128, Opcode: gateway.Text}
	}
	for b.Loop() {
		_, _ = rec.Messages(gateway.In, list)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(list)), "ns/message")
}

type discard struct{}

func (discard) Record(_ context.Context, d []domain.Draft) []error { return make([]error, len(d)) }

func TestAPoolThatRefusesTakesNobodyWhileTheLedgerIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLedger{blocked: true}
		r := open(t, l, 1)
		r.pools()["chat"].refuse = true
		var recs []*recording
		for range 20 { // whoever comes fills a queue, until both are full
			got, err := r.Admit(t.Context(), gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "chat", Sever: func() {}})
			if err != nil {
				break
			}
			rec := got.(*recording) //nolint:forcetypeassert // Admit makes no other
			recs = append(recs, rec)
			go func() { _ = rec.Opened(time.Now(), gateway.Origin{}) }()
			time.Sleep(time.Second)
		}
		_, err := r.Admit(t.Context(), gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "chat", Sever: func() {}})
		if !errors.Is(err, gateway.ErrLedgerFull) {
			t.Errorf("admitted with %v", err)
		}
		l.set(false)
		synctest.Wait()
		time.Sleep(5 * time.Second)
		if _, err := r.Admit(t.Context(), gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "chat", Sever: func() {}}); err != nil {
			t.Errorf("refused with a ledger that takes: %v", err)
		}
		for _, rec := range recs {
			rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		}
		shut(t, r)
	})
}

// stalled answers nobody until it is freed, and counts who asks at once.
type stalled struct {
	fakeSubjects
	mu      sync.Mutex
	asking  int
	most    int
	release chan struct{}
}

func (s *stalled) Subject(ctx context.Context, id string) (domain.SubjectRef, error) {
	s.mu.Lock()
	s.asking++
	s.most = max(s.most, s.asking)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.asking--; s.mu.Unlock() }()
	select {
	case <-s.release:
		return s.fakeSubjects.Subject(ctx, id)
	case <-ctx.Done():
		return domain.SubjectRef{}, errors.Join(domain.ErrUnavailable, ctx.Err())
	}
}

func TestACustodianThatDoesNotAnswerHoldsFewHandshakesAndNotForLong(t *testing.T) {
	for _, wait := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &stalled{release: make(chan struct{})}
			r := open(t, &fakeLedger{}, 16)
			r.opt.Subjects = s
			r.pools()["chat"].wait = wait
			began := time.Now()
			answers := make(chan error, 40)
			for range 40 {
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
					defer cancel()
					_, err := r.Admit(ctx, gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "chat", Sever: func() {}})
					answers <- err
				}()
			}
			for range 40 {
				if err := <-answers; !errors.Is(err, gateway.ErrKeysUnavailable) {
					t.Errorf("admitted with %v", err)
				}
			}
			took := time.Since(began)
			if s.most != askingAtOnce {
				t.Errorf("%d asked at once", s.most)
			}
			if want := map[bool]time.Duration{false: 2 * askingTime, true: 9 * time.Second}[wait]; took != want {
				t.Errorf("wait %v: answered after %v, want %v", wait, took, want)
			}
			close(s.release)
			shut(t, r)
		})
	}
}
