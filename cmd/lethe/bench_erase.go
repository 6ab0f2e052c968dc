package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/gateway/recorder"
)

// An eraseResult compares erasing persons of whom little and much is held.
type eraseResult struct {
	conditions
	Small  eraseFigure `json:"small"`
	Large  eraseFigure `json:"large"`
	Ratio  float64     `json:"ratio"`
	Others int         `json:"other_people"`
}

type eraseFigure struct {
	Records     int    `json:"records"`
	Connections int    `json:"connections"`
	Millis      spread `json:"ms"`

	millis []float64
}

func (r *eraseResult) sheets() []*sheet {
	s := spreadSheet("records", "connections", "figure")
	for _, f := range []eraseFigure{r.Small, r.Large} {
		s.with(f.Millis, f.Records, f.Connections, "ms")
	}
	s.after = "ratio of the medians " + figure(r.Ratio)
	return []*sheet{s}
}

var counsel = api.Caller{Principal: "bench", Role: api.RoleLegal, Purpose: "data-subject-request"}

// benchErase records people through the gateway's recorder, opens the directory
// as serve does, and erases them one after another.
func benchErase(ctx context.Context, b *bench) ([]result, error) {
	r := &eraseResult{
		Small: eraseFigure{Records: 10, Connections: 10}, Large: eraseFigure{Records: pick(b.quick, 2_000, 1_000_000), Connections: 100},
		Others: pick(b.quick, 20, 1000),
	}
	r.Notes = fmt.Sprintf("from the call to the signed receipt, in one process with live views, %d other people; all connections closed before; erased in turn", r.Others)
	data, runs := filepath.Join(b.dir, "data"), b.runsOr(7)
	if err := b.recordPeople(ctx, data, r, runs+1); err != nil {
		return nil, err
	}
	if err := b.erasePeople(ctx, data, r, runs+1); err != nil {
		return nil, err
	}
	r.Small.Millis, r.Large.Millis = spreadOf(r.Small.millis), spreadOf(r.Large.millis)
	r.Ratio = round3(r.Large.Millis.Median / r.Small.Millis.Median)
	r.atMost("ms to erase 10 records", r.Small.Millis.Median, 50)
	r.atMost(fmt.Sprintf("ms to erase %d records", r.Large.Records), r.Large.Millis.Median, 50)
	r.atMost("ratio", r.Ratio, 1.2)
	return []result{r}, nil
}

// Subjects implements recorder.Subjects over a ring.
type subjects struct{ *world }

// Subject implements recorder.Subjects.
func (s subjects) Subject(ctx context.Context, id string) (domain.SubjectRef, error) {
	p, err := s.ring.Person(id, domain.Erasable)
	if err != nil {
		return domain.SubjectRef{}, err
	}
	who, _, err := s.ring.Enrol(ctx, p)
	return who.Ref, err
}

// Anonymous implements recorder.Subjects.
func (s subjects) Anonymous(ctx context.Context) (domain.BlockID, domain.SubjectRef, error) {
	return s.ring.Anonymous(ctx)
}

func (b *bench) recordPeople(ctx context.Context, data string, r *eraseResult, each int) error {
	w, err := openWorld(ctx, data)
	if err != nil {
		return err
	}
	rec, err := recorder.New(recorder.Options{ //nolint:contextcheck // its goroutines end with Close
		Ledger: w.Ledger, Subjects: subjects{w}, Policy: w.policy.Policy(), Clock: time.Now,
		MAC: func(string) []byte { return nil }, Failed: func(err error) { _, _ = fmt.Fprintln(b.p.err, "recording:", err) },
	})
	if err != nil {
		return errors.Join(err, w.Close())
	}
	for i := range each {
		err = errors.Join(err, live(ctx, rec, smallPerson(i), r.Small), live(ctx, rec, largePerson(i), r.Large))
	}
	for i := range r.Others {
		err = errors.Join(err, live(ctx, rec, fmt.Sprintf("other-%d", i), r.Small))
	}
	return errors.Join(err, rec.Close(ctx), w.noteTime(ctx), w.Close())
}

func smallPerson(i int) string { return fmt.Sprintf("small-%d@example.com", i) }
func largePerson(i int) string { return fmt.Sprintf("large-%d@example.com", i) }

// live is a person's time on the gateway: connections, messages, and their end.
func live(ctx context.Context, rec *recorder.Recorder, id string, f eraseFigure) error {
	for range f.Connections {
		c, err := rec.Admit(ctx, gateway.Identity{ExternalID: id}, gateway.Connection{Pool: "default", Sever: func() {}})
		if err != nil {
			return err
		}
		if err := c.Opened(time.Now(), gateway.Origin{UserAgent: "bench"}); err != nil {
			return err
		}
		for i := range f.Records / f.Connections {
			m := []gateway.Message{{At: time.Now().UnixMicro(), Size: 100, Opcode: gateway.Text}}
			if _, err := c.Messages(gateway.Direction(i%2), m); err != nil {
				return err
			}
		}
		c.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
	}
	return nil
}

func (b *bench) erasePeople(ctx context.Context, data string, r *eraseResult, each int) (err error) {
	l, err := lethe.Open(ctx, benchConfig(data), lethe.Options{Logger: zerolog.New(b.p.err).Level(zerolog.WarnLevel), Version: version()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	return profiled(b.profile, func() error {
		for i := range each {
			small, err := timeErasure(ctx, l, smallPerson(i))
			if err != nil {
				return err
			}
			large, err := timeErasure(ctx, l, largePerson(i))
			if err != nil {
				return err
			}
			if i > 0 { // the first warms
				r.Small.millis, r.Large.millis = append(r.Small.millis, small), append(r.Large.millis, large)
			}
		}
		return nil
	})
}

// timeErasure lets the views catch up before, so that each erasure begins alike.
func timeErasure(ctx context.Context, l *lethe.Lethe, id string) (millis float64, err error) {
	if err := caughtUp(ctx, l); err != nil {
		return 0, err
	}
	began := time.Now()
	done, err := l.Erase(ctx, counsel, api.EraseRequest{ID: id, Ground: "A17-1-b", Reason: "bench"})
	took := time.Since(began)
	if err == nil && (done.State != "keys-destroyed" || done.Receipt.KeysDestroyed == 0) {
		err = fmt.Errorf("erasing %s destroyed nothing: %s", id, done.State)
	}
	return float64(took.Microseconds()) / 1e3, err
}

func caughtUp(ctx context.Context, l *lethe.Lethe) error {
	for {
		list, err := l.Views(ctx, counsel)
		if err != nil {
			return err
		}
		var lag int64
		for _, v := range list.Views {
			lag += v.Lag
		}
		if lag == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
