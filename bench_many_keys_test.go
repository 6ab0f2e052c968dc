package lethe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	"github.com/lxzan/gws"
	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// A keyServer is a real Vault server with a ledger, and a token to work with.
type keyServer struct {
	*vaulttest.Server
	token string
}

func startKeys(b *testing.B, storage string, directory uint32) *keyServer {
	b.Helper()
	s := &keyServer{Server: vaulttest.Start(b, vaulttest.Options{Storage: storage})}
	admin := s.client(b, s.RootToken, &tally{under: http.DefaultTransport})
	benchMust(b, vault.Init(b.Context(), admin, vault.InitOptions{Ledger: "main", Directory: directory, Clock: time.Now}))
	given, err := admin.Auth().Token().CreateWithContext(b.Context(), &vaultapi.TokenCreateRequest{Policies: []string{"lethe-main-eraser"}, TTL: "2h"})
	benchMust(b, err)
	s.token = given.Auth.ClientToken
	return s
}

// client is Vault's own, over a transport.
func (s *keyServer) client(b *testing.B, token string, over http.RoundTripper) *vaultapi.Client {
	b.Helper()
	cfg := vaultapi.DefaultConfig()
	cfg.Address, cfg.HttpClient, cfg.MaxRetries = s.Addr, &http.Client{Transport: over}, 0
	c, err := vaultapi.NewClient(cfg)
	benchMust(b, err)
	c.SetToken(token)
	return c
}

// A tally is a transport that counts the calls that keys of persons cost, and the
// bytes of what is written.
type tally struct {
	under http.RoundTripper
	// Calls of all kinds; and those for keys of persons, among them the readings of
	// their documents.
	all, persons, readings atomic.Int64
	documents, tables      written
}

// written counts documents and their bytes.
type written struct{ n, bytes atomic.Int64 }

func (w *written) mean() int { return int(w.bytes.Load() / max(1, w.n.Load())) }

func newTally() *tally { return &tally{under: &http.Transport{MaxIdleConnsPerHost: 64}} }

func (t *tally) RoundTrip(r *http.Request) (*http.Response, error) {
	t.note(r)
	return t.under.RoundTrip(r)
}

func (t *tally) note(r *http.Request) {
	t.all.Add(1)
	person, table := strings.Contains(r.URL.Path, "/persons/"), strings.Contains(r.URL.Path, "/directory/")
	if person || table || strings.Contains(r.URL.Path, "/main-p-") {
		t.persons.Add(1)
	}
	kind := &t.tables
	switch {
	case person && r.Method == http.MethodGet:
		t.readings.Add(1)
		return
	case person:
		kind = &t.documents
	case !table || r.Method == http.MethodGet:
		return
	}
	kind.n.Add(1)
	kind.bytes.Add(max(0, r.ContentLength))
}

// BenchmarkManyVaultCalls counts the calls to Vault that one connection costs, by
// a proxy between Vault and two whole gateways: of a new person, of the same again
// (warm), and on a gateway that has not seen the person (cold). The aims are 5, 0
// and 3. What is not for a person's keys, such as turns and retention keys, is not
// of the connection.
func BenchmarkManyVaultCalls(b *testing.B) {
	s, f := startKeys(b, vaulttest.InMemory, vault.DefaultDirectory), newFigures()
	target, err := url.Parse(s.Addr)
	benchMust(b, err)
	calls := newTally()
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = calls
	front := httptest.NewServer(proxy)
	b.Cleanup(front.Close)
	log := esdbtest.Start(b, esdbtest.Options{Clock: time.Now})
	one, two := s.gateway(b, front.URL, log), s.gateway(b, front.URL, log)
	for i := range 10 {
		user := fmt.Sprint("person", i)
		f.add("a new person", calls.connection(b, one, user))
		f.add("a known person, warm", calls.connection(b, one, user))
		f.add("a known person, cold", calls.connection(b, two, user))
	}
	f.print(b)
	b.ReportMetric(f.median("a new person"), "calls/new")
	b.ReportMetric(f.median("a known person, warm"), "calls/warm")
	b.ReportMetric(f.median("a known person, cold"), "calls/cold")
}

// A benchGateway is a whole Lethe that serves.
type benchGateway struct {
	*Lethe
	Addresses
}

