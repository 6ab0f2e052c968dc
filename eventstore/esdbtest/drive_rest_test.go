package esdbtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/status"
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

// restarting gives the rule a server of its own, and a way to restart it.
func restarting(drive func(k *kit, restart func()) string) driver {
	return func(k *kit) string {
		s := Start(k.t, Options{Clock: time.Now})
		own := newKit(k.t, k.id, s, dial(k.t, s))
		return drive(own, func() {
			if err := s.Restart(); err != nil {
				k.t.Fatal(err)
			}
			con := dial(k.t, s)
			own.con, own.c = con, api.NewStreamsClient(con)
		})
	}
}

func restartDrivers() map[string]driver {
	retry := func(r retrial) driver {
		return restarting(func(k *kit, restart func()) string {
			r.meanwhile = func(*kit) { restart() }
			return r.drive(k)
		})
	}
	e3 := run("e", 0, 3)
	return map[string]driver{
		"V01": retry(retrial{before: 2, expected: 1, labels: e3, compare: true}), "V02": retry(retrial{expected: "NoStream", labels: e3, compare: true}),
		"V03": retry(retrial{expected: "Any", labels: e3, compare: true}), "V04": retry(retrial{before: 2, expected: "StreamExists", labels: e3, compare: true}),
		"V05": restarting(func(k *kit, restart func()) string {
			k.laid()
			before := fmt.Sprint(k.events(stream(k.st("a"))))
			restart()
			return fmt.Sprintf("ids, positions, data, created the same %t", fmt.Sprint(k.events(stream(k.st("a")))) == before)
		}),
		"V06": restarting(func(k *kit, restart func()) string {
			k.three()
			k.soft(k.st("a"), "Any")
			restart()
			return parts("read → "+k.read(stream(k.st("a"))), "append → "+k.app(k.st("a"), "NoStream", "n0"))
		}),
		"V07": restarting(func(k *kit, restart func()) string {
			k.buried()
			restart()
			return parts("read → "+k.read(stream(k.st("a"))), "append → "+k.app(k.st("a"), "NoStream", "n0"))
		}),
		"V08": restarting(func(k *kit, restart func()) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
			k.meta(k.st("a"), `{"$maxCount":1}`)
			restart()
			return "read → " + k.read(stream(k.st("a")))
		}),
		"V09": restarting(func(k *kit, restart func()) string {
			p := k.laid()["e0"]
			before := fmt.Sprint(k.events(all()))
			restart()
			return parts(fmt.Sprintf("same %t", before == fmt.Sprint(k.events(all()))), "$all → "+k.read(with(all(), at(p, p))))
		}),
		"V10": restarting(func(k *kit, restart func()) string {
			p := k.positionOf(k.st("a"), "NoStream", "e0")
			restart()
			resp, _, err := k.post(k.ctx, full(options(k.st("a"), 0), k.message("e1", nil))...)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprintf("higher %t (%s)", resp.GetSuccess().GetPosition().GetCommitPosition() > p, answered(resp))
		}),
		"V11": restarting(func(k *kit, restart func()) string {
			p := k.laid()["e1"]
			restart()
			return k.listen(with(all(), at(p, p))).take(7)
		}),
		"V12": restarting(func(k *kit, restart func()) string {
			call, err := k.c.Append(k.ctx)
			if err != nil {
				return err.Error()
			}
			for _, m := range full(options(k.st("a"), "NoStream"), k.messages(run("e", 0, 3))...) {
				if err := call.Send(m); err != nil {
					return err.Error()
				}
			}
			restart()
			return "read → " + k.read(stream(k.st("a")))
		}),
	}
}

// v4 is the released client, connected to the server.
func (k *kit) v4() *esdb.Client { return client(k.t, k.s.URL()) }

