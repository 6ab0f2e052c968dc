package seal

// Spend counts n seals without making them, so that a test reaches the limit.
func (s *Sealing) Spend(n uint32) { s.used.Add(n) }

// AAD lets a test encrypt what Seal would not.
var AAD = aad
