package seal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const python = "/usr/bin/python3" // Debian's, which sees Debian's packages

// reader runs the second, independent reader of the vectors.
func reader(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the second reader of the vectors needs ", python)
		}
		t.Skip("the second reader of the vectors needs ", python)
	}
	cmd := exec.CommandContext(t.Context(), python, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestVectorsSecondReader(t *testing.T) {
	out, err := reader(t, nil, filepath.Join(vectorDir, "verify.py"))
	t.Log(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
}

// TestSecondReaderSaysWhatItSkips runs it without site packages, and so without
// ciphers: in CI that is a failure.
func TestSecondReaderSaysWhatItSkips(t *testing.T) {
	script := filepath.Join(vectorDir, "verify.py")
	out, err := reader(t, []string{"CI=true"}, "-S", script)
	if err == nil || !strings.Contains(out, "not checked: AES-256-GCM") || !strings.Contains(out, "not checked: Ed25519") {
		t.Errorf("in CI: %v\n%s", err, out)
	}
	if out, err := reader(t, []string{"CI="}, "-S", script); err != nil || !strings.Contains(out, "not checked: AES-256-GCM") {
		t.Errorf("outside: %v\n%s", err, out)
	}
}

var lastDigits = regexp.MustCompile(`[0-9a-f]{32,}`)

// TestSecondReaderFails: one changed hex digit in any file is found.
func TestSecondReaderFails(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range files {
				raw, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if f == file {
					raw = spoil(t, raw)
				}
				if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := reader(t, nil, filepath.Join(vectorDir, "verify.py"), dir)
			if err == nil || !strings.Contains(out, filepath.Base(file)+": ") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// spoil changes one digit of the last long hex value of a file, or its last
// number if there is none.
func spoil(t *testing.T, raw []byte) []byte {
	t.Helper()
	raw = bytes.Clone(raw)
	at := bytes.LastIndexAny(raw, "0123456789")
	if spans := lastDigits.FindAllIndex(raw, -1); len(spans) > 0 {
		at = spans[len(spans)-1][1] - 1
	}
	raw[at] ^= 1
	if !json.Valid(raw) {
		t.Fatal("no JSON any more")
	}
	return raw
}
