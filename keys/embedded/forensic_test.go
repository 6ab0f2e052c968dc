package embedded_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded"
	"github.com/lethe-ledger/lethe/keys/embedded/erasable"
)

// A recorder is the operating system's files, and remembers every byte that was
// ever written to them.
type recorder struct {
	erasable.OS
	mu     sync.Mutex // guards writes
	writes []written
}

type written struct {
	file string
	off  int64
	data []byte
}

func (r *recorder) Open(path string) (erasable.File, error) { return r.wrap(path)(r.OS.Open(path)) }

func (r *recorder) Create(path string) (erasable.File, error) {
	return r.wrap(path)(r.OS.Create(path))
}

func (r *recorder) wrap(path string) func(erasable.File, error) (erasable.File, error) {
	return func(f erasable.File, err error) (erasable.File, error) {
		if err != nil {
			return nil, err
		}
		return &recorded{File: f, r: r, name: filepath.Base(path)}, nil
	}
}

type recorded struct {
	erasable.File
	r    *recorder
	name string
}

func (f *recorded) WriteAt(p []byte, off int64) (int, error) {
	f.r.mu.Lock()
	f.r.writes = append(f.r.writes, written{file: f.name, off: off, data: bytes.Clone(p)})
	f.r.mu.Unlock()
	return f.File.WriteAt(p, off)
}

// inPlain reports whether a secret was ever written as it is.
func (r *recorder) inPlain(secret []byte) bool {
	return slices.ContainsFunc(r.writes, func(w written) bool { return bytes.Contains(w.data, secret) })
}

// What the attacker knows of the files (package erasable): pages of 4096 bytes,
// each AES-256-GCM with a zero nonce and the tree's id and the page's number as
// additional data; a reference to a page is its number and its key, side by
// side.
const (
	pageSize  = 4096
	numberLen = 8
	keyLen    = 32
	rootSlot  = 4096
	slotPage  = 24
	slotID    = 40
	slotKey   = 56
)

type version struct {
	page uint64
	raw  []byte
	open bool
}

type candidate struct {
	page uint64
	key  [keyLen]byte
}

// An attacker has every version of every page that keys.tree ever had, and some
// contents of keys.root. Wherever something that could be a reference stands in
// what it can read, it tries it.
type attacker struct {
	id       []byte
	versions map[uint64][]*version
	tried    map[candidate]bool
	next     []candidate
	opened   [][]byte
}

func attack(r *recorder, roots ...[]byte) *attacker {
	a := &attacker{versions: map[uint64][]*version{}, tried: map[candidate]bool{}}
	for _, w := range r.writes {
		for at := 0; w.file == erasable.TreeFile && at+pageSize <= len(w.data); at += pageSize {
			page := (uint64(w.off) + uint64(at)) / pageSize
			a.versions[page] = append(a.versions[page], &version{page: page, raw: w.data[at : at+pageSize]})
		}
	}
	for _, root := range roots {
		for at := 0; at+rootSlot <= len(root); at += rootSlot {
			slot := root[at : at+rootSlot]
			if !bytes.HasPrefix(slot, []byte("LTHROOT1")) {
				continue
			}
			a.id = slot[slotID : slotID+16]
			a.next = append(a.next, candidate{binary.BigEndian.Uint64(slot[slotPage:]), [keyLen]byte(slot[slotKey:])})
		}
	}
	for len(a.next) > 0 {
		c := a.next[0]
		a.next = a.next[1:]
		a.try(c)
	}
	return a
}

func (a *attacker) try(c candidate) {
	if a.tried[c] {
		return
	}
	a.tried[c] = true
	for _, v := range a.versions[c.page] {
		if v.open {
			continue
		}
		if plain, err := decrypt(v.raw, a.id, c); err == nil {
			v.open = true
			a.opened = append(a.opened, plain)
			a.collect(plain)
		}
	}
}

// collect takes every window that could be a reference.
func (a *attacker) collect(plain []byte) {
	for i := 0; i+numberLen+keyLen <= len(plain); i++ {
		c := candidate{binary.BigEndian.Uint64(plain[i:]), [keyLen]byte(plain[i+numberLen:])}
		if a.versions[c.page] != nil {
			a.next = append(a.next, c)
		}
	}
}

