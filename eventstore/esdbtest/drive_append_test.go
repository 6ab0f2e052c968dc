package esdbtest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/metadata"
)

// drivers are all there are, by the id of their observation.
func drivers() map[string]driver {
	out := map[string]driver{}
	for _, group := range []map[string]driver{
		featureDrivers(), appendDrivers(), oddAppends(), sizeDrivers(), metadataDrivers(), idempotencyDrivers(), repeatDrivers(), deleteDrivers(), tombstoneDrivers(),
		truncationDrivers(), readDrivers(), allDrivers(), filterDrivers(), subscriptionDrivers(), allSubscriptionDrivers(), checkpointDrivers(),
		concurrencyDrivers(), restartDrivers(), clientDrivers(), oddDrivers(), persistentDrivers(),
	} {
		maps.Copy(out, group)
	}
	return out
}

// service writes the methods that the server reports of one service.
func (k *kit) service(name string) string {
	m, err := serverfeatures.NewServerFeaturesClient(k.con).GetSupportedMethods(k.ctx, &shared.Empty{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, s := range m.GetMethods() {
		if strings.Contains(s.GetServiceName(), name) {
			f := slices.Sorted(slices.Values(s.GetFeatures()))
			out = append(out, s.GetMethodName()+"["+strings.Join(f, ",")+"]")
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (k *kit) requiring(value string) *kit {
	ctx := metadata.AppendToOutgoingContext(k.ctx, "requires-leader", value)
	return &kit{t: k.t, id: k.id, s: k.s, c: k.c, con: k.con, ctx: ctx, mu: k.mu, ids: k.ids, labels: k.labels}
}

func featureDrivers() map[string]driver {
	return map[string]driver{
		"F01": func(k *kit) string {
			m, err := serverfeatures.NewServerFeaturesClient(k.con).GetSupportedMethods(k.ctx, &shared.Empty{})
			if err != nil {
				return err.Error()
			}
			return "dotted-integers " + m.GetEventStoreServerVersion()
		},
		"F02": func(k *kit) string { return k.service("streams.streams") },
		"F03": func(k *kit) string { return k.service("persistentsubscriptions") },
		"F05": func(k *kit) string {
			call, err := k.c.BatchAppend(k.ctx)
			if err != nil {
				return err.Error()
			}
			_, err = call.Recv()
			return fmt.Sprintf("advertised=%t; call → %s", strings.Contains(k.service("streams.streams"), "batchappend"), k.failed(err, nil))
		},
		"F06": func(k *kit) string {
			r := k.requiring("true")
			return parts("append "+r.app(k.st("a"), "NoStream", "e0"), "read "+r.read(stream(k.st("a"))), "delete "+r.soft(k.st("a"), "Any"))
		},
		"F07": func(k *kit) string {
			var out []string
			for i, v := range []string{"false", "True", "nonsense"} {
				out = append(out, v+" → "+k.requiring(v).app(k.st("a"+strconv.Itoa(i)), "NoStream", "e"+strconv.Itoa(i)))
			}
			return parts(out...)
		},
		"F09": func(k *kit) string {
			var out []string
			for _, m := range []string{"/event_store.client.streams.Streams/Nothing", "/nothing.Nothing/Nothing"} {
				out = append(out, k.failed(k.con.Invoke(k.ctx, m, &shared.Empty{}, &shared.Empty{}), nil))
			}
			return parts(out...)
		},
		"F10": func(k *kit) string {
			ctx, cancel := context.WithTimeout(k.ctx, -time.Second)
			defer cancel()
			_, _, err := k.post(ctx, full(options(k.st("a"), "NoStream"), k.message("e0", nil))...)
			return parts(k.failed(err, nil), "stream → "+k.read(stream(k.st("a"))))
		},
	}
}

// tried appends to a stream and reads it.
func (k *kit) tried(name string, expected any, labels ...string) string {
	return parts(k.app(k.st(name), expected, labels...), "stream → "+k.read(stream(k.st(name))))
}

// at2 makes stream a with three events, and tries an append.
func at2(expected any) driver {
	return func(k *kit) string {
		k.must(k.st("a"), "NoStream", run("e", 0, 3)...)
		return k.tried("a", expected, "n0")
	}
}

func fresh(expected any) driver {
	return func(k *kit) string { return k.tried("a", expected, "e0") }
}

func appendDrivers() map[string]driver {
	onlyMeta := func(expected any) driver {
		return func(k *kit) string {
			k.meta(k.st("a"), `{"x":1}`)
			return k.app(k.st("a"), expected, "e0")
		}
	}
	return map[string]driver{
		"A01": fresh("NoStream"), "A02": fresh("Any"), "A03": fresh("StreamExists"), "A04": fresh(0), "A05": fresh(5),
		"A06": at2("NoStream"), "A07": at2(2), "A08": at2(1), "A09": at2(0), "A10": at2(7), "A11": at2("StreamExists"), "A12": at2("Any"),
		"A13": onlyMeta("StreamExists"), "A14": onlyMeta("NoStream"),
		"A15": fresh(nil),
		"A16": func(k *kit) string {
			reply := k.positionOf(k.st("a"), "NoStream", run("e", 0, 3)...)
			read := k.events(stream(k.st("a")))
			first, last := read[0], read[2]
			return fmt.Sprintf("last=reply %t first<last %t commit==prepare %t outer==inner %t", last.GetEvent().GetCommitPosition() == reply,
				first.GetEvent().GetCommitPosition() < last.GetEvent().GetCommitPosition(), last.GetEvent().GetCommitPosition() == last.GetEvent().GetPreparePosition(),
				last.GetCommitPosition() == last.GetEvent().GetCommitPosition())
		},
		"A17": func(k *kit) string { return k.tried("a", "NoStream", run("e", 0, 10)...) },
		"A18": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			return k.tried("a", 5, run("n", 0, 10)...)
		},
		"A19": func(k *kit) string {
			m := k.messages(run("e", 0, 5))
			delete(m[2].Metadata, "type")
			return parts(k.send(full(options(k.st("a"), "NoStream"), m...)...), "stream → "+k.read(stream(k.st("a"))))
		},
		"A20": func(k *kit) string {
			ctx, cancel := context.WithCancel(k.ctx)
			defer cancel()
			call, err := k.c.Append(ctx)
			if err != nil {
				return err.Error()
			}
			for _, m := range full(options(k.st("a"), "NoStream"), k.messages(run("e", 0, 3))...) {
				if err := call.Send(m); err != nil {
					return err.Error()
				}
			}
			cancel()
			time.Sleep(quiet)
			return "stream → " + k.read(stream(k.st("a")))
		},
		"A28": func(k *kit) string {
			last := uint64(0)
			for i := range 40 {
				p := k.positionOf(k.st("a"+strconv.Itoa(i%3)), "Any", "e"+strconv.Itoa(i))
				if p <= last {
					return "not rising"
				}
				last = p
			}
			return "rising"
		},
		"A29": func(k *kit) string { return k.tried("a", "NoStream", run("e", 0, 500)...) },
		"A30": func(k *kit) string { return k.tried("a", "NoStream") },
		"A31": func(k *kit) string {
			return parts("Any → "+k.app(k.st("a"), "Any"), "StreamExists → "+k.app(k.st("b"), "StreamExists"))
		},
		"A32": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 3)...)
			return "exact(2) → " + k.tried("a", 2)
		},
		"A33": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 3)...)
			return parts("NoStream → "+k.app(k.st("a"), "NoStream"), "exact(1) → "+k.app(k.st("a"), 1), "exact(7) → "+k.app(k.st("a"), 7))
		},
		"A34": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 3)...)
			return parts("Any → "+k.app(k.st("a"), "Any"), "StreamExists → "+k.app(k.st("a"), "StreamExists"))
		},
	}
}

