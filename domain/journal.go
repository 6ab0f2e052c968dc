package domain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// A JournalKind says what a line of the erasure journal destroyed.
type JournalKind string

// The kinds of FORMAT §7.
const (
	JournalSubject   JournalKind = "subject"
	JournalClass     JournalKind = "class"
	JournalRange     JournalKind = "range"
	JournalRetention JournalKind = "retention"
	JournalHold      JournalKind = "hold"
)

// Valid reports whether k is one of the five kinds.
func (k JournalKind) Valid() bool {
	switch k {
	case JournalSubject, JournalClass, JournalRange, JournalRetention, JournalHold:
		return true
	}
	return false
}

// MaxJournalTags bounds the tags of one line, so that it fits into one event; a
// destruction of more keys takes several lines.
const MaxJournalTags = 14_000

// A JournalHash is the SHA-256 of a line's bytes without its newline; the next
// line names it. The zero hash stands before the first line.
type JournalHash [sha256.Size]byte

// HashJournalLine hashes a line, which ends with } and has no newline.
func HashJournalLine(line []byte) JournalHash { return sha256.Sum256(line) }

// String returns the hash in lower-case hex.
func (h JournalHash) String() string { return hex.EncodeToString(h[:]) }

// A JournalLine names keys as destroyed, for ever, to those who hold T and to
// nobody else (FORMAT §7). It is encoded in exactly one way; the newline that
// ends it in a file is no part of it.
type JournalLine struct {
	Seq  uint64
	Prev JournalHash
	Day  Bucket
	Kind JournalKind
	Dead []Tag
	Sig  []byte // Ed25519, 64 bytes; nil before it is signed
}

// ErrJournal says that bytes are not a journal line, or not the one that follows.
var ErrJournal = errors.New("journal line is not canonical")

// ErrJournalChain says that a line does not follow the one before it.
var ErrJournalChain = errors.New("journal does not extend the line before")

// AppendUnsigned appends the line's bytes before `,"sig"`.
func (l JournalLine) AppendUnsigned(b []byte) ([]byte, error) {
	if err := l.valid(); err != nil {
		return nil, fmt.Errorf("journal line %d: %w", l.Seq, err)
	}
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, l.Seq, 10)
	b = append(b, `,"prev":"`...)
	b = hex.AppendEncode(b, l.Prev[:])
	b = append(append(b, `","day":"`...), l.Day...)
	b = append(append(b, `","kind":"`...), l.Kind...)
	b = append(b, `","dead":[`...)
	for i, t := range l.Dead {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(hex.AppendEncode(append(b, '"'), t[:]), '"')
	}
	return append(b, ']'), nil
}

// Encode returns the line with its signature; an unsigned line is an
// error.
func (l JournalLine) Encode() ([]byte, error) {
	if len(l.Sig) != ed25519.SignatureSize {
		return nil, fmt.Errorf("journal line %d is not signed: %w", l.Seq, ErrJournal)
	}
	b, err := l.AppendUnsigned(make([]byte, 0, 320+35*len(l.Dead)))
	if err != nil {
		return nil, err
	}
	b = append(b, `,"sig":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, l.Sig)
	return append(b, `"}`...), nil
}

func (l JournalLine) valid() error {
	if l.Seq > math.MaxInt64 || l.Day.Width() != Day || !l.Kind.Valid() || len(l.Dead) == 0 || len(l.Dead) > MaxJournalTags {
		return ErrJournal
	}
	if (l.Seq == 0) != (l.Prev == JournalHash{}) {
		return ErrJournalChain
	}
	_, err := ParseBucket(string(l.Day))
	return err
}

// SigningBytes returns lp("lethe/journal/v1") ‖ lp(ledger) ‖ the line's bytes
// before `,"sig"`.
func (l JournalLine) SigningBytes(ledger LedgerID) ([]byte, error) {
	b := AppendLPString(nil, "lethe/journal/v1")
	return l.AppendUnsigned(AppendLPString(b, string(ledger)))
}

// Sign returns the line with the signature that sign makes.
func (l JournalLine) Sign(ledger LedgerID, sign func(message []byte) ([]byte, error)) (JournalLine, error) {
	message, err := l.SigningBytes(ledger)
	if err != nil {
		return JournalLine{}, err
	}
	if l.Sig, err = sign(message); err != nil {
		return JournalLine{}, fmt.Errorf("signing journal line %d: %w", l.Seq, err)
	}
	return l, nil
}

// Verify reports ErrTampered unless one of the public keys signed the line for
// this ledger. A rotated key stays among them.
func (l JournalLine) Verify(ledger LedgerID, public ...ed25519.PublicKey) error {
	message, err := l.SigningBytes(ledger)
	if err != nil {
		return err
	}
	if !signedByOne(public, message, l.Sig) {
		return fmt.Errorf("journal line %d: signature: %w", l.Seq, ErrTampered)
	}
	return nil
}

func signedByOne(public []ed25519.PublicKey, message, sig []byte) bool {
	for _, key := range public {
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig) {
			return true
		}
	}
	return false
}

