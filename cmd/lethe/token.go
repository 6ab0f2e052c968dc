package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) token() *cobra.Command {
	return group("token", "Make, list and revoke the named tokens of principals", p.tokenCreate(), p.tokenList(), p.tokenRevoke())
}

func (p *program) tokenCreate() *cobra.Command {
	var name, role string
	c := &cobra.Command{
		Use: "create --name N --role R", Short: "Make a token; it is shown once", Args: cobra.NoArgs,
		Long: "Make a token for a principal: everything done with it is recorded under its name.\n\n  operator  may do everything\n  legal     shows, exports and erases people; reads receipts, retention, views\n  auditor   reads receipts, retention, views, keys; replays\n  subject   has no call of the admin API",
	}
	c.Flags().StringVar(&name, "name", "", "`NAME` of the principal")
	c.Flags().StringVar(&role, "role", "", "`ROLE`: operator, auditor, legal or subject")
	roles := cobra.FixedCompletions([]string{api.RoleOperator, api.RoleAuditor, api.RoleLegal, api.RoleSubject}, cobra.ShellCompDirectiveNoFileComp)
	cobra.CheckErr(c.RegisterFlagCompletionFunc("role", roles)) // fails only for a flag that is not there
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		if name == "" || role == "" {
			return api.Usage("say whose token and for what: --name N --role operator|auditor|legal|subject")
		}
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			t, err := s.TokenCreate(ctx, by, name, role)
			if err != nil {
				return err
			}
			shown := pairs("name", t.Name, "role", t.Role, "created", t.Created, "token", t.Token)
			shown.after = "The token is not shown again."
			return p.emit(t, shown)
		})
	})
	return c
}

func (p *program) tokenList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List tokens, without their secrets", Args: cobra.NoArgs}
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			list, err := s.TokenList(ctx, by)
			if err != nil {
				return err
			}
			rows := newSheet("There are no tokens; lethe token create makes one.", "name", "role", "created")
			for _, t := range list.Tokens {
				rows.add(t.Name, t.Role, t.Created)
			}
			return p.emit(list, rows)
		})
	})
	return c
}

// A revoked answers token revoke.
type revoked struct {
	Revoked string `json:"revoked"`
}

func (p *program) tokenRevoke() *cobra.Command {
	c := &cobra.Command{Use: "revoke NAME", Short: "Revoke a token; it is refused from then on", Args: cobra.ExactArgs(1)}
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			if err := s.TokenRevoke(ctx, by, args[0]); err != nil {
				return err
			}
			return p.emit(revoked{Revoked: args[0]}, pairs("revoked", args[0]))
		})
	})
	return c
}
