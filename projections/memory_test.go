package projections_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func TestABatchKeepsMemoryForTheNextOne(t *testing.T) {
	for name, c := range map[string]struct{ room, used, left int }{
		"steady load":         {room: 4000, used: 1000, left: 4000},
		"the end of a burst":  {room: 4000, used: 999, left: 0},
		"small":               {room: 512, used: 1, left: 512},
		"nothing was in it":   {room: 4000, used: 0, left: 0},
		"nothing was kept":    {},
		"as much as there is": {room: 4000, used: 4000, left: 4000},
	} {
		s := make([]int, c.used, c.room)
		for i := range s {
			s[i] = 1
		}
		got := projections.Emptied(s)
		if len(got) != 0 || cap(got) != c.left {
			t.Errorf("%s: %d of %d used leaves %d in %d", name, c.used, c.room, len(got), cap(got))
		}
		for _, v := range s {
			if v != 0 {
				t.Fatalf("%s: what was in it is kept", name)
			}
		}
	}
}

func TestALoopAtTheEndKeepsNoMemoryOfABurst(t *testing.T) {
	w := viewtest.NewWriter()
	some(w, 3000)
	sink := &kept{}
	loop := projections.NewSinkLoop(w, options(), "leaves", sink)
	stop := running(t, loop.Run)
	until(t, "the burst is taken", func() bool { return len(sink.positions()) >= 3000 })
	until(t, "its memory is given back", func() bool { return loop.Room() == 0 })
	before := len(sink.positions())
	some(w, 3)
	until(t, "what comes then is taken, too", func() bool { return len(sink.positions()) == before+3 })
	for _, err := range stop() {
		check(t, err)
	}
}
