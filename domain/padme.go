package domain

import "math/bits"

// Padme rounds a length up so that it tells at most about its magnitude: the
// overhead is at most 12 % and falls with the length (PURBs, Nikitin et al.
// 2019). Sealed bodies are padded to it, and byte counts in clear are rounded to
// it.
func Padme(n uint64) uint64 {
	if n < 2 {
		return n
	}
	e := bits.Len64(n) - 1
	s := bits.Len(uint(e)) //nolint:gosec // e < 64
	mask := uint64(1)<<(e-s) - 1
	return (n + mask) &^ mask
}