func (s *keyServer) gateway(b *testing.B, vaultAt string, log *esdbtest.Server) benchGateway {
	b.Helper()
	up := gws.NewUpgrader(echo{}, nil)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	}))
	b.Cleanup(upstream.Close)
	dir := b.TempDir()
	tokenFile := filepath.Join(dir, "token")
	benchMust(b, os.WriteFile(tokenFile, []byte(s.token), 0o600))
	c := UpstreamConfig("ws" + upstream.URL[len("http"):])
	c.SetData(filepath.Join(dir, "data"))
	c.SetListen("127.0.0.1:0")
	c.Admin.Address = "127.0.0.1:0"
	c.Policy.Pools[0].Flush.Interval = 100 * time.Millisecond
	c.Store = StoreConfig{Engine: storeEventStoreDB, URL: log.URL()}
	c.Keys = KeysConfig{Custodian: keysVault, Address: vaultAt, Auth: &VaultAuthConfig{TokenFile: tokenFile}}
	l, err := Open(b.Context(), c, Options{Logger: zerolog.Nop(), Version: "bench"})
	benchMust(b, err)
	ctx, stop := context.WithCancel(context.Background())
	at, done := make(chan Addresses, 1), make(chan error, 1)
	go func() { done <- l.Serve(ctx, func(a Addresses) { at <- a }) }()
	g := benchGateway{Lethe: l}
	select {
	case g.Addresses = <-at:
	case err := <-done:
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, l.Close(context.Background())); err != nil {
			b.Error(err)
		}
	})
	return g
}

// connection opens a connection, sends a message, closes it, waits until all of it
// is recorded, and returns what that cost.
func (t *tally) connection(b *testing.B, g benchGateway, user string) float64 {
	b.Helper()
	before, events := t.persons.Load(), &g.shared.recording.Counts().Events
	stood := events.Load()
	c := &client{got: make(chan string, 1), closed: make(chan error, 1)}
	conn, _, err := gws.NewClient(c, &gws.ClientOption{Addr: g.Gateway + "/?user=" + user})
	benchMust(b, err)
	go conn.ReadLoop()
	benchMust(b, conn.WriteString("one"))
	<-c.got
	benchMust(b, conn.WriteClose(1000, nil))
	for last, since := stood, time.Now(); last == stood || time.Since(since) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if n := events.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 20*time.Second {
			b.Fatal("nothing of a connection is recorded")
		}
	}
	return float64(t.persons.Load() - before)
}

// A keyWorld is a ledger that seals under keys of Vault and records into an outbox,
// without gateway, relay and views.
type keyWorld struct {
	*ledger.Ledger
	custodian *vault.Custodian
	ring      *keys.Ring
	calls     *tally
}

func (s *keyServer) world(b *testing.B, handles int) *keyWorld {
	b.Helper()
	cfg, dir, ctx := UpstreamConfig("ws://127.0.0.1:1"), b.TempDir(), b.Context()
	cfg.SetData(dir)
	w := &keyWorld{calls: newTally()}
	var err error
	w.custodian, err = vault.Open(ctx, vault.Options{
		Address: s.Addr, Ledger: "main", Auth: vault.Token{Read: func() (string, error) { return s.token, nil }}, Role: vault.Eraser, Clock: time.Now, Transport: w.calls, Timeout: 30 * time.Second,
	})
	benchMust(b, err)
	b.Cleanup(func() { benchMust(b, w.custodian.Close()) })
	w.ring, err = keys.NewRing(ctx, keys.RingConfig{
		Custodian: w.custodian, Ledger: "main", Namespace: "subjects", Clock: time.Now, Handles: handles,
		Policy: func() *domain.Policy { return &cfg.Policy }, ClockTrusted: func() error { return nil }, Dead: keys.NewDead(),
	})
	benchMust(b, err)
	b.Cleanup(w.ring.Close)
	log, err := storeengine.Open(filepath.Join(dir, "log"), storeengine.Options{Clock: time.Now})
	benchMust(b, err)
	b.Cleanup(func() { benchMust(b, log.Close()) })
	local, err := storeengine.Open(filepath.Join(dir, "outbox"), storeengine.Options{Clock: time.Now})
	benchMust(b, err)
	b.Cleanup(func() { benchMust(b, local.Close()) })
	box, err := outbox.Open(ctx, local, outbox.Options{Clock: time.Now, MaxBytes: 64 << 30})
	benchMust(b, err)
	b.Cleanup(func() { benchMust(b, box.Close()) })
	policy, err := ledger.OpenPolicyLog(ctx, log, "main", w.ring.Integrity(), time.Now)
	benchMust(b, err)
	benchMust(b, policy.Apply(ctx, &cfg.Policy, ""))
	journal, _, err := ledger.OpenJournal(ctx, ledger.JournalConfig{
		ID: "main", Log: log, Heads: w.custodian, Ring: w.ring, Integrity: w.ring.Integrity(), Dead: w.ring.Dead, Clock: time.Now, Path: filepath.Join(dir, "journal"),
	})
	benchMust(b, err)
	b.Cleanup(func() { benchMust(b, journal.Close()) })
	w.Ledger, err = ledger.New(ledger.Config{ID: "main", Log: box, Ring: w.ring, Custody: w.custodian, Policy: policy, Journal: journal, Clock: time.Now})
	benchMust(b, err)
	return w
}

