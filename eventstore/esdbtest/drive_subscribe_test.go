package esdbtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// listening begins a stream subscription after three events.
func listening(n int, changes ...change) driver {
	return func(k *kit) string {
		k.three()
		return k.listen(with(stream(k.st("a")), changes...)).take(n)
	}
}

func subscriptionDrivers() map[string]driver {
	return map[string]driver{
		"U01": listening(5), "U02": listening(3, from(1)),
		"U03": func(k *kit) string {
			k.three()
			l := k.listen(with(stream(k.st("a")), end))
			first := l.take(2)
			k.must(k.st("a"), "Any", run("n", 0, 3)...)
			return parts(first, "live → "+l.take(3))
		},
		"U04": func(k *kit) string {
			k.three()
			l := k.listen(with(stream(k.st("a")), from(4)))
			first := l.take(2)
			k.must(k.st("a"), "Any", run("n", 0, 4)...)
			return parts(first, "live → "+l.take(2))
		},
		"U05": func(k *kit) string {
			l := k.listen(stream(k.st("a")))
			first := l.take(1)
			for i := range 50 {
				k.must(k.st("a"), "Any", "e"+strconv.Itoa(i))
			}
			return parts(first, "live → "+l.take(51))
		},
		"U06": func(k *kit) string { return k.burst() },
		"U07": func(k *kit) string {
			l := k.listen(stream(k.st("a")))
			first := l.take(1)
			k.must(k.st("a"), "NoStream", "e0", "e1")
			return parts(first, "live → "+l.take(3))
		},
		"U08": func(k *kit) string {
			atEnd, at5 := k.listen(with(stream(k.st("a")), end)), k.listen(with(stream(k.st("b")), from(5)))
			out := []string{"end: " + atEnd.take(2), "5: " + at5.take(1)}
			k.must(k.st("a"), "NoStream", run("e", 0, 2)...)
			k.must(k.st("b"), "NoStream", run("f", 0, 8)...)
			return parts(append(out, "end live → "+atEnd.take(2), "5 live → "+at5.take(3))...)
		},
		"U09": func(k *kit) string { k.buried(); return k.listen(stream(k.st("a"))).take(1) },
		"U10": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0", "e1")
			l := k.listen(stream(k.st("a")))
			first := l.take(4)
			k.hard(k.st("a"), "Any")
			return parts(first, "live → "+l.take(2))
		},
		"U11": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0", "e1")
			l := k.listen(stream(k.st("a")))
			first := l.take(4)
			k.soft(k.st("a"), "Any")
			after := l.take(0)
			k.must(k.st("a"), "NoStream", "n0", "n1")
			return parts(first, "after delete → "+after, "after re-creation → "+l.take(2))
		},
		"U12": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0", "e1")
			k.soft(k.st("a"), "Any")
			l := k.listen(stream(k.st("a")))
			first := l.take(1)
			k.must(k.st("a"), "NoStream", "n0", "n1")
			return parts(first, "live → "+l.take(3))
		},
		"U13": func(k *kit) string {
			k.meta(k.st("a"), `{}`)
			l := k.listen(stream("$$" + k.st("a")))
			first := l.take(3)
			k.meta(k.st("a"), `{"mine":1}`)
			return parts(first, "live → "+l.take(1))
		},
		"U14": func(k *kit) string {
			l := k.listen(stream(k.st("a")))
			first := l.take(1)
			k.must(k.st("a"), "NoStream", run("e", 0, 100)...)
			return parts(first, "burst → "+l.take(101))
		},
		"U15": func(k *kit) string {
			l := k.listen(stream(k.st("a")))
			first := l.take(1)
			l.stop()
			then := strings.TrimSuffix(strings.TrimPrefix(l.take(1), "end("), ")")
			return parts(first, "then "+then, "server "+k.app(k.st("a"), "NoStream", "e0"))
		},
		"U16": func(k *kit) string {
			ctx, cancel := context.WithTimeout(k.ctx, 500*time.Millisecond)
			defer cancel()
			return k.listenIn(ctx, stream(k.st("a"))).take(2)
		},
		"U40": listening(1, filter(byStream("", "a"))),
	}
}

// burst opens a subscription in the middle of a hundred appends.
func (k *kit) burst() string {
	opened := make(chan *listener)
	for i := range 100 {
		k.must(k.st("a"), "Any", "e"+strconv.Itoa(i))
		if i == 40 {
			go func() { opened <- k.listen(stream(k.st("a"))) }()
		}
	}
	tokens := strings.Fields((<-opened).take(102))
	caught := slices.Contains(tokens, "caught-up")
	events := slices.DeleteFunc(tokens, func(s string) bool { return !strings.HasPrefix(s, "#") })
	return fmt.Sprintf("gapless %t, all 100 %t, caught-up %t", gapless(events), strings.HasSuffix(strings.Join(events, " "), "#99"), caught)
}

// gapless: ranges that begin at zero and follow one another.
func gapless(ranges []string) bool {
	next := 0
	for _, r := range ranges {
		first, last, many := strings.Cut(strings.ReplaceAll(r, "#", ""), "..")
		if !many {
			last = first
		}
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if a != next {
			return false
		}
		next = b + 1
	}
	return true
}

