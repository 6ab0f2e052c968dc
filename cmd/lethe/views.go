package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) views() *cobra.Command {
	return group("views", "List, query and rebuild the read models", p.viewsList(), p.viewsQuery(), p.viewsRebuild())
}

func (p *program) viewsList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the read models and how far they are", Args: cobra.NoArgs}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			list, err := s.Views(ctx, by)
			if err != nil {
				return err
			}
			rows := newSheet("There are no views.", "view", "generation", "position", "lag", "rows")
			for _, v := range list.Views {
				rows.add(v.Name, v.Generation, v.Position, v.Lag, v.Rows)
			}
			return p.emit(list, rows)
		})
	})
	return c
}

func (p *program) viewsQuery() *cobra.Command {
	var page pageFlags
	var digest bool
	c := &cobra.Command{
		Use: "query NAME", Short: "Read a view's rows in key order, or their digest", Args: cobra.ExactArgs(1),
		Long:              "Read a view's rows in key order, page by page. --digest answers with the SHA-256\nover all rows instead: equal digests at one position are equal views.",
		ValidArgsFunction: p.completeViews,
	}
	page.add(c)
	c.Flags().BoolVar(&digest, "digest", false, "the digest over all rows")
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		if err := page.check(); err != nil {
			return err
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			if digest {
				return p.emitDigest(ctx, s, by, args[0])
			}
			rows, err := s.Query(ctx, by, args[0], page.cursor, page.limit)
			if err != nil {
				return err
			}
			table := newSheet("The view has no rows.", rows.Columns...)
			for _, row := range rows.Rows {
				table.add(row...)
			}
			table.after = page.next(rows.Next)
			return p.emit(rows, table)
		})
	})
	return c
}

func (p *program) emitDigest(ctx context.Context, s api.Service, by api.Caller, view string) error {
	d, err := s.Digest(ctx, by, view)
	if err != nil {
		return err
	}
	return p.emit(d, pairs("view", d.View, "position", d.Position, "digest", d.Digest))
}

// completeViews offers view names to the shell, from a server if one answers.
func (p *program) completeViews(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	client, err := p.client(whyOperation)
	if err != nil || client == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := client.Views(cmd.Context(), api.Caller{Purpose: whyOperation})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, v := range list.Views {
		names = append(names, v.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) viewsRebuild() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "rebuild NAME... | --all", Short: "Build views anew from the log", ValidArgsFunction: p.completeViews,
		Long: "Build views anew from the log. The old ones serve until the new ones have caught up\nand their digests are equal.",
	}
	c.Flags().BoolVar(&all, "all", false, "all views")
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return api.Usage("name the views to rebuild, or say --all; lethe views list shows them")
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			m := p.meter("rebuilding")
			done, err := s.Rebuild(ctx, by, args, m.progress())
			m.end()
			if err != nil {
				return err
			}
			rows := newSheet("There are no views.", "view", "generation", "events", "seconds", "position", "digest", "as live")
			for _, v := range done.Rebuilt {
				rows.add(v.Name, v.Generation, v.Events, fmt.Sprintf("%.2f", v.Seconds), v.Position, v.Digest, asLive(v))
			}
			return p.emit(done, rows)
		})
	})
	return c
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// asLive tells whether a rebuilt view was the live one, where there was one.
func asLive(v api.RebuiltView) string {
	if v.LiveDigest == "" {
		return "the log went back"
	}
	return yes(v.Digest == v.LiveDigest)
}
