package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) node() *cobra.Command {
	return group("node", "List the processes that write to the log, and retire one that is lost", p.nodeList(), p.nodeRetire())
}

func (p *program) nodeList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List every process that wrote to the log within 30 days", Args: cobra.NoArgs,
		Long: "List every process that wrote to the log within 30 days, the latest first, by its notes\nthere. A new start is a new process.\n\n  open     it spoke within 24 hours\n  closed   it said that it ended\n  silent   neither: what its outbox held may be lost; see lethe node retire\n  retired  two principals said that it is not expected back",
	}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			list, err := s.Nodes(ctx, by)
			if err != nil {
				return err
			}
			rows := newSheet("No process wrote to the log within 30 days.", "writer", "first sign", "last sign", "state")
			for _, n := range list.Nodes {
				rows.add(n.Writer, n.First, n.Last, n.State)
			}
			if list.More {
				rows.after = "There were others before."
			}
			return p.emit(list, rows)
		})
	})
	return c
}

func (p *program) nodeRetire() *cobra.Command {
	c := &cobra.Command{
		Use: "retire WRITER", Short: "Note what a lost process may have lost; two principals", Args: cobra.ExactArgs(1),
		Long: "Say that a process which has been silent for more than 24 hours is not expected back.\nOne principal names it, and is answered with exit 3; another one says the same within\na day. Then a gap from its last sign to now stands in the log, in the notes of the\nprocess that says so. Nothing is written in the name of the lost one. Should it come\nback, it ships what its outbox holds, and is open again.",
	}
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			r, err := s.NodeRetire(ctx, by, args[0])
			if r.State == "" {
				return err
			}
			shown := pairs("writer", r.Writer, "state", r.State, "to confirm until", r.Until)
			if r.State == api.NodeRetired {
				shown = pairs("writer", r.Writer, "state", r.State, "gap from", r.From, "to", r.To)
			}
			return errors.Join(p.emit(r, shown), err)
		})
	})
	return c
}
