package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	log "github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// leadership bounds how long a raft node may take to elect itself.
const leadership = time.Minute

// noBuiltins is a plugin catalogue without built-ins: every engine is compiled
// in through the core's configuration.
type noBuiltins struct{}

func (noBuiltins) Contains(string, consts.PluginType) bool                   { return false }
func (noBuiltins) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }
func (noBuiltins) Keys(consts.PluginType) []string                           { return nil }
func (noBuiltins) IsBuiltinEntPlugin(string, consts.PluginType) bool         { return false }
func (noBuiltins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

// A server is one core and its listener.
type server struct {
	options
	core     *vault.Core
	listener net.Listener
	http     *http.Server
	line     ready
}

// secrets are what initialising gave, kept beside the data.
type secrets struct {
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
}

func open(o options) (*server, error) {
	s := &server{options: o}
	data := filepath.Join(o.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.listener, err = net.Listen("tcp", o.listen); err != nil {
		return nil, err
	}
	s.line.Addr = "http://" + s.listener.Addr().String()
	logger := log.New(&log.LoggerOptions{Name: "vault", Level: log.LevelFromString(o.level), Output: os.Stderr})
	conf, err := s.config(data, logger)
	if err != nil {
		return nil, err
	}
	if s.core, err = vault.NewCore(conf); err != nil {
		return nil, err
	}
	properties := &vault.HandlerProperties{Core: s.core, ListenerConfig: &configutil.Listener{
		Type: "tcp", Address: s.listener.Addr().String(), MaxRequestSize: vaulthttp.DefaultMaxRequestSize,
	}}
	if s.line.Cluster != "" {
		address, err := net.ResolveTCPAddr("tcp", s.line.Cluster)
		if err != nil {
			return nil, err
		}
		s.core.SetClusterListenerAddrs([]*net.TCPAddr{address})
	}
	s.core.SetClusterHandler(vaulthttp.Handler.Handler(properties))
	s.http = &http.Server{Handler: vaulthttp.Handler.Handler(properties), ReadHeaderTimeout: 10 * time.Second}
	return s, nil
}

func (s *server) config(data string, logger log.Logger) (*vault.CoreConfig, error) {
	conf := &vault.CoreConfig{
		StorageType:        s.storage,
		BuiltinRegistry:    noBuiltins{},
		LogicalBackends:    map[string]logical.Factory{"transit": transit.Factory, "kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		DisableMlock:       true,
		Logger:             logger,
		RedirectAddr:       s.line.Addr,
		DefaultLeaseTTL:    768 * time.Hour,
		MaxLeaseTTL:        768 * time.Hour,
	}
	var err error
	switch s.storage {
	case "inmem":
		conf.Physical, err = inmem.NewTransactionalInmem(nil, logger)
	case "raft":
		err = s.onRaft(conf, data, logger)
	default:
		err = fmt.Errorf("no storage %q", s.storage)
	}
	return conf, err
}

// onRaft makes a cluster of one.
func (s *server) onRaft(conf *vault.CoreConfig, data string, logger log.Logger) (err error) {
	if s.line.Cluster, err = freeAddress(s.cluster); err != nil {
		return err
	}
	conf.ClusterAddr = "https://" + s.line.Cluster
	conf.Physical, err = raft.NewRaftBackend(map[string]string{
		"path": data, "node_id": "one", "performance_multiplier": "1",
	}, logger)
	if err != nil {
		return err
	}
	ha, ok := conf.Physical.(physical.HABackend)
	if !ok {
		return errors.New("raft is not highly available")
	}
	conf.HAPhysical = ha
	return nil
}

// freeAddress picks a port where the address names none.
func freeAddress(address string) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start initialises or reads the secrets, unseals, and serves.
func (s *server) start(ctx context.Context) (ready, error) {
	ctx = namespace.RootContext(ctx)
	known, err := s.initialise(ctx)
	if err != nil {
		return ready{}, err
	}
	key, err := hex.DecodeString(known.UnsealKey)
	if err != nil {
		return ready{}, err
	}
	if done, err := s.core.Unseal(key); err != nil || !done {
		return ready{}, fmt.Errorf("unsealing: done %v: %w", done, err)
	}
	if err := s.awaitLeadership(ctx); err != nil {
		return ready{}, err
	}
	go s.http.Serve(s.listener) //nolint:errcheck // it ends with the listener, in stop
	s.line.RootToken, s.line.UnsealKey = known.RootToken, known.UnsealKey
	return s.line, nil
}

func (s *server) initialise(ctx context.Context) (known secrets, err error) {
	file := filepath.Join(s.dir, "init.json")
	done, err := s.core.Initialized(ctx)
	if err != nil {
		return known, err
	}
	if done {
		raw, err := os.ReadFile(file)
		if err != nil {
			return known, err
		}
		return known, json.Unmarshal(raw, &known)
	}
	one := func() *vault.SealConfig { return &vault.SealConfig{SecretShares: 1, SecretThreshold: 1} }
	result, err := s.core.Initialize(ctx, &vault.InitParams{BarrierConfig: one(), RecoveryConfig: one()})
	if err != nil {
		return known, err
	}
	known = secrets{hex.EncodeToString(result.SecretShares[0]), result.RootToken}
	raw, err := json.Marshal(known)
	if err != nil {
		return known, err
	}
	return known, os.WriteFile(file, raw, 0o600)
}

func (s *server) awaitLeadership(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leadership)
	defer cancel()
	for {
		standby, err := s.core.Standby()
		if err == nil && !standby {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for leadership: %w", errors.Join(ctx.Err(), err))
		}
	}
}

func (s *server) stop() error {
	closed := s.http.Close()
	return errors.Join(closed, s.core.Shutdown())
}
