package ledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// maxTotals bounds the totals of one record.
const maxTotals = 1_500

// record appends a record of everything that is about to be removed, with its
// counts. A record stands for what is before it in the log, so each round counts
// up to the end of the log of that moment, and another one follows for what came
// between that and the record.
func (d *Disposal) record(ctx context.Context, w *sweep, f *fates, done *Disposed) error {
	if w.Recorded || f.empty() && !d.late(f) {
		return nil
	}
	from := domain.Start
	for round := 0; ; round++ {
		if round == len(w.Counted) {
			end, err := d.end(ctx)
			if err != nil {
				return err
			}
			w.Counted = append(w.Counted, end)
			if err := d.saveSweep(ctx, w); err != nil {
				return err
			}
		}
		c, err := d.count(ctx, f, from, w.Counted[round])
		if err != nil {
			return err
		}
		if round > 0 && c.empty() {
			break
		}
		if round == 0 {
			c.require(f)
		}
		if err := d.write(ctx, w, round, c); err != nil {
			return err
		}
		done.Events, done.Records = done.Events+c.events, done.Records+c.records
		from = w.Counted[round]
	}
	// The records are in the log: from here what they stand for goes, if not in
	// this call then in the next one.
	w.Recorded = true
	return d.saveSweep(ctx, w)
}

// late reports whether something was disposed of before, so that what came for it
// since may be there.
func (d *Disposal) late(f *fates) bool { return len(f.all) > 0 || len(f.buckets) > 0 }

// end is the position of the last event of the log.
func (d *Disposal) end(ctx context.Context) (domain.Position, error) {
	for r, err := range d.Whole.ReadAll(ctx, domain.End, eventstore.Backward, 1) {
		if err != nil {
			return domain.Start, fmt.Errorf("reading the end of the log: %w", err)
		}
		return r.Position, nil
	}
	return domain.Start, nil
}

// A count is what one round found.
type count struct {
	persons map[domain.CommandID]bool
	totals  map[totalKey]domain.Total // of persons
	buckets map[domain.RetentionKey]map[totalKey]domain.Total
	events  int64
	records int64
}

type totalKey struct {
	pool string
	key  domain.RetentionKey
}

func (c *count) empty() bool { return len(c.persons) == 0 && len(c.buckets) == 0 }

// require has a record written for every fate of the sweep, also for those of
// which the log has nothing.
func (c *count) require(f *fates) {
	for _, one := range f.pending {
		c.persons[one.note.Command] = true
	}
	for _, one := range f.pendingBuckets {
		if c.buckets[one.bucket] == nil {
			c.buckets[one.bucket] = map[totalKey]domain.Total{}
		}
	}
}

// count counts the events behind from, up to and including through, whose keys
// are gone and for which no record stands.
func (d *Disposal) count(ctx context.Context, f *fates, from, through domain.Position) (*count, error) {
	c := &count{
		persons: map[domain.CommandID]bool{}, totals: map[totalKey]domain.Total{}, buckets: map[domain.RetentionKey]map[totalKey]domain.Total{},
	}
	for e, err := range d.personal(ctx, from, through) {
		if err != nil {
			return nil, err
		}
		if under := f.uncounted(e.envelope, e.name.Block, e.Position); under != nil {
			c.add(under, e.envelope)
		}
	}
	return c, nil
}

func (c *count) add(under *fate, e domain.Envelope) {
	k := totalKey{pool: e.Facts.Text("pool"), key: domain.RetentionKey{Class: e.Class, Tier: e.Tier, Bucket: e.Bucket}}
	into := c.totals
	if under.note.Kind == domain.DestroyRetention {
		if into = c.buckets[under.bucket]; into == nil {
			into = map[totalKey]domain.Total{}
			c.buckets[under.bucket] = into
		}
	} else {
		c.persons[under.note.Command] = true
	}
	t := into[k]
	t.Pool, t.Key = k.pool, k.key
	t.Events++
	t.Records += int64(e.N)
	into[k] = t
	c.events++
	c.records += int64(e.N)
}

