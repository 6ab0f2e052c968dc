package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// ErrDiffers says that a rebuilt view is not the live one. Nothing was swapped;
// both generations are kept.
var ErrDiffers = errors.New("rebuilt view differs from the live one")

// Rebuilt tells how a view was rebuilt. The digests are equal: they are what was
// compared before the swap. There is no LiveDigest where the log went back.
type Rebuilt struct {
	Name       string          `json:"name"`
	Generation int             `json:"generation"`
	Events     int64           `json:"events"`
	Position   domain.Position `json:"position"`
	Digest     string          `json:"digest"`
	LiveDigest string          `json:"live_digest"`
}

// rebuild is one rebuild under way. Its projections belong to the caller of
// Rebuild until they are swapped in.
type rebuild struct {
	p      *Projector
	loop   *Loop
	next   map[string]*Projection
	order  []string
	events int64
}

// Rebuild makes new generations of the named views (of all, if none is named)
// from the log, while the old ones serve, compares both at the position of the
// swap and exchanges them, all or none. It needs no Run, and works beside it.
// Where the log went back behind the live views there is nothing to compare with: the
// new ones are swapped in as they are, without LiveDigest, and Run can be called again.
// On ErrDiffers the new generations are set aside for inspection; on any other
// error they are dropped. The old ones serve on. Where another process leads the
// views, it reports Led: that one can rebuild them.
func (p *Projector) Rebuild(ctx context.Context, progress func(Progress), names ...string) ([]Rebuilt, error) {
	p.rebuilding.Lock()
	defer p.rebuilding.Unlock()
	if len(names) == 0 {
		names = p.names
	}
	ctx, give, err := p.lead(ctx)
	if err != nil {
		return nil, err
	}
	defer give()
	r, err := p.begin(ctx, progress, names)
	if err != nil {
		return nil, errors.Join(err, r.drop())
	}
	done, err := r.run(ctx)
	switch {
	case errors.Is(err, ErrDiffers):
		return nil, errors.Join(err, r.setAside())
	case err != nil:
		return nil, errors.Join(err, r.drop())
	}
	return done, nil
}

func (p *Projector) begin(ctx context.Context, progress func(Progress), names []string) (*rebuild, error) {
	r := &rebuild{p: p, next: map[string]*Projection{}, order: names}
	opt := p.opt
	last := int64(0)
	opt.Progress = func(g Progress) {
		if g.Events < last {
			last = 0 // a further part of the log begins
		}
		r.events += g.Events - last
		last = g.Events
		if progress != nil {
			progress(g)
		}
	}
	r.loop = NewLoop(p.src, opt)
	var err error
	if err = r.loop.readDisposed(ctx); err != nil {
		return r, err
	}
	for _, name := range names {
		if err := r.create(ctx, name); err != nil {
			return r, fmt.Errorf("a new generation of view %s: %w", name, err)
		}
	}
	return r, nil
}

func (r *rebuild) create(ctx context.Context, name string) error {
	v, err := NewView(name)
	if err != nil || r.next[name] != nil {
		return err
	}
	g, err := r.p.engine.Create(ctx, v)
	if err != nil {
		return err
	}
	pr, err := NewProjection(ctx, name, g, v)
	r.next[name] = pr
	if err != nil {
		return err
	}
	r.loop.consumers = append(r.loop.consumers, pr.Bulk())
	return nil
}

// run catches up beside the live views first, then once more while they stand
// still.
func (r *rebuild) run(ctx context.Context) ([]Rebuilt, error) {
	live := r.p.loop
	switch err := live.stands(ctx); {
	case errors.Is(err, ErrLogWentBack):
		return r.anew(ctx, live)
	case err != nil:
		return nil, err
	}
	if err := r.loop.advance(ctx, live.position()); err != nil {
		return nil, err
	}
	live.mu.Lock()
	defer live.mu.Unlock()
	if err := r.align(ctx, live); err != nil {
		return nil, fmt.Errorf("bringing the live views to one position: %w", err)
	}
	if err := r.loop.advance(ctx, live.least()); err != nil {
		return nil, err
	}
	done, err := r.compare(ctx)
	if err != nil {
		return nil, err
	}
	return done, r.swap(ctx)
}