// together calls do from some callers, with 0, 1, …, until it has been called n times
// or until is over, and returns how often that was, a second.
func together(b *testing.B, callers, n int, until time.Duration, do func(i int) error) (rate float64) {
	b.Helper()
	var next, ended atomic.Int64
	var calling sync.WaitGroup
	began := time.Now()
	for range callers {
		calling.Go(func() {
			for time.Since(began) < until {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				if err := do(int(i)); err != nil {
					b.Error(err)
					return
				}
				ended.Add(1)
			}
		})
	}
	calling.Wait()
	return float64(ended.Load()) / time.Since(began).Seconds()
}

// people enrols n more than there are.
func (w *keyWorld) people(b *testing.B, all *[]domain.SubjectRef, n int, until time.Duration) float64 {
	b.Helper()
	var mu sync.Mutex // protects all
	from := len(*all)
	return together(b, benchCallers, n, until, func(i int) error {
		who, err := w.ring.Person(fmt.Sprintf("person-%d@example.com", from+i), domain.Erasable)
		if err != nil {
			return err
		}
		s, _, err := w.ring.Enrol(b.Context(), who)
		mu.Lock()
		defer mu.Unlock()
		*all = append(*all, s.Ref)
		return err
	})
}

// bareEnrol makes a Transit key, a data key and two documents as large as those of
// an enrolment, by Vault's own client.
func (w *keyWorld) bareEnrol(ctx context.Context, c *vaultapi.Client) error {
	id := domain.New[domain.SubjectRef]().String()
	logical, key := c.Logical(), "bare-p-"+id
	_, err := logical.WriteWithContext(ctx, vault.TransitMount+"/keys/"+key, nil)
	if err == nil {
		_, err = logical.WriteWithContext(ctx, vault.TransitMount+"/datakey/plaintext/"+key, nil)
	}
	for at, size := range map[string]int{"persons/bare-" + id: w.calls.documents.mean(), "blocks/bare-" + id: w.calls.tables.mean()} {
		if err == nil {
			body := map[string]any{"options": map[string]int{"cas": 0}, "data": map[string]string{"sealed": strings.Repeat("x", size)}}
			_, err = logical.WriteWithContext(ctx, vault.KVMount+"/data/main/"+at, body)
		}
	}
	return err
}

// BenchmarkManyEnrolment enrols people beside the bare calls that it cannot do
// without. Its aim is 0.7.
func BenchmarkManyEnrolment(b *testing.B) {
	for _, storage := range []string{vaulttest.InMemory, vaulttest.Raft} {
		b.Run(storage, func(b *testing.B) {
			s, f := startKeys(b, storage, 1024), newFigures()
			w := s.world(b, 0)
			bare := s.client(b, s.token, newTally())
			var all []domain.SubjectRef
			w.people(b, &all, 200, time.Minute) // learns how large the documents are
			for range benchRounds {
				f.add("enrolment", w.people(b, &all, 1500, 20*time.Second))
				f.add("bare calls", together(b, benchCallers, 1500, 20*time.Second, func(int) error { return w.bareEnrol(b.Context(), bare) }))
				f.ratio("enrolment", "bare calls")
			}
			f.print(b)
			b.ReportMetric(f.median("enrolment ÷ bare calls"), "enrolment÷bare")
		})
	}
}

// zipf says event by event whom a load of some people by Zipf's law is of, with the
// number of those it comes to: only they are enrolled. Where that takes longer than
// within, the load ends with the last event of people who are.
func (w *keyWorld) zipf(b *testing.B, among, events int, within time.Duration) (who []domain.SubjectRef, distinct int) {
	b.Helper()
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, uint64(among-1)) //nolint:gosec // no secret
	drawn, number := make([]int, events), map[uint64]int{}
	for i := range drawn {
		person := zipf.Uint64()
		if _, met := number[person]; !met {
			number[person] = len(number)
		}
		drawn[i] = number[person]
	}
	var enrolled []domain.SubjectRef
	w.people(b, &enrolled, len(number), within)
	for _, n := range drawn {
		if n >= len(enrolled) {
			break
		}
		who = append(who, enrolled[n])
	}
	return who, len(enrolled)
}

