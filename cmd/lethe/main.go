// Command lethe runs the ledger, and asks a running one.
//
// lethe serve takes WebSocket traffic. Every other command talks to a running
// serve over its admin API, or, where none runs, opens the data directory itself
// under its lock. All of them take --json; what scripts may rely on is listed in
// docs/ARCHITECTURE.md §8. The exit status is 0 for done, 1 for failed, 2 for a
// mistake in what was typed, 3 for refused by a rule.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