func decrypt(raw, id []byte, c candidate) ([]byte, error) {
	block, err := aes.NewCipher(c.key[:])
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, make([]byte, 12), raw, binary.BigEndian.AppendUint64(bytes.Clone(id), c.page))
}

func (a *attacker) finds(secret []byte) bool {
	return slices.ContainsFunc(a.opened, func(p []byte) bool { return bytes.Contains(p, secret) })
}

// A crime scene is a ledger's keys with a history: persons enrolled, sealing
// and anonymous connections, over many commits.
type crimeScene struct {
	t         *testing.T
	dir       string
	rec       *recorder
	custodian *embedded.Custodian
	ring      *keys.Ring
	now       time.Time
	refs      []domain.SubjectRef
	seq       uint64
}

func newCrimeScene(t *testing.T) *crimeScene {
	s := &crimeScene{t: t, dir: t.TempDir(), rec: &recorder{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	var err error
	s.custodian, err = embedded.Open(s.dir, embedded.Options{FS: s.rec})
	must(t, err)
	t.Cleanup(func() { must(t, s.custodian.Close()) })
	policy := &domain.Policy{
		Classes: []domain.ClassRule{
			{ID: "network", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day},
			{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day},
		},
		Disposal: domain.DisposalRule{Within: domain.MustPeriod("P30D")},
	}
	s.ring, err = keys.NewRing(context.Background(), keys.RingConfig{
		Custodian: s.custodian, Ledger: "test", Namespace: "people", Dead: keys.NewDead(),
		Policy: func() *domain.Policy { return policy }, Clock: func() time.Time { return s.now },
		ClockTrusted: func() error { return nil },
	})
	must(t, err)
	t.Cleanup(s.ring.Close)
	for i := range 120 {
		p, err := s.ring.Person("person "+string(rune('A'+i)), domain.Erasable)
		must(t, err)
		subject, _, err := s.ring.Enrol(context.Background(), p)
		must(t, err)
		s.refs = append(s.refs, subject.Ref)
		s.use(subject.Ref)
	}
	return s
}

// use has keys issued for some days.
func (s *crimeScene) use(ref domain.SubjectRef) {
	s.t.Helper()
	for days := range 3 {
		bucket := domain.BucketAt(s.now.AddDate(0, 0, -days), domain.Day)
		for _, class := range []domain.Class{"network", "messages"} {
			_, err := s.ring.Sealing(context.Background(), ref, domain.Erasable, class, domain.OwnTier, bucket)
			must(s.t, err)
		}
	}
}

// secretsOf lists the keys in a person's bundle for which pick says so.
func (s *crimeScene) secretsOf(ref domain.SubjectRef, pick func(domain.Class) bool) (found [][]byte) {
	s.t.Helper()
	_, b, err := s.custodian.Bundle(context.Background(), ref)
	must(s.t, err)
	for _, k := range b.Subjects {
		if pick(k.Class) {
			found = append(found, bytes.Clone(k.Key[:]))
		}
	}
	for _, k := range b.Kept {
		if pick(k.Class) {
			found = append(found, bytes.Clone(k.Key[:]))
		}
	}
	return found
}

func (s *crimeScene) retention(k domain.RetentionKey) []byte {
	s.t.Helper()
	_, key, err := s.custodian.Retention(context.Background(), k)
	must(s.t, err)
	return bytes.Clone(key[:])
}

func (s *crimeScene) destroy(d keys.Destruction) keys.Plan {
	s.t.Helper()
	ctx := context.Background()
	d.Command = domain.New[domain.CommandID]()
	must(s.t, s.ring.Fence(ctx, d))
	p, err := s.ring.Plan(ctx, d)
	must(s.t, err)
	must(s.t, s.ring.Execute(ctx, d, p, s.seq))
	must(s.t, s.ring.Unfence(ctx, d))
	s.seq++
	return p
}

func (s *crimeScene) root() []byte {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, erasable.RootFile))
	must(s.t, err)
	return raw
}

func all(domain.Class) bool { return true }