// DecodeJournalLine reads a line without its newline. Whatever would encode
// differently is refused with ErrJournal.
func DecodeJournalLine(raw []byte) (JournalLine, error) {
	c := cursor{rest: string(raw)}
	l := JournalLine{}
	c.literal(`{"seq":`)
	l.Seq = c.number(math.MaxInt64)
	c.literal(`,"prev":"`)
	c.hex(l.Prev[:])
	c.literal(`","day":"`)
	l.Day = Bucket(c.text())
	c.literal(`,"kind":"`)
	l.Kind = JournalKind(c.text())
	c.literal(`,"dead":["`)
	l.Dead = c.tags()
	c.literal(`],"sig":"`)
	l.Sig = c.signature()
	c.literal(`}`)
	if c.failed || c.rest != "" {
		return JournalLine{}, ErrJournal
	}
	if again, err := l.Encode(); err != nil || !bytes.Equal(again, raw) {
		return JournalLine{}, because(ErrJournal, err)
	}
	return l, nil
}

// because names the cause of a refusal, if there is one.
func because(refusal, cause error) error {
	if cause == nil {
		return refusal
	}
	return fmt.Errorf("%w: %w", refusal, cause)
}

// hex reads two lower-case digits for each byte of dst.
func (c *cursor) hex(dst []byte) {
	n := 2 * len(dst)
	if len(c.rest) < n {
		c.fail()
		return
	}
	if _, err := hex.Decode(dst, []byte(c.rest[:n])); err != nil {
		c.fail()
		return
	}
	c.rest = c.rest[n:]
}

// tags reads tags, each ended by its quote, up to the closing bracket.
func (c *cursor) tags() []Tag {
	var tags []Tag
	for !c.failed && len(tags) < MaxJournalTags {
		var t Tag
		c.hex(t[:])
		c.literal(`"`)
		tags = append(tags, t)
		if !c.has(`,"`) {
			return tags
		}
	}
	c.fail()
	return nil
}

func (c *cursor) signature() []byte {
	sig, err := base64.RawURLEncoding.Strict().DecodeString(c.text())
	if err != nil || len(sig) != ed25519.SignatureSize {
		c.fail()
	}
	return sig
}

// A JournalChain checks that lines follow one another. The zero JournalChain
// stands before the first line.
type JournalChain struct {
	Next uint64 // seq of the line that is to come
	Prev JournalHash
}

// Add decodes the next line and moves on; on an error the chain stays where it
// is. It does not look at the signature.
func (j *JournalChain) Add(raw []byte) (JournalLine, error) {
	l, err := DecodeJournalLine(raw)
	if err != nil {
		return JournalLine{}, fmt.Errorf("journal line %d: %w", j.Next, err)
	}
	if l.Seq != j.Next || l.Prev != j.Prev {
		return JournalLine{}, fmt.Errorf("journal line %d, found seq %d: %w", j.Next, l.Seq, ErrJournalChain)
	}
	j.Next, j.Prev = l.Seq+1, HashJournalLine(raw)
	return l, nil
}