// write appends the records of a round, each once: their ids follow from sweep
// and round.
func (d *Disposal) write(ctx context.Context, w *sweep, round int, c *count) error {
	command := domain.Step(domain.RequestID(w.Command), fmt.Sprintf("records %d", round))
	var index uint32
	note := func(typ domain.EventType, facts domain.Facts) error {
		_, err := d.note(ctx, d.streams.Retention(), w.Retention, domain.Event(command, index), typ, facts)
		index++
		return err
	}
	persons := slices.SortedFunc(maps.Keys(c.persons), compareIDs)
	for totals := range chunks(sorted(c.totals)) {
		if len(persons) == 0 {
			break
		}
		if err := note(domain.SubjectDisposed, domain.NewFacts(domain.List("commands", idTexts(persons)), domain.List("totals", totals))); err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.buckets), domain.RetentionKey.Compare) {
		for totals := range chunks(sorted(c.buckets[k])) {
			facts := domain.NewFacts(
				domain.Name("kind", domain.DestroyRetention), domain.Name("class", k.Class), domain.Name("tier", k.Tier), domain.Name("bucket", k.Bucket),
				domain.List("totals", totals),
			)
			if err := note(domain.BucketDisposed, facts); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunks yields the texts of totals, at least once.
func chunks(totals []domain.Total) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		for first := true; first || len(totals) > 0; first = false {
			n := min(len(totals), maxTotals)
			texts := make([]string, n)
			for i, t := range totals[:n] {
				texts[i] = t.String()
			}
			if totals = totals[n:]; !yield(texts) {
				return
			}
		}
	}
}

func sorted(m map[totalKey]domain.Total) []domain.Total {
	list := make([]domain.Total, 0, len(m))
	for _, t := range m {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b domain.Total) int { return cmp.Or(cmp.Compare(a.Pool, b.Pool), a.Key.Compare(b.Key)) })
	return list
}

func compareIDs(a, b domain.CommandID) int { return slices.Compare(a[:], b[:]) }

func idTexts(ids []domain.CommandID) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return texts
}

// tellEvery is how many events of an embedded log lie between two words of
// progress, about.
const tellEvery = 1 << 12

// A personal event is one about a person or an anonymous ref.
type personal struct {
	domain.Recorded
	envelope domain.Envelope
	name     domain.StreamName
}

// personal reads the log behind from, up to and including through, and leaves
// out what is about nobody. Envelopes are read without their tags: views and
// leaf entries verified each event before it may be removed.
func (d *Disposal) personal(ctx context.Context, from, through domain.Position) func(func(personal, error) bool) {
	return func(yield func(personal, error) bool) {
		for r, err := range d.Whole.ReadAll(ctx, from, eventstore.Forward, 0) {
			if err != nil {
				yield(personal{}, fmt.Errorf("reading the log: %w", err))
				return
			}
			if through.Before(r.Position) {
				return
			}
			if d.progress != nil && r.Position.Commit%tellEvery == 0 {
				d.progress(r.Position.Commit, through.Commit)
			}
			p, ok, err := d.parse(r)
			if (ok || err != nil) && (!yield(p, err) || err != nil) {
				return
			}
		}
	}
}

func (d *Disposal) parse(r domain.Recorded) (p personal, ok bool, err error) {
	if !r.Type().Ours() || r.Type() == domain.StreamRested {
		return p, false, nil
	}
	p = personal{Recorded: r}
	if p.name, err = d.streams.Parse(r.Stream()); err != nil {
		return p, false, err
	}
	if p.name.Kind != domain.StreamSubject && p.name.Kind != domain.StreamAnonymous {
		return p, false, nil
	}
	spec, err := domain.Events.Spec(r.Type())
	if err != nil {
		return p, false, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	if p.envelope, err = domain.DecodeEnvelope(spec, r.Envelope()); err != nil {
		return p, false, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	return p, true, nil
}