// stands reports ErrLogWentBack unless the log holds what the live views were built
// from.
func (l *Loop) stands(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verifyLog(ctx)
}

// anew is run where the live views follow what the log has lost.
func (r *rebuild) anew(ctx context.Context, live *Loop) ([]Rebuilt, error) {
	live.mu.Lock()
	defer live.mu.Unlock()
	if err := r.loop.advance(ctx, domain.End); err != nil {
		return nil, err
	}
	done := make([]Rebuilt, 0, len(r.order))
	for _, name := range r.order {
		next := r.next[name]
		d, err := digestOf(ctx, next.gen, next.views[0])
		if err != nil {
			return nil, err
		}
		done = append(done, Rebuilt{Name: name, Generation: next.gen.Number(), Events: r.events, Position: d.Position, Digest: d.Digest})
	}
	return done, r.swap(ctx)
}

// align brings the live views to one position, from which a crash between two
// transactions may have left them, and behind every record of disposal that
// either loop skips for: before, the two need not be alike.
func (r *rebuild) align(ctx context.Context, live *Loop) error {
	at := live.most()
	for _, d := range []*disposed{live.skip, r.loop.skip} {
		if last := d.last(); at.Before(last) {
			at = last
		}
	}
	if live.least() == at {
		return nil
	}
	return live.advance(ctx, at)
}

func (r *rebuild) compare(ctx context.Context) ([]Rebuilt, error) {
	done := make([]Rebuilt, 0, len(r.order))
	for _, name := range r.order {
		next, old := r.next[name], r.p.live[name]
		a, err := digestOf(ctx, next.gen, next.views[0])
		if err != nil {
			return nil, err
		}
		b, err := r.p.Digest(ctx, name)
		if err != nil {
			return nil, err
		}
		if a != b {
			return nil, fmt.Errorf("view %s: generation %d is %s at %s, the live generation %d is %s at %s: %w",
				name, next.gen.Number(), a.Digest, a.Position, old.gen.Number(), b.Digest, b.Position, ErrDiffers)
		}
		done = append(done, Rebuilt{
			Name: name, Generation: next.gen.Number(), Events: r.events, Position: a.Position, Digest: a.Digest, LiveDigest: b.Digest,
		})
	}
	return done, nil
}

// swap exchanges the generations. Once the engine's Swap returned, the new ones
// serve, whatever happens to this process.
func (r *rebuild) swap(ctx context.Context) error {
	views, gens := map[string]View{}, map[string]Generation{}
	for name, next := range r.next {
		views[name], gens[name] = next.views[0], next.gen
	}
	opened, err := r.p.engine.Swap(ctx, views, gens)
	if err != nil {
		return fmt.Errorf("swapping generations: %w", err)
	}
	var errs []error
	for name, g := range opened {
		next := r.next[name]
		next.gen, next.bulk = g, false
		delete(r.next, name)
		errs = append(errs, r.p.live[name].exchange(r.p.engine, next))
	}
	return errors.Join(errs...)
}

// exchange waits for readers of the old generation and drops it.
func (s *serving) exchange(engine Engine, next *Projection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Projection
	s.Projection = next
	if err := engine.Drop(old.name, old.gen); err != nil {
		return fmt.Errorf("dropping the old generation of view %s: %w", old.name, err)
	}
	return nil
}

func (r *rebuild) drop() error {
	var errs []error
	for name, next := range r.next {
		errs = append(errs, r.p.engine.Drop(name, next.gen))
	}
	return errors.Join(errs...)
}

func (r *rebuild) setAside() error {
	var errs []error
	for name, next := range r.next {
		kept, err := r.p.engine.SetAside(name, next.gen)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, fmt.Errorf("the rebuilt view %s is kept as %s", name, kept))
	}
	return errors.Join(errs...)
}
