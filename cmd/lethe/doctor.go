package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// errFindings is the exit of a doctor who found something broken.
var errFindings = errors.New("something is broken; see the findings")

func (p *program) doctor() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Say what an operator should know about this ledger", Args: cobra.NoArgs,
		Long: "Say what an operator should know: clock, disk, journal, views, policy. It exits with\n1 if a finding is an error.",
	}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			found, err := s.Doctor(ctx, by)
			if err != nil {
				return err
			}
			rows := newSheet("Nothing was found.", "level", "subject", "finding")
			for _, f := range found.Findings {
				rows.add(f.Level, f.Subject, f.Message)
				if f.Level == "error" {
					err = errFindings
				}
			}
			return errors.Join(p.emit(found, rows), err)
		})
	})
	return c
}
