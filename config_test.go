package lethe_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/domain"
)

// goodConfig is a whole file, but for the directory, which DIR stands for.
const goodConfig = `ledger: main
data: DIR/data
policy:
  controller: {name: Example SAS, address: "1 rue X, Paris", contact: privacy@example.com, dpo: dpo@example.com, country: FR}
  purposes:
    - {id: service, title: Deliver the chat service, basis: contract}
    - {id: security, title: Detect and stop abuse, basis: legitimate-interests}
  classes:
    - {id: network, purpose: security, retention: P14D, bucket: day, fields: [{name: ip, transform: truncate}, user_agent, origin]}
    - {id: lifecycle, purpose: security, retention: P6M, bucket: day, fields: [opened_at, closed_at, duration, bytes, close_reason]}
    - id: messages
      purpose: service
      retention: P30D
      bucket: day
      tiers: [P7D]
      fields: [at, direction, opcode, size]
    - {id: consent, purpose: service, retention: P3Y, bucket: month, from: withdrawn, scope: obligated, ground: A17-3-b}
    - {id: rights, purpose: service, retention: P3Y, bucket: month, from: closed, scope: obligated, ground: A17-3-b}
    - {id: access, purpose: service, retention: P1Y, bucket: month}
    - {id: preferences, purpose: service, retention: P1Y, bucket: month}
    - {id: control, purpose: service, retention: P3Y, bucket: month, scope: obligated, ground: A17-3-b}
    - {id: acts, purpose: security, retention: P3Y, bucket: month, scope: obligated, ground: A17-3-b}
  pools:
    - id: chat
      path: /chat
      capture: [network, lifecycle, messages]
      flush: {records: 128, interval: 2s}
  disposal: {within: P30D}
pools:
  chat: {upstream: "ws://127.0.0.1:9000", max_connections: 10000, idle_timeout: 5m, max_lifetime: 24h, max_message: 1MiB, origins: ["https://app.example.com"]}
listen: {address: "127.0.0.1:0", trusted_proxies: [10.0.0.0/8], proxy_protocol: true}
identify: [{header: X-User-Id}, {cookie: user}, {query: user}]
store: {engine: embedded}
keys: {custodian: embedded}
views: {engine: sqlite}
journal: {path: DIR/journal/erasures.jsonl}
`

