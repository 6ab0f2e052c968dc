package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// Standard names of the mounts.
const (
	TransitMount = "lethe-transit"
	KVMount      = "lethe-kv"
)

// DefaultTimeout bounds one call.
const DefaultTimeout = 2 * time.Second

// Options of Open. Address, Ledger, Auth and Clock are needed.
type Options struct {
	Address   string // of the API, such as https://vault.internal:8200
	Namespace string // of Vault Enterprise; empty elsewhere
	CACert    string // file with the authority of the server's certificate; empty: the system's
	// ActiveNode asks for every call to be forwarded to the active node. It is
	// needed behind performance standbys (Vault Enterprise), which may not yet know
	// what another node destroyed, and takes allow_forwarding_via_header there; a
	// server without that refuses the header. Other standbys always forward.
	ActiveNode bool
	Ledger     domain.LedgerID
	Auth       Auth
	// Role says what the token must be able to do, and what it must not. With
	// AnyRole, for trials and tests, it is not looked at.
	Role Role
	// Transit and KV are the mounts; empty stands for the standard names.
	Transit, KV string
	// Timeout bounds one call; 0 is DefaultTimeout.
	Timeout time.Duration
	Clock   func() time.Time
	// Transport carries the calls; nil is one of our own.
	Transport http.RoundTripper
	// Report is told what the token's renewal meets; nil: nobody is.
	Report func(error)
}

// A Custodian keeps the keys of one ledger in Vault. Any number of processes may
// have one open. Close it.
type Custodian struct {
	ledger  domain.LedgerID
	role    Role
	clock   func() time.Time
	client  *client
	transit transit
	store   store
	vessels vessels
	tables  *tables
	layout  layout
	// changing lets one caller at a time change what a ref, a block or a document
	// stands for. A turn of tables is taken within one of these, never the other
	// way round.
	changing turns
	recent   *retentions
	session  *session
}

var _ keys.Custodian = (*Custodian)(nil)

// Open logs in, checks that the token can do what its role needs and no more,
// and reads the layout. Errors match domain.ErrUnavailable where Vault cannot be
// asked, and ErrSetup among them where Init has not been run.
func Open(ctx context.Context, o Options) (*Custodian, error) {
	c, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening the keys in vault: %w", err)
	}
	return c, nil
}

func open(ctx context.Context, o Options) (*Custodian, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	a, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	c, err := newCustodian(o, a)
	if err != nil {
		return nil, err
	}
	if c.session, err = logIn(ctx, a, o); err != nil {
		c.client.close()
		return nil, err
	}
	c.client.revoked = c.session.kick
	if err = c.checkRole(ctx); err == nil {
		c.layout, err = c.store.layout(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func newCustodian(o Options, a *api.Client) (*Custodian, error) {
	cl := &client{api: a, timeout: o.Timeout, breaker: &breaker{clock: o.Clock}}
	c := &Custodian{
		ledger: o.Ledger, role: o.Role, clock: o.Clock, client: cl,
		transit: transit{client: cl, mount: o.Transit},
		store:   store{client: cl, mount: o.KV, ledger: o.Ledger},
	}
	c.vessels = vessels{store: c.store, transit: c.transit, clock: o.Clock}
	c.changing, c.recent = newTurns(), newRetentions(o.Clock)
	var err error
	c.tables, err = newTables(c.store)
	return c, err
}

func (o *Options) complete() error {
	if o.Address == "" || o.Auth == nil || o.Clock == nil {
		return errors.New("vault needs an address, a way to log in and a clock")
	}
	o.mounts()
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	return o.Ledger.Validate()
}

// mounts fills in the standard names.
func (o *Options) mounts() {
	if o.Transit == "" {
		o.Transit = TransitMount
	}
	if o.KV == "" {
		o.KV = KVMount
	}
}

// Close ends the renewal of the token and every further call. The token is left
// to run out.
func (c *Custodian) Close() error {
	c.session.close()
	c.client.close()
	c.recent.clear()
	return nil
}

// Stats are counts of this process.
type Stats struct {
	// LargestTable is the size of the largest table read so far, in bytes as
	// stored; Large says that it is beyond what is expected, and the directory
	// should have had more tables.
	LargestTable int64
	Large        bool
}

// Stats returns what was seen since Open.
func (c *Custodian) Stats() Stats {
	n := c.tables.largest.Load()
	return Stats{LargestTable: n, Large: n > largeTable}
}

// found turns absence into domain.ErrNotFound, where Vault is still the one that
// was opened.
func (c *Custodian) found(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return c.store.known(ctx, c.layout, err)
}

func (c *Custodian) newKeyName(p place) keyName {
	return newKeyName(c.ledger, p.kind, p.owner[:], c.clock())
}
