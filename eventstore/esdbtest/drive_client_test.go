package esdbtest

import (
	"errors"
	"fmt"
	"io"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/status"
)

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
