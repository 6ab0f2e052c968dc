package esdbtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// together runs n writers and gathers what they report.
func together[T any](n int, do func(i int) T) []T {
	out := make([]T, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = do(i) })
	}
	wg.Wait()
	return out
}

func count(answers []string, prefix string) int {
	n := 0
	for _, a := range answers {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

// another is a second connection to the same server.
func (k *kit) another() *kit {
	con := dial(k.t, k.s)
	return &kit{t: k.t, id: k.id, s: k.s, c: api.NewStreamsClient(con), con: con, ctx: k.ctx, mu: k.mu, ids: k.ids, labels: k.labels}
}

func concurrencyDrivers() map[string]driver {
	return map[string]driver{
		"K01": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			var winners []string
			losers := true
			for round := range 10 {
				got := together(50, func(i int) string { return k.app(k.st("a"), round, fmt.Sprintf("r%dn%d", round, i)) })
				winners = append(winners, strconv.Itoa(count(got, "ok")))
				losers = losers && count(got, "ok")+count(got, "WEV") == 50
			}
			return parts(fmt.Sprintf("winners %s; every loser WEV %t", strings.Join(winners, " "), losers), "stream → "+k.read(stream(k.st("a"))))
		},
		"K02": func(k *kit) string {
			got := together(50, func(i int) string { return k.app(k.st("a"), "NoStream", "e"+strconv.Itoa(i)) })
			return parts(fmt.Sprintf("%d winner", count(got, "ok")), "stream → "+k.read(stream(k.st("a"))))
		},
		"K03": func(k *kit) string { return k.batches() },
		"K04": func(k *kit) string {
			p := k.mark()
			together(50, func(i int) string {
				return k.app(k.st("a"+strconv.Itoa(i)), "Any", "e"+strconv.Itoa(i)) + k.app(k.st("a"+strconv.Itoa(i)), "Any", "f"+strconv.Itoa(i))
			})
			next, n, order := map[string]uint64{}, 0, true
			for _, e := range k.events(with(all(), at(p, p)))[1:] {
				s := string(e.GetEvent().GetStreamIdentifier().GetStreamName())
				order = order && e.GetEvent().GetStreamRevision() == next[s]
				next[s]++
				n++
			}
			return fmt.Sprintf("%d of 100 in $all, per stream in order %t", n, order)
		},
		"K05": func(k *kit) string {
			return k.ownWrites(func(reader *kit, label string) bool {
				e := reader.events(with(stream(k.st("a")), backFromEnd, limit(1)))
				return len(e) == 1 && reader.eventToken(e[0], false) == label
			})
		},
		"K06": func(k *kit) string {
			return k.ownWrites(func(reader *kit, label string) bool {
				return reader.eventToken(reader.events(with(all(), backFromEnd, limit(1)))[0], false) == label
			})
		},
		"K07": func(k *kit) string {
			missed := together(20, func(w int) int {
				n := 0
				for i := range 10 {
					label := fmt.Sprintf("w%dn%d", w, i)
					k.app(k.st("a"+strconv.Itoa(w)), "Any", label)
					if !strings.Contains(" "+k.tokens(with(all(), backFromEnd, limit(300)))+" ", " "+label+" ") {
						n++
					}
				}
				return n
			})
			sum := 0
			for _, n := range missed {
				sum += n
			}
			return fmt.Sprintf("missed %d of 200", sum)
		},
		"K08": func(k *kit) string {
			two, last := k.another(), uint64(0)
			for i := range 20 {
				on := k
				if i%2 == 1 {
					on = two
				}
				p := on.positionOf(k.st("a"+strconv.Itoa(i%3)), "Any", "e"+strconv.Itoa(i))
				if p <= last {
					return "not rising"
				}
				last = p
			}
			return "rising true"
		},
		"K09": func(k *kit) string { return k.torn() },
		"K10": func(k *kit) string { return k.racingDelete() },
	}
}

// tokens writes the events of a read without ranges.
func (k *kit) tokens(o *api.ReadReq_Options) string {
	var out []string
	for _, e := range k.events(o) {
		out = append(out, k.eventToken(e, false))
	}
	return strings.Join(out, " ")
}

// ownWrites reads each of fifty events back right after it was acknowledged.
func (k *kit) ownWrites(sees func(reader *kit, label string) bool) string {
	other := k.another()
	missed := [2]int{}
	for i := range 50 {
		label := "e" + strconv.Itoa(i)
		k.must(k.st("a"), "Any", label)
		for j, reader := range []*kit{k, other} {
			if !sees(reader, label) {
				missed[j]++
			}
		}
	}
	return fmt.Sprintf("missed %d and %d", missed[0], missed[1])
}

// batches lets fifty writers append three events each.
func (k *kit) batches() string {
	got := together(50, func(i int) string { return k.app(k.st("a"), "Any", run("w"+strconv.Itoa(i)+"n", 0, 3)...) })
	contiguous, order, last := true, true, uint64(0)
	events := k.events(stream(k.st("a")))
	for i, e := range events {
		label := k.eventToken(e, false)
		writer, number, _ := strings.Cut(label, "n")
		contiguous = contiguous && number == strconv.Itoa(i%3) && strings.HasPrefix(k.eventToken(events[i-i%3], false), writer+"n")
		order = order && e.GetCommitPosition() > last
		last = e.GetCommitPosition()
	}
	return fmt.Sprintf("%d ok, batches contiguous %t, revision order is position order %t", count(got, "ok"), contiguous, order)
}

// torn lets a reader at the head meet a batch of which a part is shown.
func (k *kit) torn() string {
	k.s.SetHooks(Hooks{
		Shown:       func(c Call) int { return c.Events - 2 },
		AfterCommit: func(context.Context, Call) error { time.Sleep(time.Millisecond); k.s.ShowAll(); return nil },
	})
	defer k.s.SetHooks(Hooks{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 30 {
			k.app(k.st("a"), "Any", run("w"+strconv.Itoa(i)+"n", 0, 5)...)
		}
	}()
	gaps, torn := 0, 0
	for {
		select {
		case <-done:
			return fmt.Sprintf("gaps %d, torn %d", gaps, torn)
		default:
		}
		o := stream(k.st("a"))
		if k.read(o) == "not-found({a}) EOF" {
			continue
		}
		events := k.events(o)
		for i, e := range events {
			if e.GetEvent().GetStreamRevision() != uint64(i) {
				gaps++
			}
		}
		if len(events)%5 != 0 {
			torn++
		}
	}
}

func (k *kit) racingDelete() string {
	deleting := make(chan struct{})
	go func() {
		defer close(deleting)
		for range 5 {
			time.Sleep(time.Millisecond)
			k.soft(k.st("a"), "Any")
		}
	}()
	seen, distinct, accepted := map[string]bool{}, true, 0
	for i := range 16 {
		got := k.app(k.st("a"), "Any", "e"+strconv.Itoa(i))
		distinct = distinct && !seen[got]
		seen[got] = true
		if strings.HasPrefix(got, "ok") {
			accepted++
		}
	}
	<-deleting
	return fmt.Sprintf("distinct %t, %d accepted", distinct, accepted)
}
