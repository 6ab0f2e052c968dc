package erasable

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A slot of keys.root, 4096 bytes, so that no two share a sector:
//
//	0   magic[8]
//	8   format: 1 root bare, 2 root wrapped; 7 zero bytes
//	16  seq u64
//	24  page of the topmost node u64
//	32  kind of the topmost node, 0 where the tree is empty; 7 zero bytes
//	40  tree id[16]
//	56  root: key[32] | salt[32] ‖ AES-256-GCM(key)[48], filled up with zeros
//	4064 SHA-256 of all before
const (
	slotSize   = 4096
	slotSealed = 56
	slotSum    = slotSize - sha256.Size
	bareRoot   = 1
	wrapRoot   = 2
	saltSize   = 32
	wrapInfo   = "lethe/keys.root/v1"
)

const slotMagic = "LTHROOT1"

// errNoSlot: the bytes are no slot: never written, wiped, torn or damaged.
// They cannot be told apart.
var errNoSlot = errors.New("no valid slot")

type treeID [16]byte

// A slot is what keys.root says of one state of the tree.
type slot struct {
	seq     uint64
	id      treeID
	root    ref
	wrapped bool
}

// encode writes the slot, its root wrapped under wrap unless that is nil.
func (s slot) encode(wrap []byte) ([]byte, error) {
	b := make([]byte, slotSize)
	copy(b, slotMagic)
	b[8] = bareRoot
	if wrap != nil {
		b[8] = wrapRoot
	}
	binary.BigEndian.PutUint64(b[16:], s.seq)
	binary.BigEndian.PutUint64(b[24:], s.root.page)
	b[32] = byte(s.root.kind)
	copy(b[40:], s.id[:])
	if err := sealRoot(b, s.root.key, wrap); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b[:slotSum])
	copy(b[slotSum:], sum[:])
	return b, nil
}

func sealRoot(b []byte, root nodeKey, wrap []byte) error {
	if wrap == nil {
		copy(b[slotSealed:], root[:])
		return nil
	}
	salt := b[slotSealed : slotSealed+saltSize]
	random(salt)
	kek, err := rootKEK(wrap, salt)
	if err != nil {
		return err
	}
	defer clear(kek[:])
	newAEAD(kek).Seal(b[slotSealed+saltSize:slotSealed+saltSize], zeroNonce[:], root[:], b[:slotSealed])
	return nil
}

// rootKEK derives a key for one slot, so that no count of commits wears out the
// nonces of the wrapping key. The root itself is never derived.
func rootKEK(wrap, salt []byte) (nodeKey, error) {
	k, err := hkdf.Key(sha256.New, wrap, salt, wrapInfo, len(nodeKey{}))
	if err != nil {
		return nodeKey{}, fmt.Errorf("derive the slot's wrapping key: %w", err)
	}
	return nodeKey(k), nil
}

// decodeSlot reads a slot. Bytes that are none fail with errNoSlot, a valid one
// that wrap does not open with ErrWrapped. A bare root opens whatever wrap is.
func decodeSlot(b, wrap []byte) (slot, error) {
	if len(b) != slotSize || !bytes.Equal(b[:8], []byte(slotMagic)) {
		return slot{}, errNoSlot
	}
	if sha256.Sum256(b[:slotSum]) != [sha256.Size]byte(b[slotSum:]) {
		return slot{}, errNoSlot
	}
	s := slot{seq: binary.BigEndian.Uint64(b[16:]), id: treeID(b[40:]), wrapped: b[8] == wrapRoot}
	s.root.page = binary.BigEndian.Uint64(b[24:])
	s.root.kind = nodeKind(b[32])
	if s.root.kind > kindLeafLarge || (b[8] != bareRoot && b[8] != wrapRoot) {
		return slot{}, errNoSlot
	}
	if !s.wrapped {
		s.root.key = nodeKey(b[slotSealed:])
		return s, nil
	}
	return s, s.unwrap(b, wrap)
}

func (s *slot) unwrap(b, wrap []byte) error {
	if wrap == nil {
		return ErrWrapped
	}
	sealed := b[slotSealed+saltSize:]
	kek, err := rootKEK(wrap, b[slotSealed:slotSealed+saltSize])
	if err != nil {
		return err
	}
	defer clear(kek[:])
	root, err := newAEAD(kek).Open(nil, zeroNonce[:], sealed[:len(nodeKey{})+tagSize], b[:slotSealed])
	if err != nil {
		return ErrWrapped
	}
	s.root.key = nodeKey(root)
	clear(root)
	return nil
}
