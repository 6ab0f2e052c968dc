package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) retention() *cobra.Command {
	return group("retention", "Show and carry out retention periods", p.retentionStatus(), p.retentionRun(), p.retentionDispose())
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

func (p *program) retentionDispose() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use: "dispose", Short: "Remove the ciphertext of destroyed keys, now", Args: cobra.NoArgs,
		Long: "Remove the ciphertext whose keys are destroyed, from streams and from the disk, and\nretire refs of which nothing is left. lethe serve does so by itself once half of\ndisposal.within has passed, for many at once: a record that sums few persons tells\nmore about each. A replay as of before then shows those persons by count only.",
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what there is to remove")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			m := p.meter("disposing")
			done, err := s.Dispose(ctx, by, dryRun, m.progress())
			m.end()
			if err != nil {
				return err
			}
			if done.DryRun {
				return p.emit(done, pairs("erasures to dispose of", done.Destructions, "expired buckets", done.Buckets, "oldest", done.Oldest))
			}
			return p.emit(done, pairs(
				"erasures disposed of", done.Destructions, "expired buckets", done.Buckets, "events", done.Events, "records", done.Records,
				"streams deleted", done.Deleted, "streams cut", done.Truncated, "refs retired", done.Retired,
			))
		})
	})
	return c
}
