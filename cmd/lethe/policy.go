package main

import (
	"context"
	"errors"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) policy() *cobra.Command {
	return group("policy", "Make a policy the one in force", p.policyApply())
}

// An applied policy, as the log has it now.
type applied struct {
	Revision uint32 `json:"revision"`
	Digest   string `json:"digest"`
}

func (p *program) policyApply() *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use: "apply", Short: "Make the configuration's policy the one that all nodes follow", Args: cobra.NoArgs,
		Long: "Append the policy of --config to the log, if it is another one than the one in force.\nNodes that run follow it at once; one that starts with another policy is refused. On\none machine lethe serve does this by itself. A policy that shortens a period destroys\nkeys: it needs --confirm with the digest that the refusal names.",
	}
	c.Flags().StringVar(&confirm, "confirm", "", "`DIGEST` of a policy that shortens a period, as the refusal said")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) (err error) {
		if p.config == "" {
			return api.Usage("name the configuration that holds the policy: --config FILE")
		}
		cfg, err := p.settings()
		if err != nil {
			return err
		}
		l, err := lethe.Open(cmd.Context(), cfg, lethe.Options{Logger: zerolog.Nop(), Version: version(), ConfirmPolicy: confirm, ApplyPolicy: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(cmd.Context()))) }()
		revision, digest, err := l.PolicyInForce()
		if err != nil {
			return err
		}
		return p.emit(applied{Revision: revision, Digest: digest}, pairs("revision", revision, "digest", digest))
	})
	return c
}
