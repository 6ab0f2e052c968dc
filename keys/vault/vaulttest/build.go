package vaulttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// program returns the path of the server's program and builds it where it is not
// there. A lock on a file makes packages tested at the same time wait for the one
// that builds.
func program() (string, error) {
	source, err := sources()
	if err != nil {
		return "", err
	}
	sum, err := hash(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "lethe", "vaultserver-"+sum)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, build(source, path)
}

// sources is the folder of the server's module.
func sources() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the program does not know where its sources are")
	}
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", "testdata", "vaultserver")
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return dir, err
}

// hash covers every file of the module, by name and content.
func hash(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		sum.Write(fmt.Appendf(nil, "%s %d\n", name, len(raw)))
		sum.Write(raw)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:12]), err
}

// lock waits for the lock of a file.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing releases it
}

// build builds beside the final name, so that what is there is whole.
func build(source, path string) error {
	part := path + ".part"
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", part, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the Vault server in %s: %w: %s", source, err, bytes.TrimSpace(out.Bytes()))
	}
	return os.Rename(part, path)
}
