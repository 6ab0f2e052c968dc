package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

func TestRender(t *testing.T) {
	s := newSheet("", "class", "state")
	s.add("messages", "expired")
	s.add("x", "")
	for _, c := range []struct {
		framed, coloured bool
		want             string
	}{
		{false, false, "CLASS     STATE\nmessages  expired\nx         -"},
		{true, false, "┌──────────┬─────────┐\n│ CLASS    │ STATE   │\n├──────────┼─────────┤\n│ messages │ expired │\n│ x        │ -       │\n└──────────┴─────────┘"},
		{false, true, "CLASS     STATE\nmessages  \x1b[90mexpired\x1b[0m\nx         \x1b[90m-\x1b[0m"},
	} {
		if got := render(s, c.framed, c.coloured); got != c.want {
			t.Errorf("framed %t, coloured %t:\n%s\nwant\n%s", c.framed, c.coloured, got, c.want)
		}
	}
}

// TestClean: what comes out of a ledger cannot steer a terminal, in a table or in
// an error.
func TestClean(t *testing.T) {
	if got := clean("a\x1b[31mb\r\n\u202ec\x00"); strings.ContainsAny(got, "\x1b\r\n\x00\u202e") || !strings.Contains(got, "c") {
		t.Errorf("%q", got)
	}
	var errs bytes.Buffer
	p := &program{err: &errs}
	p.complain(&api.Error{Message: "one\ntwo\x1b[2J"}, false)
	if got := errs.String(); got != "lethe: one; two\ufffd[2J\n" {
		t.Errorf("%q", got)
	}
}

func TestExitCodes(t *testing.T) {
	began := &program{began: true}
	for _, c := range []struct {
		p    *program
		err  error
		exit int
		says string
	}{
		{&program{}, errors.New("unknown flag"), exitUsage, "unknown flag"},
		{began, errors.New("inner words"), exitFailed, "inner words"},
		{began, api.Usage("say more"), exitUsage, "say more"},
		{began, fmt.Errorf("erasing: %w", api.Refused("a hold stands")), exitRefused, "a hold stands"},
		{began, domain.ErrUnavailable, exitFailed, "does not answer"},
		{began, fmt.Errorf("asking: %w", context.Canceled), exitFailed, "interrupted"},
	} {
		e := c.p.explain(c.err)
		if got := exitOf(e); got != c.exit || !strings.Contains(e.Message, c.says) {
			t.Errorf("%v: exit %d, %q", c.err, got, e.Message)
		}
	}
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]string{
		"2026-05-31": "2026-05-31T00:00:00Z", "2026-05-31T12:00:00+02:00": "2026-05-31T10:00:00Z", "2026-05-31T12:00:00.5Z": "2026-05-31T12:00:00Z",
		"": "0001-01-01T00:00:00Z", "31.5.2026": "error", "2026-13-01": "error",
	} {
		got := "error"
		if at, err := moment("--before", text); err == nil {
			got = hour(at)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
