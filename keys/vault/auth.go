package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// An Auth logs in. Login may be called again, whenever a token ran out.
type Auth interface {
	Login(ctx context.Context, a *api.Client) (*api.Secret, error)
}

// Token is a token that somebody else made. It is renewed where it can be, and
// asked for again from Read when it ran out.
type Token struct {
	// Read returns the token, such as from a file that an agent writes.
	Read func() (string, error)
}

// Login looks the token up.
func (t Token) Login(ctx context.Context, a *api.Client) (*api.Secret, error) {
	token, err := t.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	mine, err := a.CloneWithHeaders() // a plain clone takes the namespace from the environment
	if err != nil {
		return nil, err
	}
	mine.SetToken(token)
	self, err := mine.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		return nil, err
	}
	renewable, err := self.TokenIsRenewable()
	if err != nil {
		return nil, err
	}
	left, err := self.TokenTTL()
	if err != nil {
		return nil, err
	}
	return &api.Secret{Auth: &api.SecretAuth{ClientToken: token, Renewable: renewable, LeaseDuration: int(left.Seconds())}}, nil
}

// AppRole logs in with a role id and a secret id.
type AppRole struct {
	Mount  string // empty: approle
	RoleID string
	// SecretID returns the secret id, or, where Wrapped is set, the token that it
	// was wrapped into, which serves once: the secret id is then kept in memory
	// for later logins.
	SecretID func() (string, error)
	Wrapped  bool

	mu        sync.Mutex // guards unwrapped
	unwrapped string
}

// Login logs in.
func (r *AppRole) Login(ctx context.Context, a *api.Client) (*api.Secret, error) {
	secret, err := r.secretID(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("reading the secret id: %w", err)
	}
	var options []approle.LoginOption
	if r.Mount != "" {
		options = append(options, approle.WithMountPath(r.Mount))
	}
	method, err := approle.NewAppRoleAuth(r.RoleID, &approle.SecretID{FromString: secret}, options...)
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, a)
}

func (r *AppRole) secretID(ctx context.Context, a *api.Client) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unwrapped != "" {
		return r.unwrapped, nil
	}
	given, err := r.SecretID()
	if err != nil || !r.Wrapped {
		return given, err
	}
	// The wrapping token itself authorises the unwrapping.
	secret, err := a.Logical().UnwrapWithContext(ctx, given)
	if err != nil {
		return "", fmt.Errorf("unwrapping, which works once: if this process did not do it, somebody else did: %w", err)
	}
	if secret != nil {
		r.unwrapped, _ = secret.Data["secret_id"].(string)
	}
	if r.unwrapped == "" {
		return "", errors.New("the wrapped answer holds no secret id")
	}
	return r.unwrapped, nil
}

// Kubernetes logs in with the token of the pod's service account.
type Kubernetes struct {
	Mount     string // empty: kubernetes
	Role      string
	TokenFile string // empty: where Kubernetes puts it
}

// Login logs in.
func (k Kubernetes) Login(ctx context.Context, a *api.Client) (*api.Secret, error) {
	var options []kubernetes.LoginOption
	if k.Mount != "" {
		options = append(options, kubernetes.WithMountPath(k.Mount))
	}
	if k.TokenFile != "" {
		options = append(options, kubernetes.WithServiceAccountTokenPath(k.TokenFile))
	}
	method, err := kubernetes.NewKubernetesAuth(k.Role, options...)
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, a)
}

// Waits between logins that fail.
const (
	minRelogin = time.Second
	maxRelogin = 30 * time.Second
)

// A session keeps a token alive: one goroutine renews it and logs in again when
// that ends, for whatever reason, until close.
type session struct {
	api    *api.Client
	auth   Auth
	report func(error)
	limit  time.Duration
	kicked chan struct{} // holds one: a call met a token that is no more
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// logIn logs in once and begins to renew.
func logIn(ctx context.Context, a *api.Client, o Options) (*session, error) {
	s := &session{api: a, auth: o.Auth, report: o.Report, limit: o.Timeout, kicked: make(chan struct{}, 1)}
	secret, err := s.login(ctx)
	if err != nil {
		return nil, fmt.Errorf("logging in: %w", err)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.done.Go(func() { s.keep(running, secret) })
	return s, nil
}

func (s *session) login(ctx context.Context) (*api.Secret, error) {
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	secret, err := s.auth.Login(limited, s.api)
	if err != nil {
		return nil, inner(s.refused(ctx, err))
	}
	if secret == nil || secret.Auth == nil {
		return nil, fmt.Errorf("%w: the answer holds no token", ErrRefused)
	}
	select {
	case <-s.kicked: // it was the token before
	default:
	}
	s.api.SetToken(secret.Auth.ClientToken)
	return secret, nil
}

// refused classifies an error of logging in. A wrong secret id is a status 400.
func (s *session) refused(ctx context.Context, err error) error {
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == 400 {
		return fmt.Errorf("%w: %v", ErrRefused, err) //nolint:errorlint // its parts are of no use to anybody
	}
	return classify(ctx, err)
}

// keep renews until the token cannot be renewed any longer, and then logs in
// again; a sealed Vault is waited for.
func (s *session) keep(ctx context.Context, secret *api.Secret) {
	for wait := minRelogin; ; {
		if secret != nil {
			if !s.renew(ctx, secret) {
				return
			}
			wait = minRelogin
		}
		next, err := s.login(ctx)
		if err == nil {
			secret = next
			continue
		}
		secret = nil
		s.report(fmt.Errorf("logging in to vault again: %w", err))
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, maxRelogin)
	}
}

// renew returns true when it is time to log in again, and false at the end.
func (s *session) renew(ctx context.Context, secret *api.Secret) bool {
	if !secret.Auth.Renewable {
		return s.outlive(ctx, secret)
	}
	w, err := s.api.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
	if err != nil {
		s.report(fmt.Errorf("renewing vault's token: %w", err))
		return sleep(ctx, minRelogin)
	}
	go w.Start()
	defer w.Stop()
	for {
		select {
		case err := <-w.DoneCh(): // also where it gave up without an error
			if err != nil {
				s.report(fmt.Errorf("renewing vault's token: %w", err))
			}
			return sleep(ctx, minRelogin)
		case <-w.RenewCh():
		case <-s.kicked:
			return sleep(ctx, minRelogin)
		case <-ctx.Done():
			return false
		}
	}
}

// outlive waits for two thirds of a token's life; for ever where it has no end.
func (s *session) outlive(ctx context.Context, secret *api.Secret) bool {
	var end <-chan time.Time
	if life := time.Duration(secret.Auth.LeaseDuration) * time.Second; life > 0 {
		t := time.NewTimer(life * 2 / 3)
		defer t.Stop()
		end = t.C
	}
	select {
	case <-end:
		return true
	case <-s.kicked:
		return sleep(ctx, minRelogin)
	case <-ctx.Done():
		return false
	}
}

// kick has the session log in again: Vault does not know the token any more.
func (s *session) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// sleep returns false where the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *session) close() {
	if s != nil {
		s.cancel()
		s.done.Wait()
	}
}
