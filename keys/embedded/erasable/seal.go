package erasable

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
)

const (
	pageSize  = 4096
	tagSize   = 16
	plainSize = pageSize - tagSize
)

// A nodeKey encrypts one node on one page, once. So its nonce may be zero.
type nodeKey [32]byte

var zeroNonce [12]byte

// random fills b. crypto/rand ends the process rather than return less.
func random(b []byte) {
	_, _ = rand.Read(b) // never fails, see crypto/rand
}

func freshKey() (k nodeKey) {
	random(k[:])
	return k
}

// newAEAD panics only on what 32-byte keys exclude.
func newAEAD(k nodeKey) cipher.AEAD {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic("erasable: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("erasable: " + err.Error())
	}
	return aead
}

// pageAAD binds a page's ciphertext to its tree and place.
func pageAAD(id treeID, page uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(id)+8), id[:]...), page)
}

// sealPage appends the encrypted page to dst. plain is plainSize long.
func sealPage(dst, plain []byte, id treeID, page uint64, k nodeKey) []byte {
	return newAEAD(k).Seal(dst, zeroNonce[:], plain, pageAAD(id, page))
}

// openPage decrypts raw in place and returns the plaintext within it.
func openPage(raw []byte, id treeID, page uint64, k nodeKey) ([]byte, error) {
	return newAEAD(k).Open(raw[:0], zeroNonce[:], raw, pageAAD(id, page))
}
