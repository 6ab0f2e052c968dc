package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) keys() *cobra.Command {
	return group("keys", "Show how the custodian of keys is", p.keysStatus())
}

func (p *program) keysStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show how the custodian is and what it holds", Args: cobra.NoArgs}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			k, err := s.KeysStatus(ctx, by)
			if err != nil {
				return err
			}
			return p.emit(k, pairs("custodian", k.Custodian, "state", k.State, "subjects", k.Subjects, "buckets", k.Buckets,
				"handles", k.Handles, "blocks", k.Blocks, "destroyed", k.Destroyed))
		})
	})
	return c
}