// warm asks for the handles of a load.
func (w *keyWorld) warm(b *testing.B, who []domain.SubjectRef) {
	b.Helper()
	bucket := domain.BucketAt(time.Now(), domain.Day)
	together(b, benchCallers, len(who), time.Minute, func(i int) error {
		_, err := w.ring.Sealing(b.Context(), who[i], domain.Erasable, "messages", domain.OwnTier, bucket)
		return err
	})
}

// seal records events of 64 records each with as many callers as the recorder has,
// until the load is over or within is, and returns records a second and the part of
// the events whose key was at hand.
func (w *keyWorld) seal(b *testing.B, who []domain.SubjectRef, within time.Duration) (rate, hits float64) {
	b.Helper()
	const callers, perEvent = 2, 64
	payload := make([]byte, 500)
	_, _ = rand.NewChaCha8([32]byte{}).Read(payload) // never fails
	before, batches := w.calls.readings.Load(), slices.Collect(slices.Chunk(who, benchBatch))
	var events atomic.Int64
	began := time.Now()
	together(b, callers, len(batches), within, func(i int) error {
		drafts := make([]domain.Draft, len(batches[i]))
		for n, ref := range batches[i] {
			drafts[n] = domain.Draft{
				ID: domain.New[domain.EventID](), Type: domain.TrafficRecorded, At: time.Now(), Scope: domain.Erasable, Ref: ref,
				Class: "messages", Tier: domain.OwnTier, N: perEvent, Payload: payload,
				Facts: domain.NewFacts(domain.Name("pool", "default"), domain.UUID("connection", domain.ConnectionID{1})),
			}
		}
		events.Add(int64(len(drafts)))
		return errors.Join(w.Record(b.Context(), drafts)...)
	})
	n := float64(events.Load())
	return n * perEvent / time.Since(began).Seconds(), 1 - float64(w.calls.readings.Load()-before)/n
}

// encryptions is how many Transit encryptions a second there are with the number of
// callers that makes most.
func encryptions(b *testing.B, c *vaultapi.Client) (best float64) {
	b.Helper()
	for _, callers := range []int{2, 8, 32, 64} {
		best = max(best, together(b, callers, math.MaxInt, 1500*time.Millisecond, func(int) error {
			_, err := c.Logical().WriteWithContext(b.Context(), vault.TransitMount+"/encrypt/bare", map[string]any{"plaintext": strings.Repeat("eHh4", 8)})
			return err
		}))
	}
	return best
}

// BenchmarkManySealing seals for 100,000 people beside one Transit encryption for
// each record: in the process that entered those whom the load comes to, with a
// ring's own bounds; and in one whose ring holds two handles a person, as many as
// that is for 100,000, behind one run of the load that is not counted. Its aim is
// 100.
func BenchmarkManySealing(b *testing.B) {
	const people, events, transit = 100_000, 400_000, "Transit encryptions"
	s, f := startKeys(b, vaulttest.InMemory, vault.DefaultDirectory), newFigures()
	first := s.world(b, keys.DefaultHandles)
	who, distinct := first.zipf(b, people, events, 2*time.Minute)
	f.add("people", people)
	f.add("of whom the load is", float64(distinct))
	f.add("events of 64 records", float64(len(who)))
	bare := s.client(b, s.RootToken, newTally()) // the gateway's may not encrypt
	_, err := bare.Logical().WriteWithContext(b.Context(), vault.TransitMount+"/keys/bare", nil)
	benchMust(b, err)
	second := s.world(b, distinct*keys.DefaultHandles/people)
	second.warm(b, who)
	for part := range slices.Chunk(who, (len(who)+benchRounds-1)/benchRounds) {
		f.add(transit, encryptions(b, bare))
		for _, w := range []struct {
			name string
			*keyWorld
		}{{"records", first}, {"records, two handles a person", second}} {
			rate, hits := w.seal(b, part, 15*time.Second)
			f.add(w.name, rate)
			f.add(w.name+": hit rate", hits)
			f.ratio(w.name, transit)
		}
	}
	f.print(b)
	b.ReportMetric(f.median("records ÷ "+transit), "sealed÷transit")
	b.ReportMetric(f.median("records: hit rate"), "hits")
}