func oddAppends() map[string]driver {
	accepted := func(got string) string {
		if strings.HasPrefix(got, "ok ") {
			return "accepted"
		}
		return got
	}
	return map[string]driver{
		"A21": func(k *kit) string { return k.send() },
		"A22": func(k *kit) string {
			return k.send(eventMessage(k.message("e0", nil)), optionsMessage(options(k.st("a"), "NoStream")))
		},
		"A23": func(k *kit) string {
			id := k.ev("e0")
			got := k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) { m.Id = writeID(id, true) })
			read, _ := readID(k.events(stream(k.st("a")))[0].GetEvent().GetId())
			return parts(got, fmt.Sprintf("same id read back: %t", read == id))
		},
		"A24": func(k *kit) string {
			id := func(v *shared.UUID) string {
				return k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) { m.Id = v })
			}
			return parts("missing → "+id(nil), "zero → "+id(&shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{}}}),
				"malformed → "+id(&shared.UUID{Value: &shared.UUID_String_{String_: "not an id"}}))
		},
		"A25": func(k *kit) string {
			first := "first → " + k.app(k.st("a"), "NoStream", "e0", "e0")
			return parts(first, "stream → "+k.read(stream(k.st("a"))), "retry → "+k.app(k.st("a"), "NoStream", "e0", "e0"), "retry Any → "+k.app(k.st("a"), "Any", "e0", "e0"))
		},
		"A26": func(k *kit) string {
			name := func(s string) string { return accepted(k.app(s, "Any", "e"+strconv.Itoa(len(k.ids)))) }
			return parts("empty → "+name(""), "$all → "+name("$all"), "$$ → "+name("$$"), "odd → "+name(k.st("a")+" with spaces/and/slashes"),
				"long → "+name(k.st("a")+strings.Repeat("x", 2000)), "non-utf8 → "+accepted(k.send(full(&api.AppendReq_Options{
					StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(k.st("a") + "\xff\xfe")}, ExpectedStreamRevision: options("", "Any").ExpectedStreamRevision,
				}, k.message("m0", nil))...)))
		},
		"A27": func(k *kit) string { return k.app("$"+k.st("a"), "NoStream", "e0") },
	}
}

