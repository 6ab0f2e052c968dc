package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the build says of itself: the module's version, or the revision
// of a working copy.
func version() string {
	info, known := debug.ReadBuildInfo()
	if !known {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

type versions struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (p *program) version() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	c.RunE = p.do(func(*cobra.Command, []string) error {
		v := versions{Version: version(), Go: runtime.Version()}
		return p.emit(v, pairs("version", v.Version, "go", v.Go))
	})
	return c
}
