package erasable

import (
	"math/bits"
	"slices"
)

// maxPage keeps every offset within int64.
const maxPage = 1<<50 - 1

// A space says which pages of keys.tree are taken. The writer owns it.
//
// It is not stored: Open finds the used pages by walking the tree, so that it
// cannot disagree with the tree.
type space struct {
	taken []uint64 // a bit a page
	pages uint64   // length of the file in pages, with what is taken beyond
	hint  uint64   // no free page below
	free  uint64   // free pages below pages
	// frozen: the walk met damage, so pages that look free may belong to nodes
	// that a restored page would reach again. Only new pages are taken.
	frozen bool
}

// take returns a page that nothing refers to, the lowest there is: the file
// stays short and neighbours are written at once.
func (s *space) take() uint64 {
	if s.free > 0 && !s.frozen {
		for w := s.hint / 64; w < uint64(len(s.taken)); w++ {
			if n := bits.TrailingZeros64(^s.taken[w]); n < 64 && w*64+uint64(n) < s.pages {
				p := w*64 + uint64(n)
				s.mark(p)
				s.free--
				s.hint = p + 1
				return p
			}
		}
	}
	p := s.pages
	s.grow(p + 1)
	s.free--
	s.mark(p)
	return p
}

// grow lengthens the map by free pages.
func (s *space) grow(pages uint64) {
	for uint64(len(s.taken))*64 < pages {
		s.taken = append(s.taken, 0)
	}
	s.free += pages - s.pages
	s.pages = pages
}

// mark takes page and reports whether it was free.
func (s *space) mark(page uint64) bool {
	bit := uint64(1) << (page % 64)
	was := s.taken[page/64] & bit
	s.taken[page/64] |= bit
	return was == 0
}

// claim marks a page of the walk; false if it is outside or taken already.
func (s *space) claim(page uint64) bool {
	if page >= s.pages || !s.mark(page) {
		return false
	}
	s.free--
	return true
}

// release gives pages back.
func (s *space) release(pages []uint64) {
	for _, p := range pages {
		s.taken[p/64] &^= 1 << (p % 64)
		s.hint = min(s.hint, p)
	}
	s.free += uint64(len(pages))
}

// A version is one committed state. Tree.mu guards readers.
type version struct {
	seq     uint64
	root    ref
	readers int
}

// A grave lists the pages that the version seq no longer has.
type grave struct {
	seq   uint64
	pages []uint64
}

// exhume removes from graves, and returns, the pages that no version from
// oldest on can reach.
func exhume(graves []grave, oldest uint64) (left []grave, pages []uint64) {
	for i, g := range graves {
		if g.seq > oldest {
			return slices.Clone(graves[i:]), pages
		}
		pages = append(pages, g.pages...)
	}
	return nil, pages
}
