package vault

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// A Role is what a process does with the keys, and so the policy of its token.
type Role string

// The roles. AnyRole is for trials and tests.
const (
	AnyRole  Role = ""
	Gateway  Role = "gateway"
	Eraser   Role = "eraser"
	Auditor  Role = "auditor"
	Operator Role = "operator"
)

// Roles lists those that have a policy.
func Roles() []Role { return []Role{Gateway, Eraser, Auditor, Operator} }

//go:embed policies/*.hcl
var policyFiles embed.FS

// Policy returns a role's policy for a ledger and its mounts, as HCL. Empty
// mounts stand for the standard names.
func Policy(r Role, l domain.LedgerID, transitMount, kvMount string) (string, error) {
	raw, err := policyFiles.ReadFile("policies/" + string(r) + ".hcl")
	if err != nil {
		return "", fmt.Errorf("no policy for the role %q", string(r))
	}
	o := Options{Transit: transitMount, KV: kvMount}
	o.mounts()
	return strings.NewReplacer(
		"/main/", "/"+string(l)+"/", `ledger "main"`, `ledger "`+string(l)+`"`,
		TransitMount, o.Transit, KVMount, o.KV,
	).Replace(string(raw)), nil
}

// mayDestroy refuses a destruction before anything is written, where the token
// could begin it and not end it.
func (c *Custodian) mayDestroy() error {
	if c.role == AnyRole || c.role == Eraser {
		return nil
	}
	return fmt.Errorf("a %s destroys nothing: %w", c.role, ErrRefused)
}

// A right is a path and what may be done with it.
type right struct {
	path  string
	can   []string
	never []string
}

// rights returns what a role's token must be able to do and what it must not.
func (c *Custodian) rights() []right {
	t, s := c.transit.mount, c.store
	key := t + "/keys/" + string(c.ledger) + "-p-0-a-a"
	gateway, eraser, auditor := c.role == Gateway, c.role == Eraser, c.role == Auditor
	uses := gateway || eraser
	return []right{
		may(key, uses, "update"), may(key, eraser, "delete"), may(key, eraser || auditor, "read"),
		may(key+"/config", eraser, "update"),
		may(t+"/keys", eraser, "list"),
		may(t+"/datakey/plaintext/a", uses, "update"),
		may(t+"/decrypt/a", uses, "update"),
		may(t+"/encrypt/a", false, "create"),
		may(t+"/export/encryption-key/a", false, "read"),
		may(t+"/backup/a", false, "read"),
		may(t+"/config/keys", c.role == Operator, "update"),
		may("sys/mounts/"+t, false, "update", "delete"),
		may("sys/mounts/"+s.mount, false, "update", "delete"),
		may(s.at("data", "persons/a"), uses, "create", "read", "update"),
		may(s.at("data", "directory/0000"), uses, "update"),
		may(s.at("data", "directory/0000"), uses || auditor, "read"),
		may(s.at("data", "material"), uses, "read"),
		may(s.at("data", "signing/receipt"), eraser, "read"),
		may(s.at("metadata", "persons/a"), eraser, "delete"),
		may(s.at("metadata", "directory/0000"), false, "delete"),
		may(s.at("metadata", "retention/a/0/2026"), false, "delete"),
		may(s.at("metadata", ""), false, "list"),
	}
}

func may(path string, yes bool, what ...string) right {
	if yes {
		return right{path: path, can: what}
	}
	return right{path: path, never: what}
}

// checkRole asks Vault what the token can do.
func (c *Custodian) checkRole(ctx context.Context) error {
	if c.role == AnyRole {
		return nil
	}
	if !slices.Contains(Roles(), c.role) {
		return fmt.Errorf("no such role: %q", string(c.role))
	}
	rights := c.rights()
	var paths []string
	for _, r := range rights {
		paths = append(paths, r.path)
	}
	var has map[string][]string
	err := c.client.call(ctx, http.MethodPut, "sys/capabilities-self", nil, map[string][]string{"paths": paths}, &has)
	if err != nil {
		return fmt.Errorf("asking what the token can do: %w", inner(err))
	}
	var faults []error
	for _, r := range rights {
		faults = append(faults, r.check(has[r.path]))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("the token is not that of a %s: %w: %w", c.role, ErrRefused, err)
	}
	return nil
}

func (r right) check(has []string) error {
	all := slices.Contains(has, "root")
	for _, want := range r.can {
		if !all && !slices.Contains(has, want) {
			return fmt.Errorf("it cannot %s %s", want, r.path)
		}
	}
	for _, never := range r.never {
		if all || slices.Contains(has, never) {
			return fmt.Errorf("it can %s %s, which it must not", never, r.path)
		}
	}
	return nil
}
