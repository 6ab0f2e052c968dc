package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) keys() *cobra.Command {
	return group("keys", "Show how the custodian of keys is", p.keysStatus(), p.keysTrustClock(), p.keysRestoreCheck())
}

func (p *program) keysStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show how the custodian is and what it holds", Args: cobra.NoArgs}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			k, err := s.KeysStatus(ctx, by)
			if err != nil {
				return err
			}
			return p.emit(k, keysSheet(k))
		})
	})
	return c
}

func keysSheet(k api.KeysStatus) *sheet {
	rows := []any{
		"custodian", k.Custodian, "state", k.State, "subjects", k.Subjects, "buckets", k.Buckets,
		"handles", k.Handles, "blocks", k.Blocks, "destroyed", k.Destroyed,
	}
	if k.Reason != "" {
		rows = append(rows, "reason", k.Reason)
	}
	return pairs(rows...)
}

func (p *program) keysTrustClock() *cobra.Command {
	c := &cobra.Command{
		Use: "trust-clock NOW", Short: "Vouch for this machine's clock by the time that you see elsewhere", Args: cobra.ExactArgs(1),
		Long: "Vouch for this machine's clock. Keys are issued and destroyed by it only while it is\ntrusted: the kernel calls it synchronised, the log vouches for it at the start, or it has\nnot jumped for ten minutes. NOW is the time on another clock that you trust, as in\n2026-11-23T10:15:00Z; a minute apart from this machine's it is refused. It holds until the\nclock jumps. Where several processes share a log, its clock must agree all the same.",
	}
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		now, err := time.Parse(time.RFC3339, args[0])
		if err != nil {
			return api.Usage("NOW is a time as in 2026-11-23T10:15:00Z")
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			k, err := s.TrustClock(ctx, by, now)
			if err != nil {
				return err
			}
			return p.emit(k, keysSheet(k))
		})
	})
	return c
}

func (p *program) keysRestoreCheck() *cobra.Command {
	c := &cobra.Command{
		Use: "restore-check", Short: "Destroy again what the erasure journal names", Args: cobra.NoArgs,
		Long: "Destroy again every key that the erasure journal names, and say which were there.\nA start does so by itself where the custodian knows fewer lines than the journal;\nthis is for a custodian that was restored while Lethe ran, and for who wants to see.\nIn a log that was put back it notes what was destroyed since the copy, so that views\nand disposal know of it, and has this node's outbox go on behind the ends that the log\nhas: run it on each node. It reads the whole log.\nOn a node whose journal file contradicts the log it puts what the file names into the\nlog first; until then nothing is opened or erased anywhere. If that file is lost, two\nprincipals say so by --lost; what only it names is then known to nobody.",
	}
	var lost string
	c.Flags().StringVar(&lost, "lost", "", "hash of a journal `file` that is lost, as lethe doctor names it; two principals")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			r, err := s.RestoreCheck(ctx, by, lost)
			if err != nil {
				return err
			}
			return p.emit(r, pairs("journal lines", r.Lines, "unknown to the custodian", r.Behind, "only in this node's file", r.Put,
				"persons destroyed again", r.Subjects,
				"class keys", r.Classes, "kept bucket keys", r.Kept, "linked refs", r.Linked, "blocks", r.Blocks, "retention keys", r.Buckets,
				"bucket keys preserved", r.Rescued, "destructions noted again", r.Noted, "events of the outbox looked for", r.Outbox))
		})
	})
	return c
}
