package esdbtest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

func show(expected any) string {
	if n, exact := expected.(int); exact {
		return fmt.Sprintf("exact(%d)", n)
	}
	return fmt.Sprint(expected)
}

// A retrial writes before events, appends labels at expected, appends after more
// events, and appends the same again at again.
type retrial struct {
	before   int
	expected any
	labels   []string
	after    int
	// meanwhile runs before the repetition.
	meanwhile func(k *kit)
	again     any
	retry     []string
	compare   bool
	noStream  bool
}

func (r retrial) drive(k *kit) string {
	if r.before > 0 {
		k.must(k.st("a"), "NoStream", run("b", 0, r.before)...)
	}
	first := k.app(k.st("a"), r.expected, r.labels...)
	before := k.positions()
	if r.after > 0 {
		k.must(k.st("a"), "Any", run("c", 0, r.after)...)
	}
	if r.meanwhile != nil {
		r.meanwhile(k)
	}
	if r.again == nil {
		r.again = r.expected
	}
	if r.retry == nil {
		r.retry = r.labels
	}
	return k.repeated(r, first, before)
}

func (k *kit) repeated(r retrial, first string, before uint64) string {
	resp, trailers, err := k.post(k.ctx, full(options(k.st("a"), r.again), k.messages(r.retry)...)...)
	if err != nil {
		return "retry " + show(r.again) + " → " + k.failed(err, trailers)
	}
	again := answered(resp)
	out := []string{"retry " + show(r.again) + " → " + again}
	if r.compare {
		out = append(out, fmt.Sprintf("same answer as the first %t", again == first && resp.GetSuccess().GetPosition().GetCommitPosition() == before))
	}
	if !r.noStream {
		out = append(out, "stream → "+k.read(stream(k.st("a"))))
	}
	return parts(out...)
}

// positions is that of the newest event of stream a.
func (k *kit) positions() uint64 {
	e := k.events(with(stream(k.st("a")), backFromEnd, limit(1)))
	if len(e) == 0 {
		return 0
	}
	return e[0].GetCommitPosition()
}

func idempotencyDrivers() map[string]driver {
	e1, e3 := run("e", 0, 1), run("e", 0, 3)
	b2 := func(x retrial) retrial { x.before = 2; return x }
	superset, suffix, shuffled := run("e", 0, 4), run("e", 1, 2), []string{"e1", "e0", "e2"}
	led := append([]string{"n0"}, e3...)
	out := map[string]driver{}
	for id, r := range map[string]retrial{
		"I01": b2(retrial{expected: 1, labels: e1, compare: true}),
		"I02": {expected: "NoStream", labels: e1, compare: true},
		"I03": {expected: "NoStream", labels: e3, compare: true},
		"I04": {expected: "Any", labels: e1, compare: true},
		"I05": {expected: "Any", labels: e3, compare: true},
		"I06": b2(retrial{expected: "StreamExists", labels: e3, compare: true}),
		"I07": b2(retrial{expected: 1, labels: e3, after: 2, compare: true}),
		"I08": {expected: "NoStream", labels: e3, after: 2, compare: true},
		"I09": {expected: "Any", labels: e3, after: 2, compare: true},
		"I10": b2(retrial{expected: "StreamExists", labels: e3, after: 2, compare: true}),
		"I11": {expected: "NoStream", labels: e3, retry: run("e", 0, 2)},
		"I12": b2(retrial{expected: 1, labels: e3, retry: run("e", 0, 2)}),
		"I13": {expected: "Any", labels: e3, retry: run("e", 0, 2)},
		"I14": {expected: "NoStream", labels: e3, retry: superset},
		"I15": b2(retrial{expected: 1, labels: e3, retry: superset}),
		"I16": {expected: "Any", labels: e3, retry: superset},
		"I17": b2(retrial{expected: "StreamExists", labels: e3, retry: superset}),
		"I18": {expected: "NoStream", labels: e3, retry: suffix},
		"I19": {expected: "NoStream", labels: e3, again: 0, retry: suffix},
		"I20": {expected: "Any", labels: e3, retry: suffix},
		"I21": {expected: "NoStream", labels: e3, retry: led},
		"I22": {expected: "Any", labels: e3, retry: led},
		"I23": {expected: "NoStream", labels: e3, retry: shuffled},
		"I24": {expected: "Any", labels: e3, retry: shuffled},
		"I25": {expected: "NoStream", labels: e3, again: "Any"},
		"I26": {expected: "Any", labels: e3, again: "NoStream"},
		"I27": {expected: "NoStream", labels: e3, again: 2},
		"I28": {expected: "NoStream", labels: e3, again: 9},
		"I32": {expected: "NoStream", labels: run("e", 0, 2), compare: true, meanwhile: func(k *kit) { k.soft(k.st("a"), "Any") }},
		"I33": {expected: "Any", labels: run("e", 0, 2), compare: true, meanwhile: func(k *kit) { k.soft(k.st("a"), "Any") }},
		"I35": {expected: "NoStream", labels: e3, after: 3, meanwhile: func(k *kit) { k.meta(k.st("a"), `{"$maxCount":1}`) }},
		"I36": {expected: "Any", labels: e1, compare: true, meanwhile: func(k *kit) {
			for i := range 10 {
				k.must(k.st("b"), "Any", run("f", 100*i, 100)...)
			}
		}},
	} {
		out[id] = r.drive
	}
	return out
}

