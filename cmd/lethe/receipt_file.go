package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// maxReceipt bounds a receipt's file and a key's.
const maxReceipt = 4 << 20

// signReceipt is the use of keys that sign receipts (FORMAT §7).
const signReceipt = "receipt"

// Where a trusted key came from.
const (
	sourceFile      = "from --key"
	sourceContained = "contained in the receipt's file"
)

// A trusted key is the one that a receipt is verified with.
type trusted struct {
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"` // SHA-256 of the public key
	Source      string `json:"source"`

	public ed25519.PublicKey
}

func readBounded(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if b, err = io.ReadAll(io.LimitReader(f, maxReceipt+1)); err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if len(b) > maxReceipt {
		return nil, api.Usage(path + " is too large to be a receipt or a key")
	}
	return b, nil
}

// readReceipt reads what receipt show --json wrote, or the receipt alone.
func readReceipt(path string) (file api.ReceiptFile, err error) {
	b, err := readBounded(path)
	if err != nil {
		return file, err
	}
	if json.Unmarshal(b, &file) == nil && len(file.Receipt) > 0 && file.Receipt[0] == '{' {
		return file, nil
	}
	return api.ReceiptFile{Receipt: bytes.TrimSpace(b)}, nil
}

// decodeReceipt reads a receipt. Spaces that a program for JSON put in are taken
// out: what is signed has none.
func decodeReceipt(raw []byte) (domain.Receipt, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return domain.Receipt{}, api.Usage("the file is no receipt; lethe receipt show ID --json writes one")
	}
	r, err := domain.DecodeReceipt(b.Bytes())
	if errors.Is(err, domain.ErrReceipt) {
		return r, &api.Error{Code: api.CodeTampered, Message: "the receipt is NOT valid: it is not in the form in which receipts are signed"}
	}
	return r, err
}

func verifyWith(r domain.Receipt, ledger string, k trusted) error {
	return r.Verify(domain.LedgerID(ledger), k.public)
}

// trust finds the key to verify with.
func trust(file api.ReceiptFile, id, keyFile string) (trusted, error) {
	if keyFile == "" {
		public := named(file.Keys, id)
		if public == nil {
			return trusted{}, api.Usage("the file has no key " + clean(id) + ": give one with --key FILE")
		}
		return trustedKey(id, public, sourceContained), nil
	}
	b, err := readBounded(keyFile)
	if err != nil {
		return trusted{}, err
	}
	public := parseKey(b, id)
	if public == nil {
		return trusted{}, api.Usage(keyFile + " has no Ed25519 public key " + clean(id) + ": PEM, base64 of 32 bytes, or JSON with keys")
	}
	return trustedKey(id, public, sourceFile), nil
}

func trustedKey(id string, public ed25519.PublicKey, source string) trusted {
	sum := sha256.Sum256(public)
	return trusted{ID: id, Fingerprint: hex.EncodeToString(sum[:]), Source: source, public: public}
}

// named finds a receipt key by its id. The same id twice is nobody's.
func named(keys []api.PublicKey, id string) (found ed25519.PublicKey) {
	for _, k := range keys {
		if k.ID != id || k.Use != signReceipt || len(k.Key) != ed25519.PublicKeySize {
			continue
		}
		if found != nil {
			return nil
		}
		found = k.Key
	}
	return found
}

// parseKey reads a key's file; nil if it has none of that id.
func parseKey(b []byte, id string) ed25519.PublicKey {
	var file struct {
		Keys []api.PublicKey `json:"keys"`
	}
	if json.Unmarshal(b, &file) == nil {
		return named(file.Keys, id)
	}
	if block, _ := pem.Decode(b); block != nil {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		public, isEd25519 := key.(ed25519.PublicKey)
		if err != nil || !isEd25519 {
			return nil
		}
		return public
	}
	text := strings.TrimRight(strings.TrimSpace(string(b)), "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := encoding.DecodeString(text); err == nil && len(raw) == ed25519.PublicKeySize {
			return raw
		}
	}
	return nil
}

func receiptSheet(r domain.Receipt, signature string) *sheet {
	var classes, withheld []string
	for _, c := range r.Classes {
		classes = append(classes, string(c))
	}
	for _, w := range r.Withheld {
		withheld = append(withheld, fmt.Sprintf("%s (%s)", w.Class, w.Ground))
	}
	return pairs("receipt", r.ID, "request", r.Request, "ground", r.Ground, "classes", classes, "withheld", withheld,
		"buckets", r.Buckets, "keys destroyed", r.KeysDestroyed, "requested", hour(r.Requested), "fenced", hour(r.Fenced),
		"destroyed", hour(r.Destroyed), "effective at", hour(r.EffectiveAt), "ciphertext", string(r.Disposal),
		"kept by holds", r.Held, "journal", r.Mirrors, "key", r.Key, "signature", signature)
}

func hour(t time.Time) string { return t.Format(time.RFC3339) }