func code(err error) string {
	var e *esdb.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	name, known := map[esdb.ErrorCode]string{
		esdb.ErrorCodeUnknown: "Unknown", esdb.ErrorCodeResourceNotFound: "ResourceNotFound", esdb.ErrorCodeStreamDeleted: "StreamDeleted",
		esdb.ErrorCodeWrongExpectedVersion: "WrongExpectedVersion", esdb.ErrorCodeUnsupportedFeature: "UnsupportedFeature", esdb.ErrorCodeParsing: "Parsing",
	}[e.Code()]
	if !known {
		return fmt.Sprint(e.Code())
	}
	return name
}

func (k *kit) v4Append(c *esdb.Client, name string, expected esdb.ExpectedRevision, data ...[]byte) (*esdb.WriteResult, error) {
	var events []esdb.EventData
	for _, d := range data {
		events = append(events, esdb.EventData{EventType: "t", ContentType: esdb.ContentTypeBinary, Data: d})
	}
	return c.AppendToStream(k.ctx, k.st(name), esdb.AppendToStreamOptions{ExpectedRevision: expected}, events...)
}

func drain(r *esdb.ReadStream, err error) string {
	if err != nil {
		return "0 events, " + code(err)
	}
	defer r.Close()
	n := 0
	for {
		_, err := r.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d events, EOF", n)
		}
		if err != nil {
			return fmt.Sprintf("%d events, %s", n, code(err))
		}
		n++
	}
}

func ok(err error) string {
	if err != nil {
		return code(err)
	}
	return "ok"
}

