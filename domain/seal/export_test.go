package seal

import "github.com/lethe-ledger/lethe/domain"

// Spend counts n seals without making them, so that a test reaches the limit.
func (s *Sealing) Spend(n uint32) { s.used.Add(n) }

// AAD lets a test encrypt what Seal would not.
func AAD(id domain.EventID, stream domain.Stream, typ domain.EventType, envelope []byte, w domain.Where) []byte {
	return appendAAD(nil, id, stream, typ, envelope, w)
}
