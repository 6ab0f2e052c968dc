package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) subject() *cobra.Command {
	return group("subject", "Show, list and export what is held about people", p.subjectShow(), p.subjectList(), p.subjectExport())
}

// idHelp is about every argument that names a person.
const idHelp = "\n\nID is what the application calls the person. - reads it from standard input, where\nno list of processes shows it."

func (p *program) subjectShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show what is held about a person, and until when", Args: cobra.ExactArgs(1),
		Long: "Show what is held about a person: connections, and events and records by class\nand period. The access is recorded." + idHelp,
	}
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		id, err := p.external(args[0])
		if err != nil {
			return err
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			show, err := s.SubjectShow(ctx, by, id)
			if err != nil {
				return err
			}
			return p.emit(show, showSheets(show)...)
		})
	})
	return c
}

// external is the person's id: the argument, or a line of standard input.
func (p *program) external(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	line, _ := bufio.NewReader(p.in).ReadString('\n') // an end without a newline is an end
	if id := strings.TrimRight(line, "\r\n"); id != "" {
		return id, nil
	}
	return "", api.Usage("standard input has no id")
}

func showSheets(show api.SubjectShow) []*sheet {
	head := pairs("state", show.Subject.State)
	if show.Subject.Ref != "" {
		head = pairs("ref", show.Subject.Ref, "state", show.Subject.State,
			"connections", fmt.Sprintf("%d open, %d in total", show.Connections.Open, show.Connections.Total))
	}
	held := newSheet("Nothing is held.", "class", "tier", "bucket", "scope", "events", "records", "first", "last", "due", "readable")
	for _, h := range show.Holdings {
		held.add(h.Class, h.Tier, h.Bucket, h.Scope, h.Events, h.Records, h.First, h.Last, h.Due, h.Readable)
	}
	if show.Lag > 0 {
		held.after = fmt.Sprintf("The views are %d events behind the log.", show.Lag)
	}
	return []*sheet{head, held}
}

func (p *program) subjectList() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{Use: "list", Short: "List the refs of the people that are known", Args: cobra.NoArgs}
	page.add(c)
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		if err := page.check(); err != nil {
			return err
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			list, err := s.SubjectList(ctx, by, page.cursor, page.limit)
			if err != nil {
				return err
			}
			rows := newSheet("Nobody is known.", "ref", "state")
			for _, one := range list.Subjects {
				rows.add(one.Ref, one.State)
			}
			rows.after = page.next(list.Next)
			return p.emit(list, rows)
		})
	})
	return c
}

// pageFlags are the flags of commands that answer page by page.
type pageFlags struct {
	cursor string
	limit  int
}

func (f *pageFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.cursor, "cursor", "", "go on behind `CURSOR`, as the page before said")
	c.Flags().IntVar(&f.limit, "limit", 100, "rows of a page, at most 10000")
}

func (f *pageFlags) check() error {
	if f.limit < 1 || f.limit > 10_000 {
		return api.Usage("--limit is a number from 1 to 10000")
	}
	return nil
}

func (f *pageFlags) next(cursor string) string {
	if cursor == "" {
		return ""
	}
	return "There is more: --cursor " + clean(cursor)
}
