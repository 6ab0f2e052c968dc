package lethe_test

import (
	"archive/zip"
	"bytes"
	"crypto/md5"  //nolint:gosec // looked for, not relied on
	"crypto/sha1" //nolint:gosec // looked for, not relied on
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// A scanner looks for needles, all at once.
type scanner struct {
	needles map[[needleHead]byte][]needle
	first   [1 << 16]bool // by the first two bytes: most places are passed over
}

type needle struct {
	what  string
	bytes []byte
}

// needleHead is the shortest needle.
const needleHead = 8

func (s *scanner) add(what string, b []byte) {
	if len(b) < needleHead {
		panic("a needle of " + what + " is too short to mean something")
	}
	if s.needles == nil {
		s.needles = map[[needleHead]byte][]needle{}
	}
	head := [needleHead]byte(b)
	s.needles[head] = append(s.needles[head], needle{what, b})
	s.first[binary.BigEndian.Uint16(b)] = true
}

// word adds a text in every writing that a program may have left it in. A writing
// that depends on what stands before it is cut to what does not.
func (s *scanner) word(name, text string) {
	for _, w := range []string{text, strings.ToUpper(text), reversed(text)} {
		b := []byte(w)
		s.add(name+" in clear", b)
		s.add(name+" in hex", []byte(hex.EncodeToString(b)))
		s.add(name+" in upper hex", []byte(strings.ToUpper(hex.EncodeToString(b))))
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			var wide []byte
			for _, u := range utf16.Encode([]rune(w)) {
				wide = order.AppendUint16(wide, u)
			}
			s.add(name+" in UTF-16", wide)
		}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 3 {
				whole := e.EncodeToString(append(make([]byte, shift), b...))
				s.add(name+" in base64", []byte(whole[(shift*8+5)/6:len(whole)-1]))
			}
		}
		s.add(name+" as JSON escapes", []byte(escaped(w, `\u%04x`)))
		s.add(name+" as upper JSON escapes", []byte(escaped(w, `\u%04X`)))
		s.add(name+" as URL escapes", []byte(escaped(w, `%%%02x`)))
		s.add(name+" as upper URL escapes", []byte(escaped(w, `%%%02X`)))
	}
}

// whole adds the hashes of a text that anybody can compute.
func (s *scanner) whole(name, text string) {
	a, b, c := sha256.Sum256([]byte(text)), sha1.Sum([]byte(text)), md5.Sum([]byte(text)) //nolint:gosec // looked for, not relied on
	for _, sum := range [][]byte{a[:], b[:], c[:]} {
		s.add(name+" as a bare hash", sum[:12])
		s.add(name+" as a bare hash in hex", []byte(hex.EncodeToString(sum[:12])))
	}
}

// address adds an IP address as text and, where that is long enough to mean
// something, as bytes.
func (s *scanner) address(name string, a netip.Addr) {
	s.word(name, a.String())
	if a.Is6() {
		s.word(name, a.StringExpanded())
		s.add(name+" as bytes", a.AsSlice())
	}
}

func reversed(text string) string {
	r := []rune(text)
	slices.Reverse(r)
	return string(r)
}

func escaped(text, format string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, format, r)
	}
	return b.String()
}

// find returns what occurs in b.
func (s *scanner) find(b []byte) (found []string) {
	for i := 0; i+needleHead <= len(b); i++ {
		if !s.first[binary.BigEndian.Uint16(b[i:])] {
			continue
		}
		for _, n := range s.needles[[needleHead]byte(b[i:])] {
			if bytes.HasPrefix(b[i:], n.bytes) && !slices.Contains(found, n.what) {
				found = append(found, n.what)
			}
		}
	}
	return found
}

// clean reports what occurs in a text as a failure.
func (s *scanner) clean(t *testing.T, where, text string) {
	t.Helper()
	if found := s.find([]byte(text)); len(found) > 0 {
		t.Errorf("%s has %q", where, found)
	}
}

// cleanFiles reports what occurs below the folders, in names or contents, and
// returns how many bytes it has read.
func (s *scanner) cleanFiles(t *testing.T, when string, except []string, dirs ...string) (read int) {
	t.Helper()
	for _, path := range files(t, dirs...) {
		if slices.Contains(except, filepath.Base(path)) {
			continue
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) { // removed meanwhile
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		read += len(b)
		s.clean(t, when+": "+path, path+"\n"+string(b))
	}
	return read
}

// unzipped is everything that a zip holds.
func unzipped(t *testing.T, path string) (all []byte) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, b...), '\n')
	}
	return all
}

// TestScannerFinds is the control of the canary test: it finds each writing.
func TestScannerFinds(t *testing.T) {
	const text = "qmvrtkhzwy"
	s := &scanner{}
	s.word("it", text)
	s.whole("it", text)
	s.address("home", netip.MustParseAddr("2001:db8:1::7"))
	sum := sha256.Sum256([]byte(text))
	for what, b := range map[string]string{
		"in clear": text, "in upper": strings.ToUpper(text), "in hex": hex.EncodeToString([]byte("x" + text)), "hashed": string(sum[:]),
		"hashed, in hex": hex.EncodeToString(sum[:]), "in JSON": escaped("<"+text+">", `\u%04x`), "in UTF-16": "q\x00m\x00v\x00r\x00t\x00k\x00h\x00z\x00w\x00y\x00",
		"in base64 1": base64.StdEncoding.EncodeToString([]byte(text + "=")), "in base64 2": base64.StdEncoding.EncodeToString([]byte("a" + text + "=")),
		"in base64 3": base64.URLEncoding.EncodeToString([]byte("ab" + text + "=")), "in a URL": escaped(text, "%%%02X"),
		"as an address": "2001:db8:1::7", "as the bytes of one": string(netip.MustParseAddr("2001:db8:1::7").AsSlice()),
	} {
		if len(s.find([]byte(strings.Repeat("-", 99)+b))) == 0 {
			t.Errorf("not found: %s", what)
		}
	}
	if found := s.find([]byte(strings.Repeat("nothing of the kind", 99))); len(found) > 0 {
		t.Errorf("found %q where nothing is", found)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("…"+text+"…"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := s.find(mustRead(t, path)); !slices.Contains(found, "it in clear") {
		t.Errorf("not found in a file: %q", found)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
