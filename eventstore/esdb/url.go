package esdb

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// An address is what a connection string says.
type address struct {
	seeds    []string // host:port
	discover bool     // one name for a cluster
	tls      bool
	verify   bool
	user     Account
	caFile   string
	certFile string
	keyFile  string
}

const defaultPort = "2113"

// parseURL reads a connection string. It does not leave it to the client, which
// only logs a setting that it does not know and stops reading at a bad deadline.
func parseURL(s string) (address, error) {
	a := address{tls: true, verify: true}
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok || (scheme != "esdb" && scheme != "esdb+discover"):
		return a, fmt.Errorf("%w: the URL begins with neither esdb:// nor esdb+discover://", ErrConfig)
	case scheme == "esdb+discover":
		a.discover = true
	}
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if err := a.setUser(rest[:at]); err != nil {
			return a, err
		}
		rest = rest[at+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if path != "" {
		return a, fmt.Errorf("%w: the URL has a path %q", ErrConfig, path)
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if err := a.addSeed(host); err != nil {
			return a, err
		}
	}
	return a, a.settings(query)
}

// cluster says that the leader has to be looked for.
func (a *address) cluster() bool { return a.discover || len(a.seeds) > 1 }

func (a *address) setUser(info string) error {
	name, password, _ := strings.Cut(info, ":")
	var err error
	if a.user.User, err = url.PathUnescape(name); err != nil || a.user.User == "" {
		return fmt.Errorf("%w: the user in the URL", ErrConfig)
	}
	if a.user.Password, err = url.PathUnescape(password); err != nil {
		return fmt.Errorf("%w: the password in the URL", ErrConfig)
	}
	return nil
}

func (a *address) addSeed(host string) error {
	name, port, err := net.SplitHostPort(host)
	if err != nil && !strings.Contains(host, ":") {
		name, port, err = host, defaultPort, nil
	}
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || name == "" {
		return fmt.Errorf("%w: %q in the URL is not host:port", ErrConfig, host)
	}
	a.seeds = append(a.seeds, net.JoinHostPort(name, port))
	return nil
}

func (a *address) settings(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("%w: the settings of the URL: %w", ErrConfig, err)
	}
	for name, v := range values {
		if len(v) != 1 {
			return fmt.Errorf("%w: setting %s stands %d times in the URL", ErrConfig, name, len(v))
		}
		if err := a.set(name, v[0]); err != nil {
			return err
		}
	}
	return nil
}

func (a *address) set(name, value string) (err error) {
	switch strings.ToLower(name) {
	case "tls":
		a.tls, err = strconv.ParseBool(value)
	case "tlsverifycert":
		a.verify, err = strconv.ParseBool(value)
	case "tlscafile":
		a.caFile = value
	case "usercertfile":
		a.certFile = value
	case "userkeyfile":
		a.keyFile = value
	default:
		return fmt.Errorf("%w: unknown setting %s in the URL", ErrConfig, name)
	}
	if err != nil {
		return fmt.Errorf("%w: setting %s of the URL is neither true nor false", ErrConfig, name)
	}
	return nil
}
