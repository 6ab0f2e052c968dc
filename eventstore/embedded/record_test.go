package embedded

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// goldenRecord is a record of layout 1; it never changes.
const goldenRecord = "ac02" + "05" + "00064e1d1f4b8840" + "000102030405060708090a0b0c0d0e0f" +
	"13" + "747261666669632e7265636f726465642e7631" + "07" + "7b2276223a317d" + "00ff80"

func goldenEvent() domain.Sealed {
	id := domain.EventID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	return domain.NewSealed(id, "s", "traffic.recorded.v1", []byte(`{"v":1}`), []byte{0, 255, 128})
}

const goldenTime = 0x064e1d1f4b8840

func encodeRecord(n streamNumber, r domain.Revision, storeTime int64, e domain.Sealed) []byte {
	b := make([]byte, recordSize(n, r, e))
	putRecord(b, n, r, storeTime, e)
	return b
}

func TestRecordLayout(t *testing.T) {
	e := goldenEvent()
	if got := hex.EncodeToString(encodeRecord(300, 5, goldenTime, e)); got != goldenRecord {
		t.Fatalf("record %s", got)
	}
	b, err := hex.DecodeString(goldenRecord)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	got := rec.recorded("s", 7)
	if got.ID() != e.ID() || got.Type() != e.Type() || !bytes.Equal(got.Envelope(), e.Envelope()) || !bytes.Equal(got.Data(), e.Data()) ||
		got.Revision != 5 || got.Position != at(7) || got.StoreTime.UnixMicro() != goldenTime || rec.stream != 300 {
		t.Fatalf("%+v", got)
	}
	for cut := range len(b) - 3 { // the data may have any length
		if _, err := parseRecord(b[:cut]); err == nil {
			t.Fatalf("parsed the first %d bytes", cut)
		}
	}
}

func TestKeyLayout(t *testing.T) {
	for want, got := range map[string][]byte{
		"6c0000000000000102":                 logKey(258),
		"6900000000000000030000000000000004": indexKey(3, 4),
		"6e61":                               numberKey("a"),
		"4e0000000000000003":                 nameKey(3),
		"730000000000000003":                 stateKey(3),
		"700000000000000003":                 pendingKey(3),
		"6d66":                               formatKey(),
		"740a":                               state{truncated: 10}.encode(),
		"640a":                               state{deleted: 10}.encode(),
		"00000000000001027eb15a0a":           encodeMark(258),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}

// FuzzRecord asks that nothing panics, and that what parses has no second
// encoding.
func FuzzRecord(f *testing.F) {
	b, err := hex.DecodeString(goldenRecord)
	if err != nil {
		f.Fatal(err)
	}
	tombstone := domain.NewSealed(goldenEvent().ID(), "s", eventstore.DeletedType, nil, nil)
	for _, seed := range [][]byte{b, encodeRecord(1, eventstore.LastRevision, -1, tombstone), nil, {0x80, 0}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err != nil {
			return
		}
		e := rec.recorded("s", 1)
		if again := encodeRecord(rec.stream, rec.revision, rec.storeTime, e.Sealed); !bytes.Equal(again, b) {
			t.Fatalf("%x parses as %x", b, again)
		}
	})
}

// FuzzValues does the same for the small values.
func FuzzValues(f *testing.F) {
	for _, seed := range [][]byte{appendEntry(nil, 300), make([]byte, 16), state{truncated: 3}.encode(), state{deleted: 1 << 40}.encode(), encodePending(0), encodeMark(9)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEntry(b); err == nil && !e.removed && !bytes.Equal(appendEntry(nil, e.position), b) {
			t.Fatalf("entry %x", b)
		}
		if s, err := parseState(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Fatalf("state %x", b)
		}
		if r, err := parsePending(b); err == nil && !bytes.Equal(encodePending(r), b) {
			t.Fatalf("pending %x", b)
		}
		if p, err := parseMark(b); err == nil && !bytes.Equal(encodeMark(p), b) {
			t.Fatalf("mark %x", b)
		}
	})
}
