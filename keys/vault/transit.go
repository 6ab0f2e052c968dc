package vault

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Kinds of what a Transit key is for: a letter of its name.
const (
	ofPerson    = 'p'
	ofBlock     = 'b'
	ofDocument  = 'o'
	ofRetention = 'r'
	ofLedger    = 'm'
)

// A keyName names a Transit key: ledger, kind, when it was made, whose it is,
// and a random part, so that a name is used once. The sweep reads it; nothing
// else does.
//
//	main-p-6923a1b0-<owner, base32>-<random, base32>
type keyName string

// letters spells bytes in what the names of Transit keys may hold.
const letters = "abcdefghijklmnopqrstuvwxyz234567"

func base32Text(b []byte) string {
	return base32.NewEncoding(letters).WithPadding(base32.NoPadding).EncodeToString(b)
}

func newKeyName(l domain.LedgerID, kind byte, owner []byte, now time.Time) keyName {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return keyName(fmt.Sprintf("%s-%c-%08x-%s-%s", l, kind, now.Unix(), base32Text(owner), base32Text(random[:])))
}

// made is when the key was made, by the clock of who made it.
func (k keyName) made() (time.Time, error) {
	parts := strings.Split(string(k), "-")
	if len(parts) != 5 {
		return time.Time{}, errors.New("not a name of a transit key of this program")
	}
	seconds, err := strconv.ParseInt(parts[2], 16, 64)
	return time.Unix(seconds, 0), err
}

// owner is what the key is for.
func (k keyName) owner() (kind byte, owner []byte, err error) {
	parts := strings.Split(string(k), "-")
	if len(parts) != 5 || len(parts[1]) != 1 {
		return 0, nil, errors.New("not a name of a transit key of this program")
	}
	owner, err = base32.NewEncoding(letters).WithPadding(base32.NoPadding).DecodeString(parts[3])
	return parts[1][0], owner, err
}

// A transit is the mount that wraps data keys.
type transit struct {
	*client
	mount string
}

// create makes a key. The name is new, so a repeated call would change nothing.
func (t transit) create(ctx context.Context, name keyName) error {
	return t.call(ctx, http.MethodPut, t.mount+"/keys/"+string(name), nil, struct{}{}, nil)
}

// A dataKey is 32 bytes of Vault's making, and how only the Transit key reads
// them back.
type dataKey struct {
	name    keyName
	plain   seal.Secret
	wrapped string
}

// issue makes a Transit key and a data key under it: two calls.
func (t transit) issue(ctx context.Context, name keyName) (dataKey, error) {
	if err := t.create(ctx, name); err != nil {
		return dataKey{}, err
	}
	var answer wrappedKey
	err := t.call(ctx, http.MethodPut, t.mount+"/datakey/plaintext/"+string(name), nil, struct{}{}, &answer)
	if err != nil {
		return dataKey{}, inner(err)
	}
	plain, err := answer.plain()
	return dataKey{name: name, plain: plain, wrapped: answer.Ciphertext}, err
}

// unwrap reads a data key back. Errors: errNoKey, errForged.
func (t transit) unwrap(ctx context.Context, name keyName, wrapped string) (seal.Secret, error) {
	var answer wrappedKey
	body := map[string]string{"ciphertext": wrapped}
	if err := t.call(ctx, http.MethodPut, t.mount+"/decrypt/"+string(name), nil, body, &answer); err != nil {
		return seal.Secret{}, err
	}
	return answer.plain()
}

// destroy destroys keys, whether or not they are there, and returns when Vault
// has said of each that it is not.
func (t transit) destroy(ctx context.Context, names ...keyName) error {
	for _, name := range names {
		if err := t.destroyOne(ctx, name); err != nil {
			return fmt.Errorf("destroying a transit key: %w", err)
		}
	}
	return nil
}

func (t transit) destroyOne(ctx context.Context, name keyName) error {
	path := t.mount + "/keys/" + string(name)
	err := t.call(ctx, http.MethodPut, path+"/config", nil, map[string]bool{"deletion_allowed": true}, nil)
	if err == nil {
		err = t.call(ctx, http.MethodDelete, path, nil, nil, nil)
	}
	if err != nil && !errors.Is(err, errNoKey) {
		return inner(err)
	}
	err = t.call(ctx, http.MethodGet, path, nil, nil, nil)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("vault still has the key: %w", domain.ErrUnavailable)
	}
	return inner(err)
}

// wrappedKey is an answer with a data key in it.
type wrappedKey struct {
	Ciphertext string `json:"ciphertext"`
	Plaintext  []byte `json:"plaintext"` // base64 on the wire
}

func (w wrappedKey) plain() (s seal.Secret, err error) {
	defer clear(w.Plaintext)
	if len(w.Plaintext) != len(s) {
		return s, fmt.Errorf("a data key of %d bytes: %w", len(w.Plaintext), ErrDamaged)
	}
	copy(s[:], w.Plaintext)
	return s, nil
}

// inner makes an answer that nobody expected here an outage: it must not leave
// the package as it is.
func inner(err error) error {
	for _, private := range []error{errAbsent, errConflict, errNoKey, errForged} {
		if errors.Is(err, private) {
			return fmt.Errorf("%w: %v", ErrDamaged, err) //nolint:errorlint // see above
		}
	}
	return err
}