// load writes a file with the given replacements and loads it. Its errors name
// the file lethe.yaml.
func load(t *testing.T, text string, edits ...string) (*lethe.Config, string) {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(edits); i += 2 {
		changed := strings.Replace(text, edits[i], edits[i+1], 1)
		if changed == text {
			t.Fatalf("%q is not in the file", edits[i])
		}
		text = changed
	}
	path := filepath.Join(dir, "lethe.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := lethe.LoadConfig(path)
	if err == nil {
		return c, ""
	}
	var broken *lethe.ConfigError
	if !errors.As(err, &broken) || len(broken.Problems) == 0 {
		t.Fatalf("not a ConfigError: %v", err)
	}
	return c, strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
}

func TestLoadConfig(t *testing.T) {
	c, problems := load(t, goodConfig)
	if problems != "" {
		t.Fatal(problems)
	}
	pool := c.Pools["chat"]
	if messages, _ := c.Policy.Class("messages"); messages.Retention.String() != "P30D" || messages.Tiers[0].String() != "P7D" || messages.Rule != domain.AtMost {
		t.Errorf("class messages: %+v", messages)
	}
	if network, _ := c.Policy.Class("network"); len(network.Fields) != 3 || network.Fields[0] != (domain.Field{Name: "ip", Transform: "truncate"}) || network.Fields[1].Name != "user_agent" {
		t.Errorf("class network: %+v", network)
	}
	if pool.Upstream != "ws://127.0.0.1:9000" || pool.MaxConnections != 10000 || pool.IdleTimeout != 5*time.Minute || pool.MaxMessage != 1<<20 || pool.Origins[0] != "https://app.example.com" {
		t.Errorf("pool chat: %+v", pool)
	}
	if rule, _ := c.Policy.Pool("chat"); rule.Flush != (domain.FlushRule{Records: 128, Interval: 2 * time.Second}) || rule.OnLedgerFailure != domain.FailureBlock {
		t.Errorf("rule of chat: %+v", rule)
	}
	if c.Listen.TrustedProxies[0] != netip.MustParsePrefix("10.0.0.0/8") || !c.Listen.ProxyProtocol || len(c.Identify) != 3 || c.Identify[2].Query != "user" {
		t.Errorf("listen %+v, identify %+v", c.Listen, c.Identify)
	}
	if !c.Policy.Reviewed || c.Policy.Records.Node.String() != "P1Y" || c.Admin.Address != "127.0.0.1:8081" || c.Log.Level != "info" {
		t.Errorf("defaults: %+v", c)
	}
}

// configProblems holds the texts that people read.
var configProblems = []struct {
	name  string
	edits []string
	want  string
}{
	{"unknown key", []string{"retention: P14D", "retension: P14D"}, `
lethe.yaml:9: policy.classes[0].retension: unknown key: did you mean retention?
lethe.yaml:9: policy.classes[0].retention: is missing: class network needs a period such as P30D; there is no default`},
	{"unknown key at the top", []string{"store:", "colour: red\nstore:"}, `
lethe.yaml:33: colour: unknown key: here are known ledger, data, policy, pools, listen, identify, store, keys, views, journal, admin, log`},
	{"class without period", []string{"      retention: P30D\n", ""}, `
lethe.yaml:11: policy.classes[2].retention: is missing: class messages needs a period such as P30D; there is no default`},
	{"field in no class", []string{"      flush:", "      extract: {topic: \"json:/topic\"}\n      mode: message\n      flush:"}, `
lethe.yaml:27: policy.pools[0].extract.topic: field "topic" is in no class that the pool captures: add it to the fields of one
lethe.yaml:27: policy.pools[0].extract: extract is not in this release: leave it out; message content is not looked into
lethe.yaml:28: policy.pools[0].mode: message is not in this release: write tap`},
	{"field that no event has", []string{"user_agent", "shoe_size"}, `
lethe.yaml:9: policy.classes[0].fields[1].name: no event has a field "shoe_size" and no pool extracts it: known are at, bytes, close_reason, closed_at, control_frames, direction, duration, idled_at, ip, opcode, opened_at, origin, resumed_at, size, user_agent`},
	{"two pools on one path", []string{"  disposal", twoPools, "pools:\n  chat:", "pools:\n  two: {handler: true}\n  chat:"}, `
lethe.yaml:28: policy.pools[1].path: "/chat" is that of pools[0], too: give each its own`},
	{"query identification on a public address", []string{`"127.0.0.1:0"`, `":8080"`}, `
lethe.yaml:32: identify[2].query: anybody could be anybody: listen.address :8080 is reachable from outside; use jwt, or listen on 127.0.0.1`},
	{"header identification without a trusted proxy", []string{`"127.0.0.1:0", trusted_proxies: [10.0.0.0/8], proxy_protocol: true`, `"0.0.0.0:80"`, `, {query: user}`, ``}, `
lethe.yaml:32: identify[0].header: anybody could be anybody: listen.address 0.0.0.0:80 is reachable from outside; list the proxy that sets X-User-Id in listen.trusted_proxies`},
	{"unreadable file", []string{"listen: {", "listen: {tls: {cert: DIR/none.pem}, "}, `
lethe.yaml:31: listen.tls.cert: none.pem cannot be read: give this user read access to it, or name another file
lethe.yaml:31: listen.tls.key: is missing: name the file of its key`},
	{"a directory for a key", []string{"{cookie: user}", "{jwt: {key: DIR/data/..}}"}, `
lethe.yaml:32: identify[1].jwt.key: data/.. cannot be read: give this user read access to it, or name another file`},
	{"settings of another engine", []string{"engine: embedded", "engine: embedded, url: \"esdb://x\""}, `
lethe.yaml:33: store.url: the embedded engine has no such setting: leave it out`},
	{"a log without an address", []string{"engine: embedded", "engine: eventstoredb"}, `
lethe.yaml:33: store.url: is missing: say where the log is, such as esdb+discover://a:2113,b:2113,c:2113`},
	{"a log's account without a password", []string{"engine: embedded", "engine: eventstoredb, url: \"esdb://x:2113\", accounts: {writer: {name: w, password_file: DIR/none}}"}, `
lethe.yaml:33: store.accounts.writer.password_file: none cannot be read: give this user read access to it, or name another file`},
	{"engines", []string{"engine: embedded", "engine: eventstoredb, url: \"esdb://user:secret@x\"", "custodian: embedded", "custodian: hsm", "engine: sqlite", "engine: postgres"}, `
lethe.yaml:33: store.url: holds a password: name accounts and their password files under store.accounts
lethe.yaml:34: keys.custodian: "hsm" is not known: write one of embedded, vault
lethe.yaml:35: views.url: is missing: say where PostgreSQL is, such as postgres://lethe@host:5432/lethe?sslmode=verify-full`},
	{"not built", []string{
		"      flush:", "      record: before-forward\n      after_erasure: refuse\n      recipient: \"json:/to\"\n      flush:",
		"{cookie: user}, {query: user}", "{upstream_header: X}, {forward_auth: \"http://x\"}, {first_message: \"json:/t\"}, {jwt: {jwks: \"https://x\"}}",
	}, `
lethe.yaml:24: policy.pools[0].mode: extract and recipient need mode: message; a tap does not look into payloads
lethe.yaml:27: policy.pools[0].record: before-forward is not in this release: write async
lethe.yaml:28: policy.pools[0].after_erasure: refuse is not in this release: write enrol
lethe.yaml:29: policy.pools[0].recipient: recipient is not in this release: leave it out
lethe.yaml:35: identify[1].upstream_header: identification by upstream_header is not in this release: use jwt, header, cookie or query
lethe.yaml:35: identify[2].forward_auth: identification by forward_auth is not in this release: use jwt, header, cookie or query
lethe.yaml:35: identify[3].first_message: identification by first_message is not in this release: use jwt, header, cookie or query
lethe.yaml:35: identify[4].jwt.jwks: jwks is not in this release: name a file with one key under key`},
	{"a word for a full ledger", []string{"      flush:", "      on_ledger_failure: drop\n      flush:"}, `
lethe.yaml:27: policy.pools[0].on_ledger_failure: "drop" is not known: write block, refuse or pass`},
	{"a key twice", []string{"keys:", "store: {}\nkeys:"}, `
lethe.yaml:34: store: stands here for the second time, first in line 33: keep one`},
	{"values", []string{"idle_timeout: 5m", "idle_timeout: 5 minutes", "max_message: 1MiB", "max_message: 1Mb", "max_connections: 10000", "max_connections: -1", "proxy_protocol: true", "proxy_protocol: sometimes", "retention: P14D", "retention: 14d", "[10.0.0.0/8]", "[10.0.0.0/33]"}, `
lethe.yaml:9: policy.classes[0].retention: period "14d": want an ISO 8601 duration such as P30D, P6M or PT10M
lethe.yaml:30: pools.chat.max_connections: "-1": want a whole number from 0
lethe.yaml:30: pools.chat.idle_timeout: "5 minutes": want a duration such as 500ms, 5m or 24h
lethe.yaml:30: pools.chat.max_message: "1Mb": want a size such as 64KiB or 1MiB
lethe.yaml:31: listen.trusted_proxies[0]: "10.0.0.0/33": want addresses such as 10.0.0.0/8 or 192.0.2.1/32
lethe.yaml:31: listen.proxy_protocol: "sometimes": want true or false`},
	{"shapes", []string{"{engine: embedded}", "embedded", "[{header: X-User-Id}, {cookie: user}, {query: user}]", "{header: X}", "ledger: main", "ledger: [main]"}, `
lethe.yaml:1: ledger: want one value here, not a list or a mapping
lethe.yaml:32: identify: want a list here, in brackets or with a hyphen before each item
lethe.yaml:33: store: want keys and values here`},
	{"upstreams", []string{`"ws://127.0.0.1:9000"`, `"http://user:secret@127.0.0.1:9000"`, `"https://app.example.com"`, `"app.example.com"`}, `
lethe.yaml:30: pools.chat.upstream: want ws://host:port or wss://host:port, with a path at most
lethe.yaml:30: pools.chat.origins[0]: "app.example.com": want https://app.example.com, https://*.example.com, same or *`},
	{"pools apart", []string{"pools:\n  chat:", "pools:\n  chta:"}, `
lethe.yaml:24: policy.pools[0].id: pool chat has no upstream: write pools: {chat: {upstream: "ws://127.0.0.1:9000"}}
lethe.yaml:30: pools.chta: the policy has no pool chta: add it to policy.pools, or take the settings away`},
	{"journal inside the data", []string{"DIR/journal", "DIR/data/journal"}, `
lethe.yaml:36: journal.path: data/journal/erasures.jsonl lies inside the data directory: it would be restored with the keys that it names as destroyed; choose another disk or folder`},
	{"public admin", []string{"store:", "admin: {address: \":81\"}\nstore:"}, `
lethe.yaml:33: admin.address: :81 is reachable from outside and tokens would cross the network in clear: take 127.0.0.1, and a proxy with TLS before it`},
	{"ledger and log", []string{"ledger: main", "ledger: Main-1\nlog: {level: loud, format: auto}"}, `
lethe.yaml:1: ledger: ledger id "Main-1": want 1 to 16 characters of a-z and 0-9
lethe.yaml:2: log.level: "loud" is not known: write one of debug, info, warn, error`},
	{"anchors", []string{"{name: ip, transform: truncate}", "&ip {name: ip}"}, `
lethe.yaml:9: policy.classes[0].fields[0]: anchors and aliases are not read: write the value out`},
	{"two ways in one rule", []string{"{cookie: user}", "{cookie: user, query: user}"}, `
lethe.yaml:32: identify[1]: want exactly one of jwt, header, cookie and query: write each rule as an item of its own`},
}

const twoPools = "    - {id: two, path: /chat, capture: [network]}\n  disposal"

func TestConfigProblems(t *testing.T) {
	for _, c := range configProblems {
		t.Run(c.name, func(t *testing.T) {
			if _, got := load(t, goodConfig, c.edits...); got != strings.TrimPrefix(c.want, "\n") {
				t.Errorf("got\n%s\nwant%s", got, c.want)
			}
		})
	}
}

// TestConfigFiles holds what is wrong with a file as a whole.
func TestConfigFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "lethe.yaml: is empty: it needs at least a policy"},
		{"no yaml", "ledger: main\npolicy: [\n", "lethe.yaml:2: is not YAML: did not find expected node content"},
		{"two documents", "ledger: main\n---\nledger: main\n", "lethe.yaml: is not YAML: there is a second document: keep one"},
		{"no policy", "ledger: main\n", "lethe.yaml: policy: is missing: say what is recorded, why and for how long; docs/lethe.yaml is a file to begin with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := load(t, c.text); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	dir := t.TempDir()
	if _, err := lethe.LoadConfig(dir); err == nil || err.Error() != dir+": cannot be read: is a directory: name a file that this user can read" {
		t.Errorf("a directory: %v", err)
	}
	if _, err := lethe.LoadConfig(filepath.Join(dir, "none")); err == nil || !strings.HasSuffix(err.Error(), "none: cannot be read: no such file or directory: name a file that this user can read") {
		t.Errorf("no file: %v", err)
	}
}

func TestUnreadableRoot(t *testing.T) {
	data := t.TempDir()
	root := filepath.Join(data, "keys", "keys.root")
	if err := os.MkdirAll(root, 0o700); err != nil { // a directory: nobody can read it as a file
		t.Fatal(err)
	}
	_, got := load(t, goodConfig, "data: DIR/data", "data: "+data)
	if want := "lethe.yaml:2: data: " + root + " cannot be read: it is the root of all keys; give it to the user that runs lethe, mode 0600, or restore it"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDefaultConfig(t *testing.T) {
	c := lethe.DefaultConfig()
	if c.Policy.Reviewed || len(c.Policy.Validate()) > 0 || c.Journal.Path != "lethe-data-journal/erasures.jsonl" {
		t.Errorf("%+v", c)
	}
	c.SetData("/srv/lethe/")
	if c.Data != "/srv/lethe/" || c.Journal.Path != "/srv/lethe-journal/erasures.jsonl" {
		t.Errorf("data %s, journal %s", c.Data, c.Journal.Path)
	}
	c.Journal.Path = "/mnt/j"
	c.SetData("/other")
	if c.Journal.Path != "/mnt/j" {
		t.Errorf("a chosen journal moved to %s", c.Journal.Path)
	}
}
