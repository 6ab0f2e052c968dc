package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) vault() *cobra.Command {
	return group("vault", "Prepare a Vault for the ledger's keys", p.vaultInit())
}

func (p *program) vaultInit() *cobra.Command {
	var tokenFile string
	var print bool
	c := &cobra.Command{
		Use: "init", Short: "Make mounts, policies, roles and the ledger's own keys", Args: cobra.NoArgs,
		Long: "Make what the ledger needs in the Vault of the configuration: two mounts that nothing\nelse uses, a policy and an AppRole for each role, the tables of the directory, and\nthe keys of the ledger itself. Called again it changes nothing. --print says what it\nsees to, and asks nobody.",
	}
	c.Flags().StringVar(&tokenFile, "token-file", "", "`FILE` with a token that may mount and write policies")
	c.Flags().BoolVar(&print, "print", false, "only say what it sees to")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.settings()
		if err != nil {
			return err
		}
		if tokenFile == "" && !print {
			return api.Usage("name the file with the token: --token-file; or say --print")
		}
		plan, err := cfg.InitKeys(cmd.Context(), tokenFile, print)
		if err != nil {
			return err
		}
		return p.emitPrepared(prepared{Printed: print, Done: strings.Split(strings.TrimSpace(plan), "\n")})
	})
	return c
}
