package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) audit() *cobra.Command {
	return group("audit", "Replay the log for an audit", p.auditReplay())
}

// A replayed answers audit replay.
type replayed struct {
	api.Replay
	File string `json:"file"`
}

func (p *program) auditReplay() *cobra.Command {
	var asOf, out string
	c := &cobra.Command{
		Use: "replay --as-of T --out F.db", Short: "Build the views as they were at a moment", Args: cobra.NoArgs,
		Long: "Build every view as it was at a moment into an SQLite file that any tool opens. What\nwas disposed of since is missing from it, and counted.",
	}
	c.Flags().StringVar(&asOf, "as-of", "", "the `MOMENT`: RFC 3339, or a date (its first instant, UTC)")
	c.Flags().StringVar(&out, "out", "", "SQLite `FILE` to write; it must not exist")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		at, err := moment("--as-of", asOf)
		if err != nil {
			return err
		}
		if at.IsZero() || out == "" {
			return api.Usage("say as of when and where to: --as-of T --out F.db")
		}
		if err := absent(out); err != nil {
			return err
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			m := p.meter("replaying")
			done, err := s.Replay(ctx, by, at, out, m.progress())
			m.end()
			if err != nil {
				return err
			}
			return p.emit(replayed{Replay: done, File: out}, replaySheet(done, out))
		})
	})
	return c
}

func replaySheet(r api.Replay, out string) *sheet {
	s := pairs("as of", r.AsOf, "noted at", r.NotedAt, "position", r.Position, "events", r.Events, "file", out)
	for _, what := range slices.Sorted(maps.Keys(r.Disposed)) {
		if r.Disposed[what] > 0 {
			s.add("disposed of since", fmt.Sprintf("%d %s", r.Disposed[what], what))
		}
	}
	return s
}
