package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// testKey is a signing key that is the same in every run.
func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

// signedReceipt is a receipt with its key, as the API hands it out.
func signedReceipt() (api.ReceiptFile, error) {
	id, err := domain.Parse[domain.ReceiptID](fakeReceipt)
	if err != nil {
		return api.ReceiptFile{}, err
	}
	request, err := domain.Parse[domain.RequestID](fakeRef)
	if err != nil {
		return api.ReceiptFile{}, err
	}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r, err := domain.Receipt{
		ID: id, Request: request, Ground: "A17-1-b", Classes: []domain.Class{"messages"}, Buckets: 2, KeysDestroyed: 3,
		Requested: at, Fenced: at, Destroyed: at, EffectiveAt: at, Disposal: domain.DisposalPending,
		Withheld: []domain.Withheld{{Class: "rights", Ground: "A17-3-b"}}, Mirrors: "one file", Key: "receipt-1",
	}.Sign("main", func(message []byte) ([]byte, error) { return ed25519.Sign(testKey(), message), nil })
	if err != nil {
		return api.ReceiptFile{}, err
	}
	stored, err := r.Encode()
	public, _ := testKey().Public().(ed25519.PublicKey)
	return api.ReceiptFile{Receipt: stored, Ledger: "main", Valid: true, Keys: []api.PublicKey{{ID: "receipt-1", Use: signReceipt, Key: public}}}, err
}

// TestVerifyKeepsToTheKey: each thing that a forger can change is seen.
func TestVerifyKeepsToTheKey(t *testing.T) {
	good, err := signedReceipt()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := api.Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, whole, "", "  "); err != nil {
		t.Fatal(err)
	}
	public := good.Keys[0].Key
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(public))
	if err != nil {
		t.Fatal(err)
	}
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32)).Public().(ed25519.PublicKey)
	mine := base64.StdEncoding.EncodeToString(public)
	theirs := base64.StdEncoding.EncodeToString(stranger)
	for _, c := range []struct {
		name, file, key string
		args            []string
		exit            int
		want            string
	}{
		{"as written", string(whole), "", nil, 0, sourceContained},
		{"indented on the way", indented.String(), "", nil, 0, sourceContained},
		{"key in base64", string(whole), mine, nil, 0, sourceFile},
		{"key as PEM", string(whole), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil, 0, sourceFile},
		{"key from another receipt's file", string(whole), string(whole), nil, 0, sourceFile},
		{"receipt alone", string(good.Receipt), mine, []string{"--ledger", "main"}, 0, sourceFile},
		{"receipt alone, no ledger", string(good.Receipt), mine, nil, 2, "--ledger NAME"},
		{"receipt alone, no key", string(good.Receipt), "", []string{"--ledger", "main"}, 2, "--key FILE"},
		{"another count", strings.Replace(string(whole), `"keys_destroyed":3`, `"keys_destroyed":4`, 1), "", nil, 1, "NOT valid"},
		{"another ledger", string(whole), "", []string{"--ledger", "other"}, 1, "NOT valid"},
		{"contained key exchanged", strings.Replace(string(whole), mine, theirs, 1), "", nil, 1, "NOT valid"},
		{"not my key", string(whole), theirs, nil, 1, "NOT valid"},
		{"a field more", strings.Replace(string(whole), `"ground":`, `"x":1,"ground":`, 1), "", nil, 1, "NOT valid"},
		{"key no key", string(whole), "hello", nil, 2, "no Ed25519 public key"},
		{"no JSON", "hello", "", nil, 2, "no receipt"},
		{"two keys of one id", strings.Replace(string(whole), `"keys":[`, `"keys":[{"id":"receipt-1","use":"receipt","key":"`+theirs+`"},`, 1), "", nil, 2, "--key FILE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"receipt", "verify", write(t, dir, "receipt.json", c.file), "--json"}
			if c.key != "" {
				args = append(args, "--key", write(t, dir, "key", c.key))
			}
			var out, errs bytes.Buffer
			exit := run(t.Context(), append(args, c.args...), nil, &out, &errs)
			if said := out.String() + errs.String(); exit != c.exit || !strings.Contains(said, c.want) {
				t.Errorf("exit %d, want %d: %s", exit, c.exit, said)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
