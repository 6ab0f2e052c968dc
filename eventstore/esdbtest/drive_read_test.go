package esdbtest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// five reads stream a, which has five events, in one way.
func five(changes ...change) driver {
	return func(k *kit) string {
		k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
		return k.read(with(stream(k.st("a")), changes...))
	}
}

// fives reads it in several ways.
func fives(names []string, reads ...[]change) driver {
	return func(k *kit) string {
		k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
		var out []string
		for i, r := range reads {
			out = append(out, names[min(i, len(names)-1)]+" → "+k.read(with(stream(k.st("a")), r...)))
		}
		return parts(out...)
	}
}

func asString(o *api.ReadReq_Options) {
	o.UuidOption = &api.ReadReq_Options_UUIDOption{Content: &api.ReadReq_Options_UUIDOption_String_{String_: &shared.Empty{}}}
}

func readDrivers() map[string]driver {
	read := []string{"read"}
	return map[string]driver{
		"R01": five(), "R02": five(backFromEnd), "R03": five(from(2)), "R04": five(back, from(2)),
		"R05": fives(read, []change{from(4)}, []change{from(5)}, []change{from(100)}),
		"R06": five(back, from(100)),
		"R07": fives(read, []change{limit(1)}, []change{limit(3)}, []change{limit(5)}, []change{limit(6)}),
		"R08": five(limit(0)), "R09": five(limit(math.MaxUint64)),
		"R10": fives(read, []change{end}, []change{back}),
		"R11": func(k *kit) string {
			return parts(k.both("a"), "from 5 → "+k.read(with(stream(k.st("a")), from(5))))
		},
		"R12": func(k *kit) string {
			k.three()
			a := func(c ...change) string { return k.read(with(stream(k.st("a")), c...)) }
			return parts("compat 0 → "+a(compat(0)), "compat 1 → "+a(compat(1)), "compat 1, backwards → "+a(compat(1), backFromEnd), "compat 1, past the end → "+a(compat(1), from(3)),
				"compat 1, nonexistent → "+k.read(with(stream(k.st("b")), compat(1))))
		},
		"R13": five(func(o *api.ReadReq_Options) { o.CountOption = nil }),
		"R15": five(func(o *api.ReadReq_Options) { o.FilterOption = nil }),
		"R16": five(func(o *api.ReadReq_Options) { o.GetStream().RevisionOption = nil }),
		"R17": five(filter(byStream("", "a"))),
		"R18": func(k *kit) string {
			id := k.ev("e0")
			k.must(k.st("a"), "NoStream", "e0")
			structured := k.events(stream(k.st("a")))[0].GetEvent().GetId()
			text := k.events(with(stream(k.st("a")), asString))[0].GetEvent().GetId()
			same, _ := readID(structured)
			return fmt.Sprintf("structured → structured same %t; string → string same %t, lower-case %t", structured.GetStructured() != nil && same == id,
				text.GetString_() == id.String(), text.GetString_() == strings.ToLower(text.GetString_()))
		},
		"R19": func(k *kit) string {
			k.must(k.st("a"), "NoStream", "e0")
			e := k.events(stream(k.st("a")))[0]
			r := e.GetEvent()
			outer := "no"
			if e.GetCommitPosition() == r.GetCommitPosition() {
				outer = "commit"
			}
			return fmt.Sprintf("metadata %s; stream %s; positions %t %t; outer position %s; link %t", strings.Join(slices.Sorted(maps.Keys(r.GetMetadata())), ","),
				k.hide(string(r.GetStreamIdentifier().GetStreamName())), r.GetCommitPosition() > 0, r.GetPreparePosition() > 0, outer, e.GetLink() != nil)
		},
		"R20": func(k *kit) string { return k.links() },
		"R21": fives(read, []change{from(math.MaxUint64)}, []change{from(1 << 63)}),
		"R22": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 20)...)
			var seen []string
			for next := uint64(0); ; next += 3 {
				got := k.events(with(stream(k.st("a")), from(next), limit(3)))
				for _, e := range got {
					seen = append(seen, strconv.FormatUint(e.GetEvent().GetStreamRevision(), 10))
				}
				if len(got) < 3 {
					break
				}
			}
			var want []string
			for i := range 20 {
				want = append(want, strconv.Itoa(i))
			}
			return fmt.Sprintf("%s..%s %t", seen[0], seen[len(seen)-1], slices.Equal(seen, want))
		},
		"R23": func(k *kit) string {
			return parts(`"$all" → `+k.read(stream("$all")), `"" → `+k.read(stream("")))
		},
	}
}

