// Package discover stands in for go-discover, which only raft's auto-join uses
// and which would bring the client of every cloud.
package discover

import (
	"errors"
	"log"
)

// errAbsent answers whoever asks for a cloud.
var errAbsent = errors.New("this server has no discovery of nodes")

// Config is a parsed configuration.
type Config map[string]string

// Parse refuses every configuration.
func Parse(string) (Config, error) { return nil, errAbsent }

// String is empty: there is nothing configured.
func (c Config) String() string { return "" }

// A Provider finds nodes in one cloud.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers is empty.
var Providers = map[string]Provider{}

// Discover finds nothing.
type Discover struct{}

// An Option changes nothing.
type Option func(*Discover) error

// New makes a Discover.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders changes nothing.
func WithProviders(map[string]Provider) Option { return func(*Discover) error { return nil } }

// Addrs answers an error.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) { return nil, errAbsent }

// Names is empty.
func (*Discover) Names() []string { return nil }