// atScene destroys one of each kind and returns the keys that died, those that
// live, and keys.root as it was before each destruction.
func atScene(t *testing.T) (s *crimeScene, dead, live map[string][][]byte, before [][]byte) {
	s = newCrimeScene(t)
	dead, live = map[string][][]byte{}, map[string][][]byte{}
	ctx := context.Background()
	messages := func(c domain.Class) bool { return c == "messages" }
	whole, class, ranged, bystander := s.refs[7], s.refs[33], s.refs[60], s.refs[100]
	step := func(name string, secrets [][]byte, d keys.Destruction) {
		dead[name] = secrets
		before = append(before, s.root())
		s.destroy(d)
	}

	block, stranger, err := s.ring.Anonymous(ctx)
	must(t, err)
	must(t, s.ring.LinkAnonymous(ctx, whole, block, stranger))
	anonymous, err := s.custodian.Block(ctx, block)
	must(t, err)
	linked, _ := anonymous.Subject(stranger, "network")
	neighbour := anonymous.Refs[200].Keys[0]
	subject, _, err := s.custodian.Bundle(ctx, whole)
	must(t, err)
	step("person", append(s.secretsOf(whole, all), linked[:], subject.Directory[:], whole[:]),
		keys.Destruction{Kind: keys.DestroySubject, Ref: whole, Scope: domain.Erasable})
	step("class", s.secretsOf(class, messages),
		keys.Destruction{Kind: keys.DestroyClass, Ref: class, Scope: domain.Erasable, Classes: []domain.Class{"messages"}})
	old := s.secretsOf(ranged, messages)
	step("range", old,
		keys.Destruction{Kind: keys.DestroyRange, Ref: ranged, Scope: domain.Erasable, Classes: []domain.Class{"messages"}, From: s.now.AddDate(0, 0, -1)})
	dead["bucket of the range"] = bucketKeys(old, ranged, "2026-11-23", "2026-11-22")
	live["kept bucket"] = bucketKeys(old, ranged, "2026-11-21")
	s.now = s.now.AddDate(0, 0, 13)
	due := []domain.RetentionKey{
		{Class: "network", Tier: "0", Bucket: "2026-11-21"}, {Class: "network", Tier: "0", Bucket: "2026-11-22"},
	}
	step("retention key", [][]byte{s.retention(due[0]), s.retention(due[1])}, keys.Destruction{Kind: keys.DestroyRetention, Retention: due})

	live["class of the erased class's person"] = s.secretsOf(class, all)
	live["bystander"] = append(s.secretsOf(bystander, all), bystander[:])
	live["neighbour in the block"] = [][]byte{neighbour[:]}
	live["retention key"] = [][]byte{s.retention(domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-23"})}
	return s, dead, live, before
}

// bucketKeys derives the B of a person's messages.
func bucketKeys(subject [][]byte, ref domain.SubjectRef, buckets ...domain.Bucket) (all [][]byte) {
	for _, b := range buckets {
		w := domain.Where{Ledger: "test", Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: "0", Bucket: b, Gen: 1}
		key := seal.BucketKey(seal.Secret(subject[0]), w)
		all = append(all, key[:])
	}
	return all
}

// Given every byte that the files ever held, except what keys.root held before,
// no destroyed key is found, and neither is who the erased person was; with
// keys.root as it once was, all of them are.
func TestDestroyedKeysAreUnrecoverable(t *testing.T) {
	s, dead, live, before := atScene(t)
	now := attack(s.rec, s.root())
	for name, secrets := range dead {
		for i, secret := range secrets {
			if now.finds(secret) || s.rec.inPlain(secret) {
				t.Errorf("%s: key %d of %d is found", name, i, len(secrets))
			}
		}
	}
	for name, secrets := range live {
		for i, secret := range secrets {
			if !now.finds(secret) || s.rec.inPlain(secret) {
				t.Errorf("%s: living key %d of %d is not found where it should be alone", name, i, len(secrets))
			}
		}
	}
	then := attack(s.rec, before...)
	for name, secrets := range dead {
		for i, secret := range secrets {
			if name != "bucket of the range" && !then.finds(secret) { // a B was never written
				t.Errorf("%s: with the old root key %d of %d is not found, so this test proves nothing", name, i, len(secrets))
			}
		}
	}
	if len(dead) != 5 || len(live) != 5 {
		t.Fatalf("%d kinds of dead keys and %d of living ones", len(dead), len(live))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
