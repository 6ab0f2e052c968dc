package esdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// An Account is a login of the server. The zero Account is anonymous.
type Account struct {
	User     string
	Password string
}

// Accounts are the logins by role, each with only the rights of its role (Plan).
// A role without one uses the URL's, if there is one.
type Accounts struct {
	// Writer appends, and reads nothing.
	Writer Account
	// Reader reads and subscribes.
	Reader Account
	// Disposer truncates and deletes. A gateway does not hold it.
	Disposer Account
	// Scavenger starts scavenges. A gateway does not hold it.
	Scavenger Account
}

// Deadlines bound how long things take. Every zero is the default.
type Deadlines struct {
	// Connect bounds finding the leader and opening a connection to it: 5 s. It is
	// also what Close waits for at most, rounded up to whole seconds.
	Connect time.Duration
	// Attempt bounds one append, truncation or deletion: 5 s. The server answers a
	// repetition that it dropped only by this.
	Attempt time.Duration
	// Settle is how long an operation goes on being repeated while its outcome is
	// unknown or nobody answers: 30 s.
	Settle time.Duration
	// Read is the longest silence of a read, and how long one is tried: 10 s.
	Read time.Duration
	// Resubscribe is how long a subscription that was dropped tries to go on
	// before it ends: 30 s.
	Resubscribe time.Duration
	// Scavenge bounds a scavenge of all nodes: 24 h.
	Scavenge time.Duration
}

// Connections bound how many there are, and with that how many calls are in flight
// at once: 32 on each, where the server takes 100 and lets the next one wait in
// silence; of subscriptions one. Every zero is the default.
type Connections struct {
	Append    int // 2
	Read      int // 2
	Subscribe int // 64
	Dispose   int // 1
}

// callsAtOnce is how many calls a connection carries.
const callsAtOnce = 32

// A Config says which server, as whom, and how long. It is not changed by Open.
type Config struct {
	// URL is esdb://host:port, esdb://host1:port,host2:port (a cluster), or
	// esdb+discover://host:port (a cluster behind one name). Its settings are tls
	// and tlsVerifyCert, tlsCAFile, userCertFile and userKeyFile; another one is an
	// error. tls=false is for trials: everything, passwords included, would be
	// readable on the way, so accounts are refused with it.
	URL string
	// Prefix begins the names of the streams that are the ledger's: lethe.main. An
	// append to another stream is refused, and no other is shown.
	Prefix string
	// Nodes are the addresses, host:port, of all nodes whose disks a scavenge must
	// reach. Default: those of the URL. With esdb+discover:// it is required for
	// Scavenge, because a node that is away is not found by asking.
	Nodes    []string
	Accounts Accounts
	// CAFile holds the authorities that may sign the server's certificate, PEM.
	// Default: the machine's.
	CAFile string
	// UserCertFile and UserKeyFile are a certificate to show to the server, PEM.
	UserCertFile, UserKeyFile string
	Deadlines                 Deadlines
	Connections               Connections
	// Clock tells the time by which an operation decides whether waiting is of any
	// use. It has no default.
	Clock func() time.Time
	// Logf takes the few lines about connections; none of them holds data. The
	// default drops them.
	Logf func(format string, args ...any)
}

// ErrConfig is a setting that cannot be used; the text names it.
var ErrConfig = errors.New("configuration of the event store")

// target is a Config that was read and checked.
type target struct {
	Config
	address
	roots *x509.CertPool
	cert  []tls.Certificate
}

// Validate reports what Open would refuse before it asks a server.
func (c Config) Validate() error {
	_, err := c.resolve()
	return err
}

func (c Config) resolve() (*target, error) {
	a, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	t := &target{Config: c, address: a}
	t.adopt()
	t.defaults()
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, t.loadFiles()
}

