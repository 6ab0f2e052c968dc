package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// eraseFlags are what an erasure can be narrowed to, and what is written down
// about it.
type eraseFlags struct {
	request      api.EraseRequest
	from, before string
	yes          bool
}

func (p *program) erase() *cobra.Command {
	var f eraseFlags
	c := &cobra.Command{
		Use: "erase ID | --request R", Short: "Erase a person, some classes, a purpose or a date range", Args: cobra.MaximumNArgs(1),
		Long: "Erase by destroying keys. When it answers, nothing of what was named opens any\nmore, and a signed receipt says so. It cannot be undone. Without --class,\n--purpose, --from and --before everything about the person is erased, but for\nwhat the law keeps.\n\n--request alone finishes a request that was interrupted." + idHelp,
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.request.Classes, "class", nil, "only this data `CLASS`; may be repeated")
	flags.StringVar(&f.request.Purpose, "purpose", "", "only the classes of this processing `PURPOSE`")
	flags.StringVar(&f.from, "from", "", "only from this `DATE` or time on (RFC 3339)")
	flags.StringVar(&f.before, "before", "", "only before this `DATE` or time (RFC 3339)")
	flags.StringVar(&f.request.Ground, "ground", "", "legal `GROUND`, such as A17-1-b (default: A17-1)")
	flags.StringVar(&f.request.Reason, "reason", "", "`TEXT` for the request's sealed file")
	flags.StringVar(&f.request.Request, "request", "", "`UUID` of the request: names a new one, or the one to finish")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error { return p.runErase(cmd, args, f) })
	return c
}

func (p *program) runErase(cmd *cobra.Command, args []string, f eraseFlags) error {
	if err := f.complete(args); err != nil {
		return err
	}
	r := f.request
	if len(args) == 1 {
		var err error
		if r.ID, err = p.external(args[0]); err != nil {
			return err
		}
		if err := p.confirm(f, args[0] == "-"); err != nil {
			return err
		}
	}
	return p.with(cmd, whyRequest, func(ctx context.Context, s api.Service, by api.Caller) error {
		done, err := s.Erase(ctx, by, r)
		if err == nil || done.State == api.StatePending {
			err = errors.Join(err, p.emit(done, eraseSheets(done)...))
		}
		return unfinished(r.Request, err)
	})
}

// unfinished tells how to go on after an error that leaves open how far the
// request came. The same request again is no second one.
func unfinished(request string, err error) error {
	if err == nil || errors.Is(err, api.ErrNoServer) {
		return err
	}
	switch e := api.Wire(err); e.Code {
	case api.CodeUnavailable, api.CodeInternal, api.CodeConflict, api.CodeTampered:
		return &api.Error{Code: e.Code, Message: fmt.Sprintf("%s. Something may still open: the same command with --request %s finishes the erasure",
			strings.TrimSuffix(reason(e, err), "."), request)}
	}
	return err
}

// reason is what is told of an error: its sentence, or its own words where it has
// none. An outage in this process is told by both: they name the file and the
// remedy.
func reason(e *api.Error, err error) string {
	switch e.Code {
	case api.CodeInternal:
		return err.Error()
	case api.CodeUnavailable:
		return e.Message + ": " + err.Error()
	}
	return e.Message
}

// complete reads dates and refuses what cannot be meant. A request without an id
// gets one here, so that sending it again is the same request.
func (f *eraseFlags) complete(args []string) (err error) {
	r := &f.request
	narrow := len(r.Classes) > 0 || r.Purpose != "" || f.from != "" || f.before != ""
	switch {
	case len(args) == 0 && r.Request == "":
		return api.Usage("name the person, or the request to finish: lethe erase ID, or lethe erase --request R")
	case len(args) == 0 && narrow:
		return api.Usage("a request to finish stands as it was made: --request alone")
	}
	if r.Request == "" {
		r.Request = uuid.NewString()
	} else if u, err := uuid.Parse(r.Request); err != nil || u.String() != r.Request {
		return api.Usage("--request is a UUID in lower case")
	}
	if r.From, err = moment("--from", f.from); err != nil {
		return err
	}
	r.Before, err = moment("--before", f.before)
	return err
}

// moment reads a flag's time, or day in UTC; "" is the zero time.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, api.Usage(flag + " is a date or an RFC 3339 time, such as 2026-05-31 or 2026-05-31T12:00:00Z")
}

// confirm asks a person. Whoever is no person says --yes.
func (p *program) confirm(f eraseFlags, stdinUsed bool) error {
	switch {
	case f.yes:
		return nil
	case stdinUsed || !isTerminal(p.in):
		return api.Refused("an erasure cannot be undone; nobody is there to ask, so say --yes")
	}
	what := "everything that is held about this person"
	if len(f.request.Classes) > 0 || f.request.Purpose != "" || !f.request.From.IsZero() || !f.request.Before.IsZero() {
		what = "what the flags name of this person"
	}
	_, _ = fmt.Fprintf(p.err, "This destroys the keys of %s. It cannot be undone.\nType erase to go on: ", what)
	line, _ := bufio.NewReader(p.in).ReadString('\n') // an end without a word is a no
	if strings.TrimSpace(line) != "erase" {
		return api.Refused("not erased")
	}
	return nil
}

func eraseSheets(r api.EraseResult) []*sheet {
	head := pairs("request", r.Request, "state", r.State)
	if r.State == api.StatePending || r.Receipt.ID == "" {
		return []*sheet{head}
	}
	return []*sheet{pairs("request", r.Request, "state", r.State, "receipt", r.Receipt.ID, "ground", r.Receipt.Ground,
		"classes", r.Receipt.Classes, "withheld", r.Receipt.Withheld, "buckets", r.Receipt.Buckets,
		"keys destroyed", r.Receipt.KeysDestroyed, "effective at", r.Receipt.EffectiveAt)}
}
