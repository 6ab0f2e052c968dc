package main

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) migrate() *cobra.Command {
	var to string
	var copyOnly bool
	c := &cobra.Command{
		Use: "migrate --to CONFIG", Short: "Copy the embedded log into an EventStoreDB", Args: cobra.NoArgs,
		Long: `Copy the embedded log of the data directory into the EventStoreDB that CONFIG names:
the same events in the same streams, at the same revisions and in the same order.
Stop lethe serve before, and take a copy of the directory. Interrupted, the same
command goes on; a database that holds something else under this ledger's name is
refused. At the end both logs are read whole and compared, event by event.

Then the directory goes on with the new log: serve it with CONFIG. Its views are made
anew, its leaf entries are kept. The old log stays in DIR/log: remove it when the new
one has served, and never serve it again. --copy-only changes nothing in the directory,
for a rehearsal: with it the old log can go on, and the next run copies what came since.

Keys stay where they are: CONFIG names the same data directory, and the embedded
custodian. No key is moved into Vault by this release: a ledger that is to run on
Vault, with several gateways, begins there.`,
	}
	c.Flags().StringVar(&to, "to", "", "configuration `FILE` with store.engine: eventstoredb")
	c.Flags().BoolVar(&copyOnly, "copy-only", false, "leave the data directory with the old log")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		if to == "" {
			return api.Usage("say where to: --to FILE names a configuration with store.engine: eventstoredb")
		}
		from, goal, err := p.ends(to)
		if err != nil {
			return err
		}
		if err := lethe.HardenProcess(); err != nil {
			return fmt.Errorf("hardening the process: %w", err)
		}
		m := p.meter("copying and comparing")
		done, err := lethe.Migrate(cmd.Context(), from, goal, lethe.MigrateOptions{
			Options:  lethe.Options{Logger: p.logger(zerolog.WarnLevel, isTerminal(p.err)), Clock: time.Now, Version: version()},
			CopyOnly: copyOnly, Progress: m.progress(),
		})
		m.end()
		if err != nil {
			return err
		}
		return p.emit(done, migrated(done))
	})
	return c
}

// ends are the configurations of both logs. Without --data and --config the log is
// in the directory that CONFIG names, where its keys are.
func (p *program) ends(to string) (from, goal *lethe.Config, err error) {
	if goal, err = lethe.LoadConfig(to); err != nil {
		return nil, nil, &api.Error{Code: api.CodeUsage, Message: err.Error()}
	}
	if from, err = p.settings(); err != nil {
		return nil, nil, err
	}
	if p.data == "" && p.config == "" {
		from.SetData(goal.Data)
	}
	return from, goal, nil
}

func migrated(m lethe.Migration) *sheet {
	s := pairs("events", m.Events, "copied now", m.Copied, "streams", m.Streams, "streams deleted for ever", m.Deleted,
		"revisions filled", m.Filled, "leaf entries equal", yes(m.Verified), "SHA-256 of them", m.Leaves, "data directory goes on with it", yes(m.Switched))
	if m.Switched {
		s.after = "Serve it with that configuration now, and never the old log again."
	}
	return s
}
