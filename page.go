package lethe

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// Bounds of a page.
const (
	defaultPage = 100
	maxPage     = 10_000
)

// pageSize keeps a limit within bounds; 0 is the default.
func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

// A page keeps the lowest refs above a cursor out of a walk in any order, in
// memory for one page only.
type page struct {
	cursor string
	size   int
	heap   subjectHeap // the highest of what is kept is on top
	more   bool
}

func newPage(cursor string, limit int) *page { return &page{cursor: cursor, size: pageSize(limit)} }

func (p *page) offer(s api.Subject) {
	if s.Ref <= p.cursor {
		return
	}
	heap.Push(&p.heap, s)
	if len(p.heap) > p.size {
		heap.Pop(&p.heap)
		p.more = true
	}
}

func (p *page) list() api.SubjectList {
	subjects := []api.Subject(p.heap)
	slices.SortFunc(subjects, func(a, b api.Subject) int { return cmp.Compare(a.Ref, b.Ref) })
	list := api.SubjectList{Subjects: subjects}
	if list.Subjects == nil {
		list.Subjects = []api.Subject{}
	}
	if p.more {
		list.Next = subjects[len(subjects)-1].Ref
	}
	return list
}

// A subjectHeap is a heap with the highest ref on top.
type subjectHeap []api.Subject

func (h subjectHeap) Len() int           { return len(h) }
func (h subjectHeap) Less(i, j int) bool { return h[i].Ref > h[j].Ref }
func (h subjectHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *subjectHeap) Push(x any) { *h = append(*h, x.(api.Subject)) } //nolint:errcheck,forcetypeassert // only offer pushes

// Pop implements heap.Interface.
func (h *subjectHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