func clientDrivers() map[string]driver {
	return map[string]driver{
		"H01": func(k *kit) string {
			c := k.v4()
			w, err := k.v4Append(c, "a", esdb.NoStream{}, []byte("x"))
			if err != nil {
				return err.Error()
			}
			s := drain(c.ReadStream(k.ctx, k.st("a"), esdb.ReadStreamOptions{From: esdb.Start{}}, 10))
			return parts(fmt.Sprintf("append ok next=%d", w.NextExpectedVersion), "stream "+s, "$all "+drain(c.ReadAll(k.ctx, esdb.ReadAllOptions{From: esdb.Start{}}, 3)))
		},
		"H02": func(k *kit) string {
			c := k.v4()
			_, _ = k.v4Append(c, "a", esdb.NoStream{}, []byte("x"))
			_, err := k.v4Append(c, "a", esdb.Revision(7), []byte("y"))
			var e *esdb.Error
			errors.As(err, &e)
			return code(err) + ": " + e.Err().Error()
		},
		"H03": func(k *kit) string {
			c := k.v4()
			_, _ = k.v4Append(c, "a", esdb.NoStream{}, []byte("x"))
			shown := func(err error) string {
				var e *esdb.Error
				errors.As(err, &e)
				return code(err) + "/" + status.Code(e.Err()).String()
			}
			_, soft := c.DeleteStream(k.ctx, k.st("a"), esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(7)})
			_, hard := c.TombstoneStream(k.ctx, k.st("a"), esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Revision(7)})
			return parts("delete "+shown(soft), "tombstone "+shown(hard))
		},
		"H04": func(k *kit) string {
			return drain(k.v4().ReadStream(k.ctx, k.st("a"), esdb.ReadStreamOptions{From: esdb.Start{}}, 10))
		},
		"H05": func(k *kit) string {
			k.buried()
			c := k.v4()
			_, appended := k.v4Append(c, "a", esdb.Any{}, []byte("x"))
			_, subscribed := c.SubscribeToStream(k.ctx, k.st("a"), esdb.SubscribeToStreamOptions{From: esdb.Start{}})
			return parts("read "+drain(c.ReadStream(k.ctx, k.st("a"), esdb.ReadStreamOptions{From: esdb.Start{}}, 10)), "append "+code(appended), "subscribe "+code(subscribed))
		},
		"H06": func(k *kit) string {
			c, m := k.v4(), esdb.StreamMetadata{}
			m.SetMaxCount(7)
			_, err := c.SetStreamMetadata(k.ctx, k.st("a"), esdb.AppendToStreamOptions{}, m)
			got, read := c.GetStreamMetadata(k.ctx, k.st("a"), esdb.ReadStreamOptions{})
			if read != nil {
				return read.Error()
			}
			return parts("set "+ok(err), fmt.Sprintf("maxCount %d", *got.MaxCount()))
		},
		"H07": func(k *kit) string {
			c := k.v4()
			_, none := c.GetStreamMetadata(k.ctx, k.st("b"), esdb.ReadStreamOptions{})
			k.three()
			k.soft(k.st("a"), "Any")
			m, err := c.GetStreamMetadata(k.ctx, k.st("a"), esdb.ReadStreamOptions{})
			if err != nil {
				return err.Error()
			}
			return parts("none "+code(none), fmt.Sprintf("soft-deleted $tb=%d", *m.TruncateBefore()))
		},
		"H08": func(k *kit) string {
			w, err := k.v4Append(k.v4(), "a", esdb.NoStream{})
			if err != nil {
				return err.Error()
			}
			return fmt.Sprintf("next=%d", w.NextExpectedVersion)
		},
		"H09": func(k *kit) string {
			c := k.v4()
			_, one := k.v4Append(c, "a", esdb.NoStream{}, make([]byte, 2<<20))
			many := make([][]byte, 2000)
			for i := range many {
				many[i] = make([]byte, 4096)
			}
			_, lost := k.v4Append(c, "a", esdb.NoStream{}, many...)
			var e *esdb.Error
			errors.As(one, &e)
			return parts("one "+code(one)+"/"+status.Code(e.Err()).String(), "many "+code(lost))
		},
		"H10": func(k *kit) string {
			c := k.v4()
			k.must(k.st("a"), "NoStream", "e0")
			s, err := c.SubscribeToStream(k.ctx, k.st("a"), esdb.SubscribeToStreamOptions{From: esdb.Start{}})
			if err != nil {
				return err.Error()
			}
			defer s.Close()
			filtered, err := c.SubscribeToAll(k.ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}, Filter: &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: []string{k.st("a")}}})
			if err != nil {
				return err.Error()
			}
			defer filtered.Close()
			return parts(appeared(s)+" "+appeared(s), "filtered "+firstEvent(filtered))
		},
		"H11": func(k *kit) string {
			err := k.v4().CreatePersistentSubscription(k.ctx, k.st("a"), "group", esdb.PersistentStreamSubscriptionOptions{})
			return "create " + ok(err)
		},
		"H12": func(k *kit) string {
			c, m := k.v4(), esdb.StreamMetadata{}
			m.SetAcl(func() esdb.Acl { a := esdb.Acl{}; a.AddReadRoles("admin", "ops"); return a }())
			_, err := c.SetStreamMetadata(k.ctx, k.st("a"), esdb.AppendToStreamOptions{}, m)
			_, read := c.GetStreamMetadata(k.ctx, k.st("a"), esdb.ReadStreamOptions{})
			return parts("set "+ok(err), "get "+code(read))
		},
	}
}

func appeared(s *esdb.Subscription) string {
	switch e := s.Recv(); {
	case e.EventAppeared != nil:
		return "event"
	case e.CaughtUp != nil:
		return "caught-up"
	case e.CheckPointReached != nil:
		return "checkpoint"
	default:
		return fmt.Sprint(e.SubscriptionDropped)
	}
}

// firstEvent skips checkpoints.
func firstEvent(s *esdb.Subscription) string {
	for {
		if got := appeared(s); got != "checkpoint" {
			return got
		}
	}
}

