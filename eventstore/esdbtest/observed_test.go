package esdbtest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// An observation is a line of testdata/observed.tsv: what was done to a real
// server 23.10.8, and what it answered.
type observation struct{ id, did, answer string }

func observations(t *testing.T) []observation {
	t.Helper()
	f, err := os.Open("testdata/observed.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []observation
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 3 {
			t.Fatalf("line of %d fields: %s", len(fields), lines.Text())
		}
		if fields[0] != "id" {
			out = append(out, observation{fields[0], fields[1], fields[2]})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// A driver does what an observation says and writes the answer.
type driver func(k *kit) string

// TestObserved holds the server to what the real one answered. A departure must
// depart, and every line has a driver.
func TestObserved(t *testing.T) {
	lines := observations(t)
	s := Start(t, Options{Clock: time.Now})
	con := dial(t, s)
	known := drivers()
	departing := departures()
	groups := map[string][2]int{}
	held := 0
	for _, o := range lines {
		drive, driven := known[o.id]
		if !driven {
			t.Errorf("%s has no driver: %s", o.id, o.did)
			continue
		}
		reason, departs := departing[o.id]
		holds := false
		t.Run(o.id, func(t *testing.T) {
			got := drive(newKit(t, o.id, s, con))
			holds = same(o, got)
			if problem := judged(o, got, reason, departs); problem != "" {
				t.Error(problem)
			}
		})
		count := groups[o.id[:1]]
		count[1]++
		if holds {
			held++
			count[0]++
		}
		groups[o.id[:1]] = count
	}
	for id := range departing {
		if _, driven := known[id]; !driven {
			t.Errorf("departure %s has no driver", id)
		}
	}
	t.Logf("%d of %d observations hold, %d departures; by group (held, of): %v", held, len(lines), len(departing), groups)
}

// same compares an answer, leaving out what depended on timing on the real
// server, too. An observation cut short ends in an ellipsis.
func same(o observation, got string) bool {
	want := o.answer
	if loose := timing()[o.id]; loose != nil {
		want, got = loose(want), loose(got)
	}
	if begin, cut := strings.CutSuffix(want, "…"); cut {
		return strings.HasPrefix(got, begin)
	}
	return got == want
}

// judged is what is wrong with an answer: it must be the observed one, except
// where a departure is listed, and there it must not.
func judged(o observation, got, reason string, departs bool) string {
	holds := same(o, got)
	switch {
	case departs && holds:
		return fmt.Sprintf("listed as a departure (%s), but answers as observed:\n%s", reason, got)
	case !departs && !holds:
		return fmt.Sprintf("%s\n got  %s\n want %s", o.did, got, o.answer)
	}
	return ""
}

func TestObservedCanFail(t *testing.T) {
	for _, c := range []struct {
		o       observation
		got     string
		departs bool
		fails   bool
	}{
		{observation{id: "A01", answer: "ok"}, "ok", false, false},
		{observation{id: "A01", answer: "ok"}, "ok rev=1", false, true},
		{observation{id: "A01", answer: "ok"}, "ok", true, true},
		{observation{id: "A01", answer: "ok"}, "not ok", true, false},
		{observation{id: "D12", answer: "cut sh…"}, "cut short", false, false},
		{observation{id: "D12", answer: "cut sh…"}, "cut off", false, true},
		{observation{id: "I38", answer: "6 ok, 1 distinct"}, "9 ok, 1 distinct", false, false},
		{observation{id: "I38", answer: "6 ok, 1 distinct"}, "9 ok, 2 distinct", false, true},
		{observation{id: "U05", answer: "conf ¦ live → #0..#15 caught-up #16..#49"}, "conf ¦ live → #0..#3 caught-up #4..#49", false, false},
		{observation{id: "U05", answer: "conf ¦ live → #0..#15 caught-up #16..#49"}, "conf ¦ live → #0..#3 caught-up #5..#49", false, true},
		{observation{id: "U05", answer: "conf ¦ live → #0..#15 caught-up #16..#49"}, "conf ¦ live → #0..#49", false, true},
	} {
		if problem := judged(c.o, c.got, "reason", c.departs); (problem != "") != c.fails {
			t.Errorf("%v, got %q, departs %t: %q", c.o, c.got, c.departs, problem)
		}
	}
}

// parts joins the parts of an answer.
func parts(p ...string) string { return strings.Join(p, " ¦ ") }