// sized appends one event with n bytes of data.
func (k *kit) sized(name string, n int) string {
	return k.one(k.st(name), "Any", "e"+strconv.Itoa(n), func(m *api.AppendReq_ProposedMessage) {
		m.Metadata["type"], m.Data = "tttttttttt", bytes.Repeat([]byte("d"), n)
	})
}

func sizeDrivers() map[string]driver {
	sized := func(n int) driver {
		return func(k *kit) string { return parts(k.sized("a", n), "stream → "+k.read(stream(k.st("a")))) }
	}
	return map[string]driver{
		"S01": sized(900_000), "S02": sized(1 << 20), "S03": sized(1<<20 + 1), "S04": sized(2 << 20), "S05": sized(17 << 20),
		"S06": func(k *kit) string {
			m := k.messages([]string{"e0", "e1"})
			m[0].Data, m[1].Data = make([]byte, 600_000), make([]byte, 600_000)
			return parts(k.send(full(options(k.st("a"), "NoStream"), m...)...), "stream → "+k.read(stream(k.st("a"))))
		},
		"S07": func(k *kit) string {
			got := k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) {
				m.CustomMetadata, m.Data = make([]byte, 600_000), make([]byte, 600_000)
			})
			return parts(got, "stream → "+k.read(stream(k.st("a"))))
		},
		"S08": func(k *kit) string {
			var out []string
			for _, less := range []int{20, 19, 10, 9} {
				out = append(out, fmt.Sprintf("limit-%d → %s", less, k.sized("a", 1<<20-less)))
			}
			return parts(out...)
		},
		"S09": func(k *kit) string {
			k.sized("a", 2<<20)
			return k.app(k.st("a"), "NoStream", "e0")
		},
		"S10": func(k *kit) string {
			m := k.messages(run("e", 0, 2000))
			for _, e := range m {
				e.Data = make([]byte, 4096)
			}
			return parts(k.send(full(options(k.st("a"), "NoStream"), m...)...), "stream → "+k.read(stream(k.st("a"))))
		},
		"S11": func(k *kit) string { return k.unchanged(900_000) },
		"S12": func(k *kit) string {
			var out []string
			for i, of := range []struct{ name, kind string }{{"1000", strings.Repeat("k", 1000)}, {"empty", ""}, {"$x", "$x"}, {"spaces", "with spaces in it"}} {
				s := k.st("a" + strconv.Itoa(i))
				out = append(out, of.name+" → "+k.one(s, "NoStream", "e"+strconv.Itoa(i), func(m *api.AppendReq_ProposedMessage) { m.Metadata["type"] = of.kind }))
				if of.kind != "" {
					out = append(out, fmt.Sprintf("same back %t", k.events(stream(s))[0].GetEvent().GetMetadata()["type"] == of.kind))
				}
			}
			return parts(out...)
		},
	}
}

