package tlog

import (
	"crypto/sha256"

	"github.com/lethe-ledger/lethe/domain"
)

// LeafSize is the length of a leaf entry.
const LeafSize = 1 + sha256.Size

// A Leaf is one entry: 0x01 and a hash that binds the stored event. It is no
// hash over clear personal data: what it covers is sealed or not personal.
type Leaf [LeafSize]byte

// LeafOf computes the entry of an event (FORMAT §8).
func LeafOf(s domain.Sealed) Leaf {
	data, id := sha256.Sum256(s.Data()), s.ID()
	b := domain.AppendLPString(make([]byte, 0, 1024), "lethe/leaf/v1")
	b = append(domain.AppendLPString(b, string(s.Stream())), id[:]...)
	b = domain.AppendLP(domain.AppendLPString(b, string(s.Type())), s.Envelope())
	sum := sha256.Sum256(append(b, data[:]...))
	leaf := Leaf{0: 1}
	copy(leaf[1:], sum[:])
	return leaf
}
