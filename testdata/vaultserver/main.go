// Command vaultserver is HashiCorp Vault's own core and HTTP API with the few
// engines that Lethe uses: transit, KV v2, AppRole, a file audit device, and
// storage in memory or on raft. It is for tests on loopback, and nothing of it
// ships: the code that it links is under the Business Source License 1.1.
//
// It initialises its directory once with a single unseal key, unseals itself and
// prints one line of JSON: address, root token, unseal key, cluster address.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

// options of one server.
type options struct {
	dir, storage, listen, cluster, level string
}

// ready is the line that the server prints when it answers.
type ready struct {
	Addr      string `json:"addr"`
	Cluster   string `json:"cluster,omitempty"`
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("vaultserver", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory of the state: data/ and init.json")
	flags.StringVar(&o.storage, "storage", "inmem", "inmem or raft")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback address of the API")
	flags.StringVar(&o.cluster, "cluster", "127.0.0.1:0", "loopback address of the raft cluster")
	flags.StringVar(&o.level, "log", "warn", "log level, on stderr")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.dir == "" {
		return fmt.Errorf("-dir is needed")
	}
	s, err := open(o)
	if err != nil {
		return err
	}
	line, err := s.start(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return err
	}
	<-ctx.Done()
	return s.stop()
}
