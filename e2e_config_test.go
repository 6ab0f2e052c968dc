package lethe_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badConfigs are refused at start by file, line and remedy. DIR stands for the
// home's folder.
var badConfigs = []struct {
	name  string
	edits []string
	want  []string
}{
	{"unknown key", []string{"store: {engine: embedded}", "stroe: {engine: embedded}"}, []string{"DIR/lethe.yaml:33: stroe: unknown key", "did you mean store?"}},
	{"class without period", []string{"retention: P14D, ", ""}, []string{"DIR/lethe.yaml:9: policy.classes[0].retention", "needs a period such as P30D"}},
	{"field in no class", []string{"      flush:", "      extract: {topic: \"json:/topic\"}\n      flush:"}, []string{`DIR/lethe.yaml:27: policy.pools[0].extract.topic: field "topic" is in no class`, "add it to the fields of one"}},
	{
		"two pools on one path",
		[]string{"  disposal", twoPools, "pools:\n  chat:", "pools:\n  two: {handler: true}\n  chat:"},
		[]string{`DIR/lethe.yaml:28: policy.pools[1].path: "/chat" is that of pools[0]`, "give each its own"},
	},
	{"query identification on a public address", []string{`"127.0.0.1:0"`, `":8080"`}, []string{"DIR/lethe.yaml:32: identify[2].query: anybody could be anybody", "use jwt, or listen on 127.0.0.1"}},
	{"unreadable root", []string{"data: DIR/data", "data: DIR/ruin"}, []string{"DIR/lethe.yaml:2: data: DIR/ruin/keys/keys.root cannot be read", "mode 0600, or restore it"}},
}

// TestBadConfigurationIsRefused starts the command on what is wrong: it serves
// nothing, writes nothing and says where the mistake is and what to do.
func TestBadConfigurationIsRefused(t *testing.T) {
	for _, c := range badConfigs {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t)
			must(t, os.MkdirAll(filepath.Join(h.dir, "ruin", "keys", "keys.root"), 0o700)) // a folder: not even root reads it as a file
			h.configure(t, goodConfig, c.edits...)
			r := h.run(t, "serve", "--admin", "127.0.0.1:0")
			if r.code != 2 || r.out != "" {
				t.Errorf("serve exits with %d and says %q", r.code, r.out)
			}
			for _, want := range c.want {
				if want = strings.ReplaceAll(want, "DIR", h.dir); !strings.Contains(r.errors, want) {
					t.Errorf("%q does not say %q", r.errors, want)
				}
			}
			if left := files(t, h.data, filepath.Join(h.dir, "ruin"), filepath.Join(h.dir, "journal")); len(left) > 0 {
				t.Errorf("it left %q", left)
			}
		})
	}
}