// links reads three of them: to an event, to a truncated one, to none.
func (k *kit) links() string {
	k.three()
	k.must(k.st("b"), "NoStream", run("f", 0, 2)...)
	k.meta(k.st("b"), `{"$tb":1}`)
	for i, target := range []string{"0@" + k.st("a"), "0@" + k.st("b"), "0@" + k.st("c")} {
		k.one(k.st("l"), "Any", "l"+strconv.Itoa(i), func(m *api.AppendReq_ProposedMessage) { m.Metadata["type"], m.Data = "$>", []byte(target) })
	}
	shown := func(o *api.ReadReq_Options) string {
		var out []string
		for _, e := range k.events(o) {
			token := "event=" + strings.TrimSuffix(e.GetEvent().GetMetadata()["type"], "-e0")
			if e.GetEvent() == nil {
				token = "event=none"
			}
			if e.GetLink() != nil {
				token += "+link"
			}
			out = append(out, token)
		}
		return strings.Join(out, " ")
	}
	return parts("plain → "+shown(stream(k.st("l"))), "resolved → "+shown(with(stream(k.st("l")), func(o *api.ReadReq_Options) { o.ResolveLinks = true })))
}

// laid writes e0..e2 in a, f0 f1 in b, g0 g1 in a, and answers their positions.
func (k *kit) laid() map[string]uint64 {
	p := map[string]uint64{}
	put := func(name string, labels ...string) {
		for _, l := range labels {
			p[l] = k.positionOf(k.st(name), "Any", l)
		}
	}
	put("a", "e0", "e1", "e2")
	put("b", "f0", "f1")
	put("a", "g0", "g1")
	return p
}

func allDrivers() map[string]driver {
	return map[string]driver{
		"L01": func(k *kit) string {
			p := k.laid()
			return parts("from e1 → "+k.read(with(all(), at(p["e1"], p["e1"]))), "from f0, limit 2 → "+k.read(with(all(), at(p["f0"], p["f0"]), limit(2))))
		},
		"L02": func(k *kit) string {
			p := k.laid()
			return "from f0, limit 3 → " + k.read(with(all(), back, at(p["f0"], p["f0"]), limit(3)))
		},
		"L03": func(k *kit) string { k.laid(); return k.read(with(all(), backFromEnd, limit(7))) },
		"L04": func(k *kit) string {
			k.laid()
			return parts("forwards → "+k.read(with(all(), end)), "backwards → "+k.read(with(all(), back)))
		},
		"L05": func(k *kit) string {
			p := k.laid()["e1"] + 1
			return parts("forwards → "+k.read(with(all(), at(p, p))), "backwards → "+k.read(with(all(), back, at(p, p))))
		},
		"L06": func(k *kit) string {
			p := k.laid()["g1"] + 1_000_000
			return parts("forwards → "+k.read(with(all(), at(p, p))), "backwards → "+k.read(with(all(), back, at(p, p))))
		},
		"L07": func(k *kit) string {
			k.laid()
			const most = math.MaxUint64
			return parts("max, forwards → "+k.read(with(all(), at(most, most))), "max, backwards → "+k.read(with(all(), back, at(most, most), limit(7))),
				fmt.Sprintf("0/0 forwards, limit 1 → %d events", len(k.events(with(all(), at(0, 0), limit(1))))), "0/0 backwards → "+k.read(with(all(), back, at(0, 0))))
		},
		"L08": func(k *kit) string {
			p := k.laid()
			return parts("commit f0, prepare e1 → "+k.read(with(all(), at(p["f0"], p["e1"]))), "commit e1, prepare f0 → "+k.read(with(all(), at(p["e1"], p["f0"]))),
				"commit e1, prepare 0 → "+k.read(with(all(), at(p["e1"], 0))))
		},
		"L09": func(k *kit) string { return k.agreeing() },
		"L10": func(k *kit) string {
			p := k.laid()
			return parts("forwards → "+k.read(with(all(), compat(1), at(p["g0"], p["g0"]))), "backwards → "+k.read(with(all(), compat(1), back, at(p["f0"], p["f0"]), limit(3))))
		},
		"L11": func(k *kit) string {
			k.laid()
			got := k.events(with(all(), limit(5)))
			rising := slices.IsSortedFunc(got, func(a, b *api.ReadResp_ReadEvent) int { return int(a.GetCommitPosition()) - int(b.GetCommitPosition()) })
			return fmt.Sprintf("%d events, rising %t", len(got), rising)
		},
		"L13": func(k *kit) string {
			p := k.mark()
			k.meta(k.st("a"), `{}`)
			return "$all → " + k.read(with(all(), at(p, p)))
		},
	}
}

