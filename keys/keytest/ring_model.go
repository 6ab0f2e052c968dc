package keytest

import (
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// modelParts is how many tests the random lives are divided among, so that they
// can run beside each other.
const modelParts = 4

// divideLives makes rapid's number of lives that of one part, until the test ends.
func divideLives(t *testing.T) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	all := f.Value.String()
	n, err := strconv.Atoi(all)
	check(t, err)
	check(t, f.Value.Set(strconv.Itoa((n+modelParts-1)/modelParts)))
	t.Cleanup(func() { check(t, f.Value.Set(all)) })
}

// testModel plays random lives and compares how every event ever sealed reads
// with what a model says, which knows outcomes and no keys.
func testModel(t *testing.T, open Open) {
	for part := range modelParts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			playLives(t, open)
		})
	}
}

func playLives(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorldAt(rt, open, t.TempDir())
		defer w.end()
		m := &model{world: w, rt: rt, expired: map[domain.RetentionKey]bool{}}
		rt.Repeat(map[string]func(*rapid.T){
			"":       m.check,
			"seal":   m.seal,
			"tick":   m.tick,
			"expire": m.expire,
			"class":  m.class,
			"range":  m.ranged,
			"person": m.person,
			"link":   m.link,
			"reopen": func(*rapid.T) { w.restart() },
			"ahead":  func(*rapid.T) { check(rt, w.ring.IssueAhead(background())) },
			"fault":  m.fault,
		})
	})
}

// A model knows of each event whether an erasure took it.
type model struct {
	*world
	rt      *rapid.T
	events  []*modelEvent
	links   map[domain.SubjectRef]domain.SubjectRef // anonymous to person
	expired map[domain.RetentionKey]bool
}

type modelEvent struct {
	item
	erased bool
}

func (m *model) add(i item) { m.events = append(m.events, &modelEvent{item: i}) }

// outcome says how an event reads now.
func (m *model) outcome(e *modelEvent) error {
	k := e.where.RetentionKey()
	due, _ := m.policy.Due(k)
	switch {
	case e.erased:
		return domain.ErrErased
	case m.expired[k]:
		return domain.ErrExpired
	case !m.now.Before(due):
		return domain.ErrDenied
	}
	return nil
}

func (m *model) check(rt *rapid.T) {
	for _, e := range m.events {
		want := m.outcome(e)
		m.t = rt
		m.wants(want, e.item)
	}
}

func (m *model) seal(rt *rapid.T) {
	if rapid.IntRange(0, 4).Draw(rt, "anonymous") == 0 {
		m.add(m.stranger())
		return
	}
	ref := m.world.person(m.someone(rt))
	class := rapid.SampledFrom([]domain.Class{"messages", "network"}).Draw(rt, "class")
	tier := domain.OwnTier
	if class == "messages" && rapid.Bool().Draw(rt, "tiered") {
		tier = "P7D"
	}
	at := m.now.AddDate(0, 0, -rapid.IntRange(0, 4).Draw(rt, "days ago"))
	i, err := m.try(ref, class, tier, at)
	check(rt, err)
	m.add(i)
}

func (m *model) someone(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(rt, "person")
}

func (m *model) tick(rt *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(rt, "hours")) * time.Hour)
}

func (m *model) expire(*rapid.T) {
	m.world.expire()
	check(m.rt, m.EachRetention(background(), func(rec keys.RetentionRecord) bool {
		if !m.now.Before(rec.Due) {
			m.expired[rec.RetentionKey] = true
		}
		return true
	}))
}

func (m *model) class(rt *rapid.T) {
	ref := m.world.person(m.someone(rt))
	m.destroy(erasure(keys.DestroyClass, ref, "messages"))
	for _, e := range m.events {
		e.erased = e.erased || (e.where.Ref == ref && e.where.Class == "messages")
	}
}

// ranged takes some days. What had expired outside of them before has no B to
// keep, so it reads erased from then on (FORMAT §4 asks for S first).
func (m *model) ranged(rt *rapid.T) {
	ref := m.world.person(m.someone(rt))
	d := erasure(keys.DestroyRange, ref, "messages", "network")
	d.From = m.now.AddDate(0, 0, -rapid.IntRange(1, 6).Draw(rt, "from"))
	d.Before = d.From.AddDate(0, 0, rapid.IntRange(1, 6).Draw(rt, "days"))
	p := m.destroy(d)
	from, before := domain.BucketAt(d.From, domain.Day).Start(), domain.BucketAt(d.Before, domain.Day).Start()
	for _, e := range m.events {
		start := e.where.Bucket.Start()
		inside := !start.Before(from) && start.Before(before)
		lost := m.expired[e.where.RetentionKey()] && diesIn(p, e.where)
		e.erased = e.erased || (e.where.Ref == ref && (inside || lost))
	}
}

// diesIn reports whether the plan takes the S of a place.
func diesIn(p keys.Plan, w domain.Where) bool {
	for _, g := range p.Gens {
		if g.Class == w.Class && g.Gen == w.Gen {
			return true
		}
	}
	return false
}

func (m *model) person(rt *rapid.T) {
	ref := m.world.person(m.someone(rt))
	m.destroy(erasure(keys.DestroySubject, ref))
	for _, e := range m.events {
		e.erased = e.erased || e.where.Ref == ref || m.links[e.where.Ref] == ref
	}
}

func (m *model) link(rt *rapid.T) {
	if m.links == nil {
		m.links = map[domain.SubjectRef]domain.SubjectRef{}
	}
	ref, i := m.world.person(m.someone(rt)), m.stranger()
	check(rt, m.ring.LinkAnonymous(background(), ref, i.block, i.where.Ref))
	m.links[i.where.Ref] = ref
	m.add(i)
}

// fault erases a class while a call fails, and tries again.
func (m *model) fault(rt *rapid.T) {
	ref := m.world.person(m.someone(rt))
	d := erasure(keys.DestroyClass, ref, "network")
	how := rapid.SampledFrom([]Fault{Lost, Unanswered}).Draw(rt, "how")
	s := &stage{world: m.world}
	m.faulty.FailAt(rapid.IntRange(1, 5).Draw(rt, "call"), how)
	s.erase(d)
	m.faulty.FailAt(0, Lost)
	for _, e := range m.events {
		e.erased = e.erased || (e.where.Ref == ref && e.where.Class == "network")
	}
}
