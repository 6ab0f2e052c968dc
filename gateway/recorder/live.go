package recorder

import (
	"cmp"
	"slices"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
)

// A liveSet finds the live connections of a person, so that an erasure can end
// them. The mutex protects the map; sever functions are called outside it.
type liveSet struct {
	mu   sync.Mutex
	refs map[domain.SubjectRef][]*recording
}

func (s *liveSet) add(r *recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == nil {
		s.refs = map[domain.SubjectRef][]*recording{}
	}
	s.refs[r.ref] = append(s.refs[r.ref], r)
}

func (s *liveSet) remove(r *recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.refs[r.ref], func(o *recording) bool { return o == r })
	if len(rest) == 0 {
		delete(s.refs, r.ref)
		return
	}
	s.refs[r.ref] = rest
}

func (s *liveSet) count(ref domain.SubjectRef) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.refs[ref])
}

// Live returns how many connections of a ref are open or not yet recorded to
// their end.
func (r *Recorder) Live(ref domain.SubjectRef) int { return r.live.count(ref) }

func (s *liveSet) sever(ref domain.SubjectRef) {
	s.mu.Lock()
	recordings := slices.Clone(s.refs[ref])
	s.mu.Unlock()
	for _, r := range recordings {
		r.sever()
	}
}

// Refusals counts the refusals of one pool for one reason. Nothing in it is
// about a person.
type Refusals struct {
	Pool, Reason string
	Count        int64
}

type refusals struct {
	mu     sync.Mutex
	counts map[[2]string]int64
}

func (r *refusals) add(pool, reason string) { r.addN(pool, reason, 1) }

func (r *refusals) addN(pool, reason string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[[2]string]int64{}
	}
	r.counts[[2]string{pool, reason}] += n
}

func (r *refusals) take() []Refusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := make([]Refusals, 0, len(r.counts))
	for k, n := range r.counts {
		taken = append(taken, Refusals{Pool: k[0], Reason: k[1], Count: n})
	}
	clear(r.counts)
	slices.SortFunc(taken, func(a, b Refusals) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Reason, b.Reason))
	})
	return taken
}