// adopt takes what stands in the URL and not in the fields.
func (t *target) adopt() {
	for _, f := range []struct {
		field *string
		value string
	}{{&t.CAFile, t.caFile}, {&t.UserCertFile, t.certFile}, {&t.UserKeyFile, t.keyFile}} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
	for _, a := range []*Account{&t.Accounts.Writer, &t.Accounts.Reader, &t.Accounts.Disposer, &t.Accounts.Scavenger} {
		if *a == (Account{}) {
			*a = t.user
		}
	}
	if len(t.Nodes) == 0 && !t.discover {
		t.Nodes = t.seeds
	}
	if t.Logf == nil {
		t.Logf = func(string, ...any) {}
	}
}

func (t *target) defaults() {
	d, c := &t.Deadlines, &t.Connections
	for field, value := range map[*time.Duration]time.Duration{
		&d.Connect: 5 * time.Second, &d.Attempt: 5 * time.Second, &d.Settle: 30 * time.Second,
		&d.Read: 10 * time.Second, &d.Resubscribe: 30 * time.Second, &d.Scavenge: 24 * time.Hour,
	} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*int]int{&c.Append: 2, &c.Read: 2, &c.Subscribe: 64, &c.Dispose: 1} {
		if *field == 0 {
			*field = value
		}
	}
}

func (t *target) check() error {
	d, c := t.Deadlines, t.Connections
	switch {
	case t.Clock == nil:
		return fmt.Errorf("%w: no clock", ErrConfig)
	case !strings.HasPrefix(t.Prefix, "lethe.") || !strings.HasSuffix(t.Prefix, "."):
		return fmt.Errorf("%w: prefix %q is not lethe.<ledger>", ErrConfig, t.Prefix)
	case (t.UserCertFile == "") != (t.UserKeyFile == ""):
		return fmt.Errorf("%w: a user certificate and its key go together", ErrConfig)
	case !t.tls && t.Accounts != Accounts{}:
		return fmt.Errorf("%w: accounts with tls=false: the client would not send them", ErrConfig)
	case min(d.Connect, d.Attempt, d.Settle, d.Read, d.Resubscribe, d.Scavenge) < 0:
		return fmt.Errorf("%w: a deadline below zero", ErrConfig)
	case min(c.Append, c.Read, c.Subscribe, c.Dispose) < 0:
		return fmt.Errorf("%w: a number of connections below zero", ErrConfig)
	}
	return nil
}

func (t *target) loadFiles() error {
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return fmt.Errorf("%w: CA file: %w", ErrConfig, err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%w: CA file %s holds no certificate", ErrConfig, t.CAFile)
		}
	}
	if t.UserCertFile == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(t.UserCertFile, t.UserKeyFile)
	if err != nil {
		return fmt.Errorf("%w: user certificate: %w", ErrConfig, err)
	}
	t.cert = []tls.Certificate{cert}
	// The client takes relative paths from where the process was started.
	if t.UserCertFile, err = filepath.Abs(t.UserCertFile); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if t.UserKeyFile, err = filepath.Abs(t.UserKeyFile); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// keepAlive notices a connection that died without a word.
const keepAlive = 10 * time.Second

// client is the configuration of one client, which asks no other node: it tries
// once, because it cannot be stopped and a lane is thrown away anyway.
func (t *target) client(node string, a Account) *client.Configuration {
	return &client.Configuration{
		Address:                     node,
		DisableTLS:                  !t.tls,
		SkipCertificateVerification: !t.verify,
		RootCAs:                     t.roots,
		UserCertFile:                t.UserCertFile,
		UserKeyFile:                 t.UserKeyFile,
		Username:                    a.User,
		Password:                    a.Password,
		NodePreference:              client.NodePreferenceLeader,
		MaxDiscoverAttempts:         1,
		GossipTimeout:               wholeSeconds(t.Deadlines.Connect),
		KeepAliveInterval:           keepAlive,
		KeepAliveTimeout:            keepAlive,
		DefaultDeadline:             &t.Deadlines.Attempt,
	}
}

func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func (t *target) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: t.roots, Certificates: t.cert, InsecureSkipVerify: !t.verify}
}
