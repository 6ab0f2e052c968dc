package vaulttest

import (
	"os"
	"testing"
)

// TestServerBuilds builds the server where it is not built yet, which takes
// minutes: make test runs it first, so that no other package's time runs out.
func TestServerBuilds(t *testing.T) {
	path, err := program()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() < 1<<20 {
		t.Errorf("%s is no program: %v", path, err)
	}
}
