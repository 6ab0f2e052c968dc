package domain

import (
	"encoding/binary"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestIDsAreThoseOfTheUUIDLibrary: text and event ids are written by hand for
// their speed.
func TestIDsAreThoseOfTheUUIDLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := CommandID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		i := rapid.Uint32().Draw(t, "index")
		if got, want := id.String(), uuid.UUID(id).String(); got != want {
			t.Fatalf("text is %s, want %s", got, want)
		}
		want := uuid.NewSHA1(eventNamespace, binary.BigEndian.AppendUint32(id[:], i))
		if got := Event(id, i); got != EventID(want) {
			t.Fatalf("event id is %s, want %s", got, want)
		}
	})
}
