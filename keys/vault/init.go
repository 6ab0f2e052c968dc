package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/domain"
)

// Standard numbers of Init.
const (
	DefaultDirectory = 4096    // tables; each is read and written as a whole
	DefaultRecords   = 64      // tables of the index
	DefaultCacheSize = 100_000 // Transit keys in Vault's memory, about 10 kB each
)

// InitOptions say what Init prepares. Ledger and Clock are needed.
type InitOptions struct {
	Ledger      domain.LedgerID
	Transit, KV string // mounts; empty stands for the standard names
	// Directory and Records are fixed for ever by the first Init of a ledger; 0
	// stands for the standard numbers. About 1,000 people to a table of the
	// directory is what they are meant for.
	Directory, Records uint32
	CacheSize          int // of the Transit mount; 0: DefaultCacheSize
	// AppRoles makes the AppRole mount, where there is none, and one role for each
	// Role.
	AppRoles bool
	Clock    func() time.Time
}

// A step is one thing that Init sees to; done again it changes nothing.
type step struct {
	says string
	do   func(context.Context) error
}

// Init prepares Vault for a ledger, with a token that may mount and write
// policies: mounts, policies, AppRoles, the tables, the ledger's own keys. It is
// idempotent, and goes on where it was interrupted. Errors: ErrSetup where a
// mount is something else or the layout is another one; domain.ErrUnavailable.
func Init(ctx context.Context, admin *api.Client, o InitOptions) error {
	i, err := newInitialiser(admin, o)
	if err != nil {
		return err
	}
	for _, s := range i.steps() {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("initialising vault: %s: %w", s.says, inner(err))
		}
	}
	return nil
}

// Plan says what Init would do, line by line, with the policies in full.
func Plan(o InitOptions) (string, error) {
	i, err := newInitialiser(nil, o)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for n, s := range i.steps() {
		fmt.Fprintf(&out, "%2d. %s\n", n+1, s.says)
	}
	for _, r := range Roles() {
		text, err := Policy(r, o.Ledger, o.Transit, o.KV)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "\n# policy %s\n%s", roleName(o.Ledger, r), text)
	}
	return out.String(), nil
}

// An initialiser carries the steps out with an administrator's token.
type initialiser struct {
	InitOptions
	*Custodian
}

func newInitialiser(admin *api.Client, o InitOptions) (*initialiser, error) {
	if err := o.Ledger.Validate(); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		return nil, errors.New("initialising vault needs a clock")
	}
	for _, n := range []struct {
		have     *uint32
		standard uint32
	}{{&o.Directory, DefaultDirectory}, {&o.Records, DefaultRecords}} {
		if *n.have == 0 {
			*n.have = n.standard
		}
	}
	if o.CacheSize == 0 {
		o.CacheSize = DefaultCacheSize
	}
	opt := Options{Ledger: o.Ledger, Transit: o.Transit, KV: o.KV, Clock: o.Clock, Timeout: initTimeout}
	opt.mounts()
	o.Transit, o.KV = opt.Transit, opt.KV
	c, err := newCustodian(opt, admin)
	return &initialiser{o, c}, err
}

// initTimeout bounds one call of Init: mounting writes much at once.
const initTimeout = 30 * time.Second

func roleName(l domain.LedgerID, r Role) string { return "lethe-" + string(l) + "-" + string(r) }

func (i *initialiser) steps() []step {
	t, kv := i.InitOptions.Transit, i.InitOptions.KV
	steps := []step{
		{"mount transit at " + t, func(ctx context.Context) error { return i.mount(ctx, t, "transit", nil) }},
		{t + "/config/keys: disable_upsert, so that encrypting makes no key", func(ctx context.Context) error {
			return i.put(ctx, t+"/config/keys", map[string]bool{"disable_upsert": true})
		}},
		{fmt.Sprintf("%s/cache-config: size %d", t, i.CacheSize), func(ctx context.Context) error {
			return i.put(ctx, t+"/cache-config", map[string]int{"size": i.CacheSize})
		}},
		{"mount kv version 2 at " + kv, func(ctx context.Context) error {
			return i.mount(ctx, kv, "kv", map[string]string{"version": "2"})
		}},
		{kv + "/config: max_versions 1, cas_required", i.configureKV},
	}
	for _, r := range Roles() {
		steps = append(steps, step{"write the policy " + roleName(i.ledger, r), func(ctx context.Context) error { return i.writePolicy(ctx, r) }})
	}
	if i.AppRoles {
		steps = append(steps, step{"enable AppRole, with a role for each policy", i.makeAppRoles})
	}
	return append(steps,
		step{fmt.Sprintf("make the layout of ledger %s: %d tables of the directory, %d of the index", i.ledger, i.Directory, i.Records), i.makeLayout},
		step{"make the ledger's own keys: pepper, tag key, integrity key, signing keys", i.makeKeys},
	)
}

