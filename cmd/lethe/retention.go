package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) retention() *cobra.Command {
	return group("retention", "Show and carry out retention periods", p.retentionStatus(), p.retentionRun())
}

func (p *program) retentionStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "List every retention key, when it is due, and its fate", Args: cobra.NoArgs}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			status, err := s.RetentionStatus(ctx, by)
			if err != nil {
				return err
			}
			rows := newSheet("The policy has no classes.", "class", "retention", "rule", "tier", "bucket", "due", "state")
			for _, class := range status.Classes {
				for _, b := range class.Buckets {
					rows.add(class.Class, class.Retention, class.Rule, b.Tier, b.Bucket, b.Due, b.State)
				}
				if len(class.Buckets) == 0 {
					rows.add(class.Class, class.Retention, class.Rule, "", "", "", "")
				}
			}
			return p.emit(status, rows)
		})
	})
	return c
}

func (p *program) retentionRun() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use: "run", Short: "Destroy the keys that are due, now", Args: cobra.NoArgs,
		Long: "Destroy the retention keys that are due. lethe serve does so by itself; this is\nfor a ledger without one, and for those who do not want to wait.",
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only list them")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			done, err := s.RetentionRun(ctx, by, dryRun)
			if err != nil {
				return err
			}
			column := "destroyed"
			if done.DryRun {
				column = "would be destroyed"
			}
			rows := newSheet("Nothing is due.", column)
			for _, key := range done.Destroyed {
				rows.add(strings.TrimSpace(key))
			}
			return p.emit(done, rows)
		})
	})
	return c
}
