package esdb

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"esdb://h":                                "[h:2113] false true true {}",
		"esdb://h:1?tls=false":                    "[h:1] false false true {}",
		"esdb://u:p%40ss@h:1":                     "[h:1] false true true {u p@ss}",
		"esdb://a:1,b:2,c?tlsVerifyCert=false":    "[a:1 b:2 c:2113] false true false {}",
		"esdb+discover://h:1/":                    "[h:1] true true true {}",
		"esdb://[::1]:5":                          "[[::1]:5] false true true {}",
		"esdb://h?TLSCAFILE=a.pem&userCertFile=b": "[h:2113] false true true {} a.pem b",
		"http://h":                                "esdb://",
		"h:1":                                     "esdb://",
		"esdb://":                                 "host:port",
		"esdb://a,,b":                             "host:port",
		"esdb://h:x":                              "host:port",
		"esdb://h:0":                              "host:port",
		"esdb://h:99999":                          "host:port",
		"esdb://:secret@h":                        "user",
		"esdb://h/path":                           "path",
		"esdb://h?tls=perhaps":                    "setting tls",
		"esdb://h?defaultDeadline=x":              "unknown setting defaultDeadline",
		"esdb://h?nodePreference=follower":        "unknown setting nodePreference",
		"esdb://h?tls=true&tls=false":             "setting tls stands 2 times",
		"esdb://h?maxDiscoverAttempts=1":          "unknown setting maxDiscoverAttempts",
		"esdb://h?tls=%zz":                        "settings",
		"kurrentdb://h":                           "esdb://",
		"esdb://h?connectionName=lethe":           "unknown setting connectionName",
		"esdb://h?keepAliveInterval=-1&gossipTimeout=100": "unknown setting",
	} {
		a, err := parseURL(url)
		got := strings.TrimSpace(fmt.Sprint(a.seeds, a.discover, a.tls, a.verify, a.user, " ", a.caFile, " ", a.certFile))
		got = strings.ReplaceAll(got, "{ }", "{}")
		if err != nil {
			if got = err.Error(); !errors.Is(err, ErrConfig) || strings.Contains(got, "secret") {
				t.Errorf("%s: %v", url, err)
			}
		}
		if strings.Join(strings.Fields(got), " ") != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	t.Parallel()
	good := func() Config { return Config{URL: "esdb://h:1", Prefix: "lethe.main.", Clock: time.Now} }
	for name, change := range map[string]func(*Config){
		"nothing wrong":        func(*Config) {},
		"no URL":               func(c *Config) { c.URL = "" },
		"no clock":             func(c *Config) { c.Clock = nil },
		"no prefix":            func(c *Config) { c.Prefix = "" },
		"half a prefix":        func(c *Config) { c.Prefix = "lethe.main" },
		"accounts without tls": func(c *Config) { c.URL += "?tls=false"; c.Accounts.Writer.User = "w" },
		"user without tls":     func(c *Config) { c.URL = "esdb://u:p@h:1?tls=false" },
		"a missing CA file":    func(c *Config) { c.CAFile = "/nonexistent/ca.pem" },
		"a CA file of words":   func(c *Config) { c.CAFile = "config_test.go" },
		"a certificate alone":  func(c *Config) { c.UserCertFile = "a" },
		"a missing key":        func(c *Config) { c.UserCertFile, c.UserKeyFile = "/nonexistent/a", "/nonexistent/b" },
		"a deadline below 0":   func(c *Config) { c.Deadlines.Read = -1 },
		"a pool below 0":       func(c *Config) { c.Connections.Append = -1 },
	} {
		c := good()
		change(&c)
		if name == "a CA file of words" {
			c.CAFile = t.TempDir()
		}
		if err := c.Validate(); (name == "nothing wrong") != (err == nil) || (err != nil && !errors.Is(err, ErrConfig)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAURLsUserServesRolesWithoutAnAccount(t *testing.T) {
	t.Parallel()
	c := Config{URL: "esdb://admin:pw@h:1", Prefix: "lethe.main.", Clock: time.Now, Accounts: Accounts{Writer: Account{"w", "1"}}}
	got, err := c.resolve()
	if err != nil {
		t.Fatal(err)
	}
	admin := Account{"admin", "pw"}
	if got.Accounts != (Accounts{Account{"w", "1"}, admin, admin, admin}) || got.Nodes[0] != "h:1" {
		t.Errorf("%+v, nodes %v", got.Accounts, got.Nodes)
	}
}