// unchanged writes a large event and compares it by three ways of reading.
func (k *kit) unchanged(n int) string {
	data := bytes.Repeat([]byte("large"), n/5)
	position := k.positionOf(k.st("m"), "NoStream", "m0")
	k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) { m.Data = data })
	byStream := k.events(stream(k.st("a")))
	byAll := k.events(with(all(), at(position, position)))
	o := stream(k.st("a"))
	subscribing(o)
	call, err := k.c.Read(k.ctx, &api.ReadReq{Options: o})
	if err != nil {
		return err.Error()
	}
	var bySubscription []byte
	for bySubscription == nil {
		m, err := call.Recv()
		if err != nil {
			return err.Error()
		}
		bySubscription = m.GetEvent().GetEvent().GetData()
	}
	return fmt.Sprintf("%t %t %t", bytes.Equal(byStream[0].GetEvent().GetData(), data), bytes.Equal(byAll[1].GetEvent().GetData(), data), bytes.Equal(bySubscription, data))
}

func metadataDrivers() map[string]driver {
	without := func(keys ...string) driver {
		return func(k *kit) string {
			got := k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) {
				for _, key := range keys {
					delete(m.Metadata, key)
				}
			})
			return parts(got, "stream → "+k.read(stream(k.st("a"))))
		}
	}
	return map[string]driver{
		"M01": without("type"), "M02": without("content-type"), "M03": without("type", "content-type"),
		"M04": func(k *kit) string {
			got := k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) {
				m.Metadata["created"], m.Metadata["more"] = "12345", "x"
			})
			back := k.events(stream(k.st("a")))[0].GetEvent().GetMetadata()
			return parts(got, fmt.Sprintf("keys %s; caller's created kept %t", strings.Join(slices.Sorted(maps.Keys(back)), ","), back["created"] == "12345"))
		},
		"M05": func(k *kit) string {
			var out []string
			for i, c := range []string{"application/json", "application/octet-stream", "text/plain", "application/json; charset=utf-8", "application/x-protobuf", "APPLICATION/JSON", ""} {
				s := k.st("a" + strconv.Itoa(i))
				k.one(s, "NoStream", "e"+strconv.Itoa(i), func(m *api.AppendReq_ProposedMessage) { m.Metadata["content-type"] = c })
				out = append(out, c+" → "+k.events(stream(s))[0].GetEvent().GetMetadata()["content-type"])
			}
			return parts(out...)
		},
		"M06": func(k *kit) string {
			got := k.one(k.st("a"), "NoStream", "e0", func(m *api.AppendReq_ProposedMessage) {
				m.Metadata["content-type"], m.Data = "application/json", []byte("{nope")
			})
			e := k.events(stream(k.st("a")))[0].GetEvent()
			return parts(got, fmt.Sprintf("%s %q", e.GetMetadata()["content-type"], e.GetData()))
		},
		"M07": func(k *kit) string {
			binary, custom := []byte{0, 1, 2, 255}, []byte{9, 0, 255}
			k.one(k.st("a"), "Any", "e0", func(m *api.AppendReq_ProposedMessage) { m.Data = nil })
			k.one(k.st("a"), "Any", "e1", func(m *api.AppendReq_ProposedMessage) { m.Data, m.CustomMetadata = binary, custom })
			e := k.events(stream(k.st("a")))
			return fmt.Sprintf("empty %t binary %t custom %t", len(e[0].GetEvent().GetData()) == 0, bytes.Equal(e[1].GetEvent().GetData(), binary), bytes.Equal(e[1].GetEvent().GetCustomMetadata(), custom))
		},
		"M08": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			ticks, err := strconv.ParseInt(k.events(stream(k.st("a")))[0].GetEvent().GetMetadata()["created"], 10, 64)
			off := time.Since(time.Unix(0, ticks*100))
			return fmt.Sprintf("unix-ticks, within 5 minutes of this clock %t", err == nil && off.Abs() < 5*time.Minute)
		},
		"M09": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
			k.must(k.st("a"), "Any", run("f", 0, 5)...)
			last, rising := int64(math.MinInt64), true
			for _, e := range k.events(stream(k.st("a"))) {
				ticks, err := strconv.ParseInt(e.GetEvent().GetMetadata()["created"], 10, 64)
				rising = rising && err == nil && ticks >= last
				last = ticks
			}
			return fmt.Sprintf("never falls %t", rising)
		},
	}
}