func allSubscriptionDrivers() map[string]driver {
	return map[string]driver{
		"U20": func(k *kit) string {
			p := k.laid()["e1"]
			return k.listen(with(all(), at(p, p))).take(7)
		},
		"U21": func(k *kit) string {
			l := k.listen(with(all(), end))
			first := l.take(2)
			k.must(k.st("a"), "NoStream", run("n", 0, 3)...)
			return parts(first, "live → "+l.take(3))
		},
		"U22": func(k *kit) string {
			p := k.laid()["e1"] + 1
			return k.listen(with(all(), at(p, p))).take(1)
		},
		"U23": func(k *kit) string {
			k.laid()
			l := k.listen(all())
			first := l.until("caught-up")
			seen := strings.HasSuffix(first, "g1 caught-up")
			if strings.HasPrefix(first, "conf ") {
				return fmt.Sprintf("conf first, g1 %s", map[bool]string{true: "seen", false: "missing: " + first}[seen])
			}
			return first
		},
		"U24": func(k *kit) string {
			l := k.listen(with(all(), end))
			first := l.take(2)
			k.must(k.st("a"), "NoStream", "e0", "e1")
			k.soft(k.st("a"), "Any")
			k.must(k.st("b"), "NoStream", "f0", "f1")
			k.hard(k.st("b"), "Any")
			return parts(first, "live → "+l.take(6))
		},
		"U25": func(k *kit) string { return k.sameOrder() },
		"U30": func(k *kit) string {
			p := k.laid()["e0"]
			return k.listen(with(all(), at(p, p), filter(byStream("", k.st("b"))))).take(4)
		},
		"U31": func(k *kit) string {
			p := k.laid()["e0"]
			return parts("regex: "+k.listen(with(all(), at(p, p), filter(byStream("^"+k.st("b")+"$")))).take(4), "type: "+k.listen(with(all(), at(p, p), filter(byType("", "t-f")))).take(4))
		},
		"U51": func(k *kit) string { return k.slow() },
	}
}

// sameOrder compares what two subscriptions see of ten writers.
func (k *kit) sameOrder() string {
	one, two := k.listen(with(all(), end)), k.listen(with(all(), end))
	one.take(2)
	two.take(2)
	done := make(chan struct{})
	for w := range 10 {
		go func() {
			for i := range 10 {
				k.app(k.st("a"+strconv.Itoa(w)), "Any", fmt.Sprintf("w%dn%d", w, i))
			}
			done <- struct{}{}
		}()
	}
	for range 10 {
		<-done
	}
	a, b := one.take(100), two.take(100)
	return fmt.Sprintf("same order %t, %d of 100", a == b, len(strings.Fields(a)))
}

// slow leaves nineteen megabytes unread in a live subscription.
func (k *kit) slow() string {
	o := with(all(), end)
	subscribing(o)
	call, err := k.c.Read(k.ctx, &api.ReadReq{Options: o})
	if err != nil {
		return err.Error()
	}
	for range 2 {
		if _, err := call.Recv(); err != nil {
			return err.Error()
		}
	}
	for i := range 75 {
		k.one(k.st("a"), "Any", "e"+strconv.Itoa(i), func(m *api.AppendReq_ProposedMessage) { m.Data = make([]byte, 256<<10) })
	}
	time.Sleep(2 * blockedAfter)
	n := uint64(0)
	for {
		m, err := call.Recv()
		if err != nil {
			if n == 0 || n == 75 {
				return fmt.Sprintf("%d of 75, then %s", n, k.failed(err, call.Trailer()))
			}
			return "part of them, in order true, then " + k.failed(err, call.Trailer())
		}
		if m.GetEvent().GetEvent().GetStreamRevision() != n {
			return "out of order"
		}
		n++
	}
}

// spread writes n events x0… and answers where to begin so that they all follow.
func (k *kit) spread(n int, even string) change {
	p := k.mark()
	for i := range n {
		name := "a"
		if even != "" && i%2 == 0 {
			name = even
		}
		k.must(k.st(name), "Any", "x"+strconv.Itoa(i))
	}
	return at(p, p)
}

func checkpointDrivers() map[string]driver {
	none := func(k *kit) *api.ReadReq_Options_FilterOptions { return byStream("", k.st("b")) }
	catchUp := func(n, tokens int, even string, changes ...func(*api.ReadReq_Options_FilterOptions)) driver {
		return func(k *kit) string {
			begin := k.spread(n, even)
			return k.listen(with(all(), begin, filter(none(k), changes...))).take(tokens)
		}
	}
	return map[string]driver{
		"U32": catchUp(100, 12, "", windowOf(10), times(1)), "U33": catchUp(100, 5, "", windowOf(10), times(3)),
		"U34": catchUp(40, 26, "b", windowOf(10), times(1)), "U35": catchUp(100, 5, "", countWindow),
		"U36": catchUp(1, 1, "", noWindow), "U37": catchUp(1, 1, "", times(0)),
		"U38": func(k *kit) string {
			l := k.listen(with(all(), end, filter(none(k), windowOf(10), times(1))))
			first := l.take(2)
			k.spreadLive(50)
			return parts(first, "live → "+l.take(5))
		},
		"U39": func(k *kit) string {
			return k.listen(with(all(), end, filter(none(k)))).take(2)
		},
	}
}

func (k *kit) spreadLive(n int) {
	for i := range n {
		k.must(k.st("a"), "Any", "x"+strconv.Itoa(i))
	}
}
