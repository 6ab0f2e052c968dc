package esdb

import (
	"encoding/json"
	"fmt"
	"slices"
)

// The groups of the roles: one account in each, so that an account is replaced
// without touching a right.
const (
	writers  = "lethe-writers"
	readers  = "lethe-readers"
	disposal = "lethe-disposers"
	ops      = "$ops" // the server's own: may scavenge, and reads nothing
	admins   = "$admins"
)

// A role is an account that Init makes.
type role struct {
	name    string
	account Account
	group   string
}

func (t *target) roles() []role {
	return []role{
		{"writer", t.Accounts.Writer, writers},
		{"reader", t.Accounts.Reader, readers},
		{"disposer", t.Accounts.Disposer, disposal},
		{"scavenger", t.Accounts.Scavenger, ops},
	}
}

// rights is an access control list as the server keeps it.
type rights struct {
	Read      []string `json:"$r"`
	Write     []string `json:"$w"`
	Delete    []string `json:"$d"`
	ReadMeta  []string `json:"$mr"`
	WriteMeta []string `json:"$mw"`
}

// streamRights are those of every stream without a list of its own. A list of a
// stream would die with a deletion that is not for ever.
func streamRights() rights {
	return rights{
		Read: []string{readers, disposal}, Write: []string{writers}, Delete: []string{disposal},
		ReadMeta: []string{readers, disposal}, WriteMeta: []string{disposal},
	}
}

func adminRights() rights {
	only := []string{admins}
	return rights{Read: only, Write: only, Delete: only, ReadMeta: only, WriteMeta: only}
}

// logRights let the reader read the whole log, which nobody but an administrator
// may by default.
func logRights() rights {
	r := adminRights()
	r.Read = []string{admins, readers}
	return r
}

// The server's streams that hold the lists.
const (
	settingsStream = "$settings"
	settingsType   = "update-default-acl"
	logMetadata    = "$$$all"
	metadataType   = "$metadata"
)

func settingsDocument() map[string]rights {
	return map[string]rights{"$userStreamAcl": streamRights(), "$systemStreamAcl": adminRights()}
}

func (t *target) checkRoles() error {
	if !t.tls {
		return fmt.Errorf("%w: accounts need tls", ErrConfig)
	}
	var names []string
	for _, r := range t.roles() {
		if r.account.User == "" || r.account.Password == "" {
			return fmt.Errorf("%w: the %s has no account", ErrConfig, r.name)
		}
		if slices.Contains(names, r.account.User) {
			return fmt.Errorf("%w: account %s has two roles", ErrConfig, r.account.User)
		}
		names = append(names, r.account.User)
	}
	return nil
}

// Plan returns what Init would make sure of, one sentence each, without asking a
// server. No password is in it. Errors: ErrConfig.
func (c Config) Plan() ([]string, error) {
	t, err := c.planned()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range t.roles() {
		out = append(out, fmt.Sprintf("account %s (%s) in group %s, by PUT or POST /users", r.account.User, r.name, r.group))
	}
	settings, err := json.Marshal(settingsDocument())
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(logRights())
	if err != nil {
		return nil, err
	}
	return append(out,
		fmt.Sprintf("rights of every stream of this server, event %s of stream %s: %s", settingsType, settingsStream, settings),
		fmt.Sprintf("rights of the whole log, $acl in the metadata of $all: %s", list),
	), nil
}

// planned is resolve for Init, which a password in the URL must not stand in for.
func (c Config) planned() (*target, error) {
	t, err := c.resolve()
	if err != nil {
		return nil, err
	}
	return t, t.checkRoles()
}
