package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

// A program is one run of the command: where it reads and writes, and the flags
// that every command has.
type program struct {
	in       io.Reader
	out, err io.Writer

	config string // --config
	data   string // --data
	json   bool   // --json
	why    string // --why

	// began is set when a command's own work begins. An error before that is a
	// mistake in what was typed.
	began bool
}

// run is the command without a process around it: arguments in, exit code out.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{in: stdin, out: stdout, err: stderr}
	root := p.root() //nolint:contextcheck // cobra hands ctx to each command
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !p.began {
		err = fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
	}
	e := p.explain(err)
	p.complain(e, slices.Contains(args, "--json"))
	return exitOf(e)
}

// explain finds the words for an error. Errors from inside carry no personal data
// and name what to do, so that what is in no table is said as it is.
func (p *program) explain(err error) *api.Error {
	var said *api.Error
	switch e := api.Wire(err); {
	case errors.As(err, &said):
		return said
	case errors.Is(err, context.Canceled):
		return &api.Error{Code: api.CodeUnavailable, Message: "interrupted; what was begun is finished by the same command"}
	case !p.began:
		return api.Usage(err.Error())
	default:
		return &api.Error{Code: e.Code, Message: reason(e, err)}
	}
}

func exitOf(e *api.Error) int {
	switch e.Code {
	case api.CodeUsage:
		return exitUsage
	case api.CodeRefused:
		return exitRefused
	}
	return exitFailed
}

// complain writes the error on one line.
func (p *program) complain(e *api.Error, asJSON bool) {
	message := clean(strings.ReplaceAll(strings.TrimSpace(e.Message), "\n", "; "))
	if !p.json && !asJSON {
		_, _ = fmt.Fprintf(p.err, "lethe: %s\n", message)
		return
	}
	b, err := api.Encode(struct {
		Error api.Error `json:"error"`
	}{api.Error{Code: e.Code, Message: message}})
	if err == nil { // two strings always encode
		_, _ = p.err.Write(b)
	}
}

// do wraps a command's work, so that what fails in it is not taken for a mistake
// in its arguments.
func (p *program) do(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.began = true
		return work(cmd, args)
	}
}

// root is the tree of commands.
func (p *program) root() *cobra.Command {
	root := group("lethe", "An event-sourced compliance ledger for WebSocket traffic",
		p.serve(), p.subject(), p.erase(), p.receipt(), p.retention(), p.views(), p.audit(), p.keys(), p.token(), p.policy(), p.esdb(), p.vault(), p.migrate(), p.node(),
		p.doctor(), p.bench(), p.version())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Long = "Lethe records WebSocket traffic sealed under keys of the person and the period.\nErasing destroys keys; read models are rebuilt from the log at any time."
	flags := root.PersistentFlags()
	flags.StringVar(&p.config, "config", "", "configuration `FILE` (lethe.yaml)")
	flags.StringVar(&p.data, "data", "", "data `DIR` (default: the configuration's, or lethe-data)")
	flags.BoolVar(&p.json, "json", false, "answer in JSON, errors too")
	flags.StringVar(&p.why, "why", "", "`PURPOSE` of the request; it is recorded with it")
	return root
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use + " COMMAND", Short: short, Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true}
	c.AddCommand(subs...)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.HasParent() && len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		if len(args) == 0 {
			return api.Usage(cmd.CommandPath() + " needs a command: " + strings.Join(names, ", "))
		}
		return api.Usage(fmt.Sprintf("%s has no command %q; it has: %s", cmd.CommandPath(), args[0], strings.Join(names, ", ")))
	}
	return c
}