func repeatDrivers() map[string]driver {
	other := func(expected any) driver {
		return func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			k.must(k.st("a"), 0, "e1")
			again := k.one(k.st("a"), expected, "e1", func(m *api.AppendReq_ProposedMessage) { m.Metadata["type"], m.Data = "other", []byte("other") })
			e := k.events(stream(k.st("a")))[1].GetEvent()
			return parts("retry "+show(expected)+" → "+again, fmt.Sprintf("original %t", e.GetMetadata()["type"] == "t-e1" && bytes.Equal(e.GetData(), []byte("data of e1"))))
		}
	}
	return map[string]driver{
		"I29": func(k *kit) string {
			e := run("e", 0, 3)
			k.must(k.st("a"), "NoStream", e...)
			return parts("NoStream → "+k.app(k.st("b"), "NoStream", e...), "Any → "+k.app(k.st("c"), "Any", e...), "again Any → "+k.app(k.st("c"), "Any", e...), "c → "+k.read(stream(k.st("c"))))
		},
		"I30": other(0), "I31": other("Any"),
		"I34": func(k *kit) string {
			e := run("e", 0, 2)
			k.must(k.st("a"), "NoStream", e...)
			k.hard(k.st("a"), "Any")
			return parts("NoStream → "+k.app(k.st("a"), "NoStream", e...), "Any → "+k.app(k.st("a"), "Any", e...), "exact(0) → "+k.app(k.st("a"), 0, "e1"))
		},
		"I37": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 2)...)
			return parts("NoStream → "+k.app(k.st("a"), "NoStream", "n0", "e1"), "exact(0) → "+k.app(k.st("a"), 0, "n0"))
		},
		"I38": func(k *kit) string { return k.tenAtOnce("NoStream") },
		"I39": func(k *kit) string { return k.tenAtOnce("Any") },
		"I40": func(k *kit) string {
			l := k.listen(stream(k.st("a")))
			l.take(1)
			k.must(k.st("a"), "NoStream", "e0")
			first := l.take(2)
			k.must(k.st("a"), "NoStream", "e0")
			return parts("first → "+first, "retry → "+l.take(0))
		},
		"I41": func(k *kit) string {
			var out []string
			for i, expected := range []string{"NoStream", "Any"} {
				s := k.st("a" + strconv.Itoa(i))
				k.metaAs(s, expected, "meta"+expected, `{"$maxCount":3}`)
				out = append(out, expected+" → "+k.metaAs(s, expected, "meta"+expected, `{"$maxCount":3}`))
			}
			return parts(out...)
		},
	}
}

// tenAtOnce sends the same append ten times at once; those that meet one in
// flight are not answered before their deadline.
func (k *kit) tenAtOnce(expected any) string {
	k.s.SetHooks(Hooks{BeforeCommit: func(context.Context, Call) error { time.Sleep(5 * time.Millisecond); return nil }})
	defer k.s.SetHooks(Hooks{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	ok, revisions := 0, map[string]bool{}
	messages := full(options(k.st("a"), expected), k.message("e0", nil))
	for range 10 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(k.ctx, 800*time.Millisecond)
			defer cancel()
			resp, _, err := k.post(ctx, messages...)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && strings.HasPrefix(answered(resp), "ok") {
				ok++
				revisions[answered(resp)] = true
			}
		})
	}
	wg.Wait()
	return parts(fmt.Sprintf("%d ok, %d distinct revisions", ok, len(revisions)), "stream → "+k.read(stream(k.st("a"))))
}
