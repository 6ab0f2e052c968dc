package vault

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/vault/api"
)

// Bounds of the connections.
const (
	idleConnections = 64 // over plain HTTP each call under way needs one
	idleTime        = 90 * time.Second
)

// newAPI makes a client of our own settings. What the environment says is not
// read: a variable there could turn the check of the server's certificate off.
// No call is repeated.
func newAPI(o Options) (*api.Client, error) {
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	a, err := api.NewClient(&api.Config{
		Address: o.Address, Timeout: o.Timeout, MaxRetries: 0,
		HttpClient: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the client follows one itself
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	a.ClearToken()
	a.ClearNamespace()
	a.SetReadYourWrites(true)
	if o.ActiveNode {
		a.AddHeader("X-Vault-Forward", "active-node")
	}
	if o.Namespace != "" {
		a.SetNamespace(o.Namespace)
	}
	return a, nil
}

func (o Options) transport() (http.RoundTripper, error) {
	if o.Transport != nil {
		return o.Transport, nil
	}
	t := &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleTime,
		TLSHandshakeTimeout: o.Timeout, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.CACert == "" {
		return t, nil
	}
	raw, err := os.ReadFile(o.CACert)
	if err != nil {
		return nil, fmt.Errorf("reading the server's authority: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", o.CACert)
	}
	return t, nil
}