func oddDrivers() map[string]driver {
	return map[string]driver{
		"Z01": func(k *kit) string {
			info, err := gossip.NewGossipClient(k.con).Read(k.ctx, &shared.Empty{})
			if err != nil || len(info.GetMembers()) != 1 {
				return fmt.Sprint(info, err)
			}
			m := info.GetMembers()[0]
			_, set := readID(m.GetInstanceId())
			return fmt.Sprintf("1 member: %s alive=%t endpoint-is-the-dialled %t instance-id set %t time set %t", m.GetState(), m.GetIsAlive(),
				fmt.Sprintf("%s:%d", m.GetHttpEndPoint().GetAddress(), m.GetHttpEndPoint().GetPort()) == k.s.Address(), set, m.GetTimeStamp() > 0)
		},
		"Z02": func(k *kit) string {
			o := optionsMessage(options(k.st("a"), "Any"))
			return k.send(o, o)
		},
		"Z03": func(k *kit) string {
			o := options("", "Any")
			o.StreamIdentifier = nil
			return k.send(full(o, k.message("e0", nil))...)
		},
		"Z04": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			return parts("2^63 → "+k.app(k.st("a"), uint64(1<<63), "n0"), "max → "+k.app(k.st("a"), uint64(math.MaxUint64), "n1"), "max on a new stream → "+k.app(k.st("b"), uint64(math.MaxUint64), "n2"))
		},
		"Z05": func(k *kit) string {
			m := full(options(k.st("a"), "Any"), k.messages(run("e", 0, 2))...)
			return k.send(m[0], m[1], &api.AppendReq{}, m[2])
		},
		"Z06": func(k *kit) string {
			call, err := k.c.Read(k.ctx, &api.ReadReq{})
			if err != nil {
				return err.Error()
			}
			_, err = call.Recv()
			return parts("no stream option → "+k.read(with(stream(""), func(o *api.ReadReq_Options) { o.StreamOption = nil })), "no options → "+k.failed(err, call.Trailer()))
		},
		"Z10": func(k *kit) string { return k.soft(k.st("a"), nil) },
	}
}

// persistentDrivers all meet a service that is not there.
func persistentDrivers() map[string]driver {
	create := func(k *kit) string {
		_, err := persistent.NewPersistentSubscriptionsClient(k.con).Create(k.ctx, &persistent.CreateReq{})
		return "create → " + k.failed(err, nil)
	}
	out := map[string]driver{}
	for _, id := range []string{"P01", "P02", "P03", "P04", "P05", "P06"} {
		out[id] = create
	}
	return out
}

// timing replaces what depended on timing on the real server, too.
func timing() map[string]func(string) string {
	number := func(before string) func(string) string {
		return func(s string) string {
			i := strings.Index(s, before)
			if i < 0 {
				return s
			}
			rest := strings.TrimLeft(s[i+len(before):], "0123456789")
			return s[:i+len(before)] + "N" + rest
		}
	}
	begin := func(s string) string { return "N" + strings.TrimLeft(s, "0123456789") }
	return map[string]func(string) string{
		"I38": begin, "I39": begin, // how many of ten equal appends are answered
		"K09": number("torn "), // how often a reader meets half a batch
		"K10": number("distinct true, "),
		"U05": func(s string) string { // when caught-up comes between live events
			live, _ := strings.CutPrefix(s, "conf ¦ live → ")
			ranges := slices.DeleteFunc(strings.Fields(live), func(f string) bool { return f == "caught-up" })
			if strings.Count(s, "caught-up") != 1 || !gapless(ranges) {
				return s
			}
			return "gapless to " + last(ranges)
		},
	}
}

// last is where the last of some ranges ends.
func last(ranges []string) string {
	return strings.TrimLeft(regexp.MustCompile(`#\d+$`).FindString(ranges[len(ranges)-1]), "#")
}

// departures lists where the server answers otherwise than the real one, and why.
func departures() map[string]string {
	const persistent = "persistent subscriptions are not served: Lethe keeps its own checkpoints"
	const batch = "BatchAppend is not advertised, because clients would use it"
	out := map[string]string{
		"F02": batch, "F05": batch, "F03": persistent, "H11": persistent,
		"Z08": "filters are Go's regular expressions, which have no look-around",
	}
	for _, id := range []string{"P01", "P02", "P03", "P04", "P05", "P06"} {
		out[id] = persistent
	}
	return out
}
