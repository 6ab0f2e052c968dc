package main

import (
	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) esdb() *cobra.Command {
	return group("esdb", "Prepare an EventStoreDB for the ledger", p.esdbInit())
}

// A prepared tells what an init did, or would do.
type prepared struct {
	Printed bool     `json:"printed"`
	Done    []string `json:"done"`
}

func (p *program) esdbInit() *cobra.Command {
	var admin, passwordFile string
	var print bool
	c := &cobra.Command{
		Use: "init", Short: "Make the accounts of the four roles and their rights", Args: cobra.NoArgs,
		Long: "Make the accounts that the configuration names under store.accounts, each with the\nrights of its role and no more: writer, reader, disposer, scavenger. The rights are the\nserver's defaults for all streams: the database should be the ledger's own. Called\nagain it changes nothing. --print says what it makes sure of, and asks nobody.",
	}
	c.Flags().StringVar(&admin, "admin", "admin", "`NAME` of an account in $admins")
	c.Flags().StringVar(&passwordFile, "password-file", "", "`FILE` with its password")
	c.Flags().BoolVar(&print, "print", false, "only say what it makes sure of")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.settings()
		if err != nil {
			return err
		}
		if passwordFile == "" && !print {
			return api.Usage("name the file with the password of " + admin + ": --password-file; or say --print")
		}
		done, err := cfg.InitStore(cmd.Context(), admin, passwordFile, print)
		if err != nil {
			return err
		}
		return p.emitPrepared(prepared{Printed: print, Done: done})
	})
	return c
}

func (p *program) emitPrepared(what prepared) error {
	column := "done"
	if what.Printed {
		column = "is made sure of"
	}
	if what.Done == nil {
		what.Done = []string{}
	}
	rows := newSheet("Everything is there already.", column)
	for _, line := range what.Done {
		rows.add(line)
	}
	return p.emit(what, rows)
}
