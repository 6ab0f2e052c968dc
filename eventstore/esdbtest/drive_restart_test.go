package esdbtest

import (
	"fmt"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

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
