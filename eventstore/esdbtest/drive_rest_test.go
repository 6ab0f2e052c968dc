package esdbtest

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

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
