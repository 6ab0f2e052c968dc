package keys

import (
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// Heard applies what another process noted about a destruction: whatever was
// derived here for what it takes is dropped, and the custodian is asked again,
// which knows the fence. It does not wait and cannot fail. A destruction that is
// done needs no stop any more, because the journal names it.
func (r *Ring) Heard(n domain.DestructionNote) {
	switch n.Kind {
	case domain.DestroySubject, domain.DestroyClass, domain.DestroyRange:
		r.heardPerson(n)
	case domain.DestroyBlock:
		if !n.Done {
			r.stopped.addBlock(n.Command, n.Block)
		}
		r.purgeBlock(n.Block)
	case domain.DestroyRetention:
		r.purgeRetention(n.Buckets)
	}
	if n.Done {
		r.stopped.release(n.Command)
	}
}

func (r *Ring) heardPerson(n domain.DestructionNote) {
	if n.Kind == domain.DestroySubject && !n.Done {
		r.stopped.addRef(n.Command, n.Ref) // an anonymous ref has no entry that could be fenced
	}
	r.purgeRef(n.Ref, func(c domain.Class) bool {
		return n.Kind == domain.DestroySubject || slices.ContainsFunc(n.Classes, func(g ClassGen) bool { return g.Class == c })
	})
	r.entries.purge(func(_ DirectoryKey, s Subject) bool { return s.Ref == n.Ref })
}

// Forget drops whatever was derived or looked up: what a node does once the custodian
// went back, which may not know any more what it issued since.
func (r *Ring) Forget() { r.purgeAll() }

// DropOpenings drops every handle that opens, so that each key is asked for again:
// what a node does that may have missed a fence.
func (r *Ring) DropOpenings() {
	r.openings.purge(func(_ domain.Where, o *opening) bool { return o.zero() })
}
