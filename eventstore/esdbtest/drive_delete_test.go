package esdbtest

import (
	"fmt"
	"strconv"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// three makes stream a with e0..e2.
func (k *kit) three() { k.must(k.st("a"), "NoStream", run("e", 0, 3)...) }

// both reads a stream in both directions.
func (k *kit) both(name string) string {
	return parts("forwards → "+k.read(stream(k.st(name))), "backwards → "+k.read(with(stream(k.st(name)), backFromEnd)))
}

// metaText writes the metadata in force.
func (k *kit) metaText(name string) string {
	e := k.events(with(stream("$$"+k.st(name)), backFromEnd, limit(1)))[0].GetEvent()
	return fmt.Sprintf("#%d %s %s", e.GetStreamRevision(), e.GetMetadata()["type"], e.GetData())
}

// mark writes an event to begin reading the whole log from.
func (k *kit) mark() uint64 { return k.positionOf(k.st("z"), "Any", "mark") }

func afterSoft(expected any) driver {
	return func(k *kit) string {
		k.three()
		k.soft(k.st("a"), "Any")
		return parts("append "+show(expected)+" → "+k.app(k.st("a"), expected, "n0", "n1"), k.both("a"), "metadata: "+k.metaText("a"))
	}
}

func deleteDrivers() map[string]driver {
	return map[string]driver{
		"D01": func(k *kit) string {
			k.three()
			return parts(k.soft(k.st("a"), "Any"), k.both("a"), "from 1 → "+k.read(with(stream(k.st("a")), from(1))))
		},
		"D02": func(k *kit) string { k.three(); k.soft(k.st("a"), "Any"); return k.metaText("a") },
		"D03": func(k *kit) string {
			k.three()
			k.meta(k.st("a"), `{"$maxAge":1000,"$acl":{"$r":"$all"},"mine":1}`)
			k.soft(k.st("a"), "Any")
			return k.metaText("a")
		},
		"D04": afterSoft("NoStream"), "D05": afterSoft("Any"), "D06": afterSoft(2), "D07": afterSoft(1), "D08": afterSoft(3), "D09": afterSoft("StreamExists"),
		"D10": func(k *kit) string {
			k.three()
			k.soft(k.st("a"), "Any")
			p := k.mark()
			k.must(k.st("a"), "NoStream", "n0")
			return parts("$all from a mark → "+k.read(with(all(), at(p, p))), "last "+k.metaText("a"))
		},
		"D11": func(k *kit) string {
			k.three()
			k.soft(k.st("a"), "Any")
			return parts("write → "+k.meta(k.st("a"), `{"mine":1}`), "stream → "+k.read(stream(k.st("a"))), "append NoStream → "+k.app(k.st("a"), "NoStream", "n0"))
		},
		"D12": func(k *kit) string {
			var out []string
			for i, e := range []any{"Any", "NoStream", "StreamExists", 0} {
				out = append(out, show(e)+" → "+k.soft(k.st("a"+strconv.Itoa(i)), e))
			}
			return parts(out...)
		},
		"D13": func(k *kit) string {
			k.meta(k.st("a"), `{"mine":1}`)
			return parts(k.soft(k.st("a"), "Any"), "append NoStream → "+k.app(k.st("a"), "NoStream", "e0"))
		},
		"D14": func(k *kit) string {
			k.three()
			k.soft(k.st("a"), "Any")
			return parts("Any → "+k.soft(k.st("a"), "Any"), "exact(2) → "+k.soft(k.st("a"), 2), "NoStream → "+k.soft(k.st("a"), "NoStream"), "StreamExists → "+k.soft(k.st("a"), "StreamExists"))
		},
		"D15": func(k *kit) string {
			k.three()
			return parts("exact(1) → "+k.soft(k.st("a"), 1), "exact(9) → "+k.soft(k.st("a"), 9), "NoStream → "+k.soft(k.st("a"), "NoStream"), "stream → "+k.read(stream(k.st("a"))))
		},
		"D16": func(k *kit) string {
			k.three()
			k.must(k.st("b"), "NoStream", "f0")
			return parts("exact(2) → "+k.soft(k.st("a"), 2), "StreamExists → "+k.soft(k.st("b"), "StreamExists"))
		},
		"D17": func(k *kit) string {
			p := k.mark()
			k.three()
			k.soft(k.st("a"), "Any")
			return "$all → " + k.read(with(all(), at(p, p)))
		},
		"D18": func(k *kit) string {
			k.three()
			k.soft(k.st("a"), "Any")
			k.must(k.st("a"), "NoStream", "n0")
			return parts("delete → "+k.soft(k.st("a"), "Any"), "append → "+k.app(k.st("a"), "NoStream", "n1"), "stream → "+k.read(stream(k.st("a"))))
		},
		"D19": func(k *kit) string {
			k.meta(k.st("a"), `{}`)
			k.app("$all", "Any", "x0")
			return parts("$$ soft → "+k.soft("$$"+k.st("a"), "Any"), "$all soft → "+k.soft("$all", "Any"), "$$ tombstone → "+k.hard("$$"+k.st("a"), "Any"))
		},
	}
}

// buried makes stream a and tombstones it.
func (k *kit) buried() string {
	k.three()
	return k.hard(k.st("a"), "Any")
}

func afterTombstone(expected any, labels ...string) driver {
	return func(k *kit) string {
		k.buried()
		return k.app(k.st("a"), expected, labels...)
	}
}

func tombstoneDrivers() map[string]driver {
	return map[string]driver{
		"T01": func(k *kit) string { return k.buried() },
		"T02": afterTombstone("Any", "n0"), "T03": afterTombstone("NoStream", "n0"), "T04": afterTombstone(2, "n0"), "T05": afterTombstone("StreamExists", "n0"), "T06": afterTombstone("Any"),
		"T07": func(k *kit) string {
			k.buried()
			return parts(k.both("a"), "from 1 → "+k.read(with(stream(k.st("a")), from(1))))
		},
		"T08": func(k *kit) string {
			k.buried()
			return parts("soft → "+k.soft(k.st("a"), "Any"), "again → "+k.hard(k.st("a"), "Any"))
		},
		"T09": func(k *kit) string {
			k.buried()
			return parts("write → "+k.meta(k.st("a"), `{}`), "read → "+k.read(stream("$$"+k.st("a"))))
		},
		"T10": func(k *kit) string {
			k.three()
			return parts("exact(1) → "+k.hard(k.st("a"), 1), "exact(9) → "+k.hard(k.st("a"), 9), "NoStream → "+k.hard(k.st("a"), "NoStream"), "stream → "+k.read(stream(k.st("a"))))
		},
		"T11": func(k *kit) string {
			var out []string
			for i, e := range []any{"Any", "NoStream", "StreamExists", 0} {
				s := k.st("a" + strconv.Itoa(i))
				out = append(out, show(e)+" → "+k.hard(s, e), "then append → "+k.app(s, "Any", "n"+strconv.Itoa(i)))
			}
			return parts(out...)
		},
		"T12": func(k *kit) string {
			k.three()
			k.must(k.st("b"), "NoStream", "f0")
			return parts("exact(2) → "+k.hard(k.st("a"), 2), "StreamExists → "+k.hard(k.st("b"), "StreamExists"))
		},
		"T13": func(k *kit) string {
			k.three()
			k.soft(k.st("a"), "Any")
			return parts("tombstone → "+k.hard(k.st("a"), "Any"), "read → "+k.read(stream(k.st("a"))))
		},
		"T14": func(k *kit) string {
			p := k.mark()
			k.buried()
			events := k.events(with(all(), at(p, p)))
			last := events[len(events)-1].GetEvent()
			return parts("$all → "+k.read(with(all(), at(p, p))),
				fmt.Sprintf("tombstone record: content-type=%s data=%dB metadata=%dB", last.GetMetadata()["content-type"], len(last.GetData()), len(last.GetCustomMetadata())))
		},
		"T15": func(k *kit) string {
			k.three()
			k.meta(k.st("a"), `{"mine":1}`)
			k.hard(k.st("a"), "Any")
			return k.read(stream("$$" + k.st("a")))
		},
	}
}

// four reads a stream in the four ways that truncation shows in.
func (k *kit) four(s string) string {
	return parts("forwards → "+k.read(stream(s)), "backwards → "+k.read(with(stream(s), backFromEnd)),
		"from 0, one → "+k.read(with(stream(s), limit(1))), "backwards from 1 → "+k.read(with(stream(s), back, from(1))))
}

func truncatedBy(meta string) driver {
	return func(k *kit) string {
		k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
		k.meta(k.st("a"), meta)
		return k.four(k.st("a"))
	}
}

func truncationDrivers() map[string]driver {
	return map[string]driver{
		"B01": truncatedBy(`{"$maxCount":2}`), "B02": truncatedBy(`{"$tb":3}`), "B03": truncatedBy(`{"$maxCount":3,"$tb":3}`), "B04": truncatedBy(`{"$maxCount":1,"$tb":1}`),
		"B05": func(k *kit) string {
			return parts(truncatedBy(`{"$tb":100}`)(k), "append exact(4) → "+k.app(k.st("a"), 4, "n0"), "then → "+k.read(stream(k.st("a"))))
		},
		"B06": func(k *kit) string {
			k.meta(k.st("a"), `{"$maxAge":1}`)
			k.three()
			young := k.read(stream(k.st("a")))
			time.Sleep(1200 * time.Millisecond)
			out := parts("young → "+young, "expired → "+k.read(stream(k.st("a"))), "expired backwards → "+k.read(with(stream(k.st("a")), backFromEnd)))
			k.must(k.st("a"), 2, "n0")
			return parts(out, "with a new event → "+k.read(stream(k.st("a"))))
		},
		"B07": func(k *kit) string {
			p := k.mark()
			k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
			k.meta(k.st("a"), `{"$maxCount":1}`)
			k.must(k.st("b"), "NoStream", run("f", 0, 5)...)
			k.meta(k.st("b"), `{"$tb":4}`)
			return "$all → " + k.read(with(all(), at(p, p)))
		},
		"B08": func(k *kit) string {
			for range 3 {
				k.meta(k.st("a"), `{"mine":1}`)
			}
			return k.four("$$" + k.st("a"))
		},
		"B09": func(k *kit) string { return "read → " + k.read(stream("$$"+k.st("a"))) },
		"B10": func(k *kit) string { return k.meta("$$"+k.st("a"), `{"$maxCount":5}`) },
		"B11": func(k *kit) string {
			k.three()
			var out []string
			for i, body := range []string{`{nope`, `[1]`, `{"$maxCount":"x"}`, `{"$maxCount":-1}`, `{"$maxCount":0}`, ``} {
				got := k.metaAs(k.st("b"+strconv.Itoa(i)), "Any", "meta"+strconv.Itoa(i), body)
				k.meta(k.st("a"), body)
				out = append(out, body+" → "+got, "read → "+k.read(stream(k.st("a"))))
			}
			return parts(out...)
		},
		"B12": func(k *kit) string {
			k.three()
			got := k.one("$$"+k.st("a"), "NoStream", "x0", func(m *api.AppendReq_ProposedMessage) {
				m.Metadata["content-type"], m.Data = "application/json", []byte(`{"$maxCount":1}`)
			})
			return parts(got, "read → "+k.read(stream(k.st("a"))))
		},
		"B13": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
			k.meta(k.st("a"), `{"$tb":3}`)
			return k.listen(stream(k.st("a"))).take(4)
		},
		"B14": func(k *kit) string {
			k.must(k.st("a"), "NoStream", run("e", 0, 5)...)
			k.meta(k.st("a"), `{"$maxCount":1,"$tb":4}`)
			cut := k.read(stream(k.st("a")))
			k.meta(k.st("a"), `{"$maxCount":100,"$tb":0}`)
			return parts("cut → "+cut, "back → "+k.read(stream(k.st("a"))))
		},
		"B15": func(k *kit) string {
			for _, name := range []string{"a", "c"} {
				k.must(k.st(name), "NoStream", run(name, 0, 5)...)
				k.meta(k.st(name), `{"$tb":100}`)
			}
			return parts("read → "+k.read(stream(k.st("a"))), "NoStream → "+k.app(k.st("a"), "NoStream", "n0"), "StreamExists → "+k.app(k.st("a"), "StreamExists", "n1"),
				"exact(5) → "+k.app(k.st("a"), 5, "n2"), "exact(4) → "+k.app(k.st("b"), 4, "n3"), "exact(4) → "+k.app(k.st("c"), 4, "n4"))
		},
	}
}