func (i *initialiser) put(ctx context.Context, path string, body any) error {
	return i.client.call(ctx, http.MethodPut, path, nil, body, nil)
}

// A mounted engine, as Vault lists it.
type mounted struct {
	Type    string            `json:"type"`
	Options map[string]string `json:"options"`
}

// mount mounts an engine unless it is there, also where another Init mounts it at
// the same time.
func (i *initialiser) mount(ctx context.Context, path, engine string, options map[string]string) error {
	there, ok, err := i.mounted(ctx, path)
	if err != nil {
		return err
	}
	if !ok {
		failed := i.put(ctx, "sys/mounts/"+path, map[string]any{"type": engine, "options": options})
		if failed == nil {
			return nil
		}
		if there, ok, err = i.mounted(ctx, path); err != nil || !ok {
			return failed
		}
	}
	if there.Type != engine || (options != nil && there.Options["version"] != options["version"]) {
		return fmt.Errorf("%s is mounted as %s version %q: %w", path, there.Type, there.Options["version"], ErrSetup)
	}
	return nil
}

func (i *initialiser) mounted(ctx context.Context, path string) (m mounted, ok bool, err error) {
	var all map[string]mounted
	err = i.client.call(ctx, http.MethodGet, "sys/mounts", nil, nil, &all)
	m, ok = all[path+"/"]
	return m, ok, err
}

// configureKV waits for the engine, which prepares itself after mounting.
func (i *initialiser) configureKV(ctx context.Context) error {
	body := map[string]any{"max_versions": 1, "cas_required": true}
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := i.put(ctx, i.store.mount+"/config", body)
		if err == nil || wait > 5*time.Second || !strings.Contains(err.Error(), "pgrad") {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
	}
}

func (i *initialiser) writePolicy(ctx context.Context, r Role) error {
	text, err := Policy(r, i.ledger, i.transit.mount, i.store.mount)
	if err != nil {
		return err
	}
	return i.put(ctx, "sys/policies/acl/"+roleName(i.ledger, r), map[string]string{"policy": text})
}

func (i *initialiser) makeAppRoles(ctx context.Context) error {
	var mounts map[string]struct {
		Type string `json:"type"`
	}
	if err := i.client.call(ctx, http.MethodGet, "sys/auth", nil, nil, &mounts); err != nil {
		return err
	}
	if _, ok := mounts["approle/"]; !ok {
		if err := i.put(ctx, "sys/auth/approle", map[string]string{"type": "approle"}); err != nil {
			return err
		}
	}
	for _, r := range Roles() {
		name := roleName(i.ledger, r)
		err := i.put(ctx, "auth/approle/role/"+name, map[string]any{
			"token_policies": []string{name}, "token_ttl": "1h", "token_max_ttl": "24h",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeLayout makes the tables and, when all are there, the layout that names
// their number.
func (i *initialiser) makeLayout(ctx context.Context) error {
	l, err := i.store.layout(ctx)
	switch {
	case err == nil && (l.Directory != i.Directory || l.Records != i.Records):
		return fmt.Errorf("ledger %s has %d and %d tables, for ever: %w", i.ledger, l.Directory, l.Records, ErrSetup)
	case err == nil:
		i.layout = l
		return nil
	case !errors.Is(err, errNoLayout):
		return err
	}
	if err := i.makeTables(ctx); err != nil {
		return err
	}
	i.layout = layout{Version: layoutVersion, ID: uuid.NewString(), Directory: i.Directory, Records: i.Records}
	_, err = i.store.write(ctx, layoutPath, 0, i.layout)
	if errors.Is(err, errConflict) {
		return i.makeLayout(ctx)
	}
	return err
}

func (i *initialiser) makeTables(ctx context.Context) error {
	var paths []string
	for n := range i.Directory {
		paths = append(paths, directoryPath(n))
	}
	for n := range i.Records {
		paths = append(paths, indexPath(n))
	}
	for len(paths) > 0 {
		n := min(readers, len(paths))
		err := together(n, func(k int) error {
			_, err := i.store.write(ctx, paths[k], 0, table{}.document())
			return unlessBeaten(err)
		})
		if err != nil {
			return err
		}
		paths = paths[n:]
	}
	return nil
}

func (i *initialiser) makeKeys(ctx context.Context) error {
	m, err := i.Material(ctx)
	m.Pepper.Zero()
	m.DeadTag.Zero()
	return err
}