// agreeing compares the positions of $all with those of the streams.
func (k *kit) agreeing() string {
	first := k.laid()["e0"]
	rising, equal, inStreams := true, true, true
	positions := map[string]uint64{}
	for _, name := range []string{"a", "b"} {
		for _, e := range k.events(stream(k.st(name))) {
			positions[k.eventToken(e, false)] = e.GetCommitPosition()
		}
	}
	last := uint64(0)
	for _, e := range k.events(with(all(), at(first, first))) {
		r := e.GetEvent()
		rising = rising && r.GetCommitPosition() > last
		equal = equal && r.GetCommitPosition() == r.GetPreparePosition()
		inStreams = inStreams && positions[k.eventToken(e, false)] == r.GetCommitPosition()
		last = r.GetCommitPosition()
	}
	return fmt.Sprintf("rising %t, commit==prepare %t, as in the streams %t", rising, equal, inStreams)
}

// filtered reads what laid wrote, from e0, by a filter.
func (k *kit) filtered(f change, more ...change) string {
	p, known := k.placeOf("e0")
	if !known {
		p = k.laid()["e0"]
	}
	return k.read(with(all(), append([]change{at(p, p), f}, more...)...))
}

// placeOf finds an event of stream a that was written before.
func (k *kit) placeOf(label string) (uint64, bool) {
	if k.read(stream(k.st("a"))) == k.hide("not-found("+k.st("a")+") EOF") {
		return 0, false
	}
	for _, e := range k.events(stream(k.st("a"))) {
		if k.eventToken(e, false) == label {
			return e.GetCommitPosition(), true
		}
	}
	return 0, false
}

func filterDrivers() map[string]driver {
	b := func(k *kit) string { return k.st("b") }
	return map[string]driver{
		"L20": func(k *kit) string {
			return parts("prefix b → "+k.filtered(filter(byStream("", b(k)))), "prefixes a,b → "+k.filtered(filter(byStream("", k.st("a"), b(k)))))
		},
		"L21": func(k *kit) string {
			return "ESR-… → " + k.filtered(filter(byStream("", "l21-", strings.ToLower(k.st("a")))))
		},
		"L22": func(k *kit) string {
			return parts("regex b → "+k.filtered(filter(byStream("^"+b(k)+"$"))), "unanchored → "+k.filtered(filter(byStream("22-b"))))
		},
		"L23": func(k *kit) string {
			return parts("prefix → "+k.filtered(filter(byType("", "t-f"))), "regex → "+k.filtered(filter(byType("^t-f[01]$"))))
		},
		"L24": func(k *kit) string {
			p := k.positionOf(k.st("a"), "NoStream", "e0")
			k.must(k.st("a"), 0, "e1", "e2")
			k.meta(k.st("a"), `{}`)
			k.must(k.st("b"), "NoStream", "m0")
			return k.read(with(all(), at(p, p), filter(byType(`^[^\$].*`))))
		},
		"L25": func(k *kit) string {
			f := filter(byStream("", b(k)))
			return parts("from e0, limit 1, only b → "+k.filtered(f, limit(1)), "from e0, limit 2, only b → "+k.filtered(f, limit(2)))
		},
		"L26": func(k *kit) string {
			return parts("max 1 → "+k.filtered(filter(byStream("", b(k)), windowOf(1))), "max 2 → "+k.filtered(filter(byStream("", b(k)), windowOf(2))))
		},
		"L27": func(k *kit) string {
			return parts("count → "+k.filtered(filter(byStream("", b(k)), countWindow)), "none → "+k.filtered(filter(byStream("", b(k)), noWindow)))
		},
		"L28": func(k *kit) string {
			p := k.laid()["g0"]
			return k.read(with(all(), back, at(p, p), filter(byStream("", b(k)))))
		},
		"L29": func(k *kit) string { return "no regex, no prefix → " + k.filtered(filter(byStream(""))) },
		"L30": func(k *kit) string {
			return "regex a, prefix b → " + k.filtered(filter(byStream("^"+k.st("a")+"$", b(k))))
		},
		"L31": func(k *kit) string {
			return "multiplier 0 → " + k.filtered(filter(byStream("", b(k)), times(0)))
		},
		"Z07": func(k *kit) string { return "read → " + k.filtered(filter(byStream("("))) },
		"Z08": func(k *kit) string {
			return parts("lookahead → "+k.filtered(filter(byStream("Z08-(?=b)"))), "lookbehind → "+k.filtered(filter(byStream("(?<=Z08-)b"))))
		},
		"Z09": func(k *kit) string { return k.filtered(filter(&api.ReadReq_Options_FilterOptions{})) },
	}
}
