package projections

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Projector owns the live generations of all views: it keeps them up to date,
// rebuilds them beside and answers readers.
type Projector struct {
	src    Source
	engine Engine
	opt    Options
	names  []string
	live   map[string]*serving
	loop   *Loop

	// rebuilding lets one rebuild run at a time.
	rebuilding sync.Mutex
	// state is what Run last said.
	state atomic.Pointer[error]
}

// serving is the live generation of one view. Readers hold mu while they read,
// a swap takes it for itself: the exchanged generation is closed under nobody.
type serving struct {
	mu sync.RWMutex
	*Projection
}

// Open opens the serving generation of every view. The caller closes the
// projector after Run and Rebuild have returned; src stays the caller's.
func Open(ctx context.Context, src Source, engine Engine, opt Options) (*Projector, error) {
	p := &Projector{src: src, engine: engine, opt: opt, live: map[string]*serving{}}
	consumers := make([]Consumer, 0, len(Views()))
	for _, v := range Views() {
		s, err := open(ctx, engine, v)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.names = append(p.names, v.Name())
		p.live[v.Name()] = s
		consumers = append(consumers, s)
	}
	live := opt
	live.Progress = nil
	live.Notice = p.notice
	p.loop = NewLoop(src, live, consumers...)
	return p, nil
}

func open(ctx context.Context, engine Engine, v View) (*serving, error) {
	g, err := engine.Open(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("opening view %s: %w", v.Name(), err)
	}
	pr, err := NewProjection(ctx, v.Name(), g, v)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return &serving{Projection: pr}, nil
}

// Close closes every generation.
func (p *Projector) Close() error {
	var errs []error
	for _, s := range p.live {
		s.mu.Lock()
		errs = append(errs, s.gen.Close())
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Run keeps the views up to date until ctx ends; where several processes share
// them, while it is this one's turn. See Loop.Run and Shared.
func (p *Projector) Run(ctx context.Context) error {
	err := p.run(ctx)
	p.state.Store(&err)
	return err
}

// CatchUp brings the views to the end of the log, for a process without Run.
func (p *Projector) CatchUp(ctx context.Context) error { return p.loop.CatchUp(ctx, domain.End) }

// Wait returns when every view has reached position at, which is that of an
// event of the ledger. It needs Run.
func (p *Projector) Wait(ctx context.Context, at domain.Position) error { return p.loop.Wait(ctx, at) }

func (p *Projector) notice(err error) {
	p.state.Store(&err)
	if p.opt.Notice != nil {
		p.opt.Notice(err)
	}
}

// Err says why the views do not move, nil while they do.
func (p *Projector) Err() error {
	if err := p.state.Load(); err != nil {
		return *err
	}
	return nil
}

// Status of one view.
type Status struct {
	Name       string          `json:"name"`
	Generation int             `json:"generation"`
	Position   domain.Position `json:"position"`
	// Lag is the distance to the end of the log: events on one machine, bytes of
	// log beyond. Events of others at the end count, too.
	Lag  uint64 `json:"lag"`
	Rows int64  `json:"rows"`
}

// Status lists the views in their order. It counts every row that readers see,
// which takes as long as reading them does; see Positions.
func (p *Projector) Status(ctx context.Context) ([]Status, error) {
	return p.list(ctx, (*serving).status)
}

// Positions is Status without Rows: it takes as long however large the views are.
func (p *Projector) Positions(ctx context.Context) ([]Status, error) {
	return p.list(ctx, (*serving).place)
}

func (p *Projector) list(ctx context.Context, of func(*serving, context.Context) (Status, error)) ([]Status, error) {
	head, err := p.head(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Status, 0, len(p.names))
	for _, name := range p.names {
		st, err := of(p.live[name], ctx)
		if err != nil {
			return nil, err
		}
		if st.Position.Before(head) {
			st.Lag = head.Commit - st.Position.Commit
		}
		list = append(list, st)
	}
	return list, nil
}

func (p *Projector) head(ctx context.Context) (domain.Position, error) {
	for e, err := range p.src.ReadAll(ctx, domain.End, eventstore.Backward, 1) {
		if err != nil {
			return domain.Start, fmt.Errorf("reading the end of the log: %w", err)
		}
		return e.Position, nil
	}
	return domain.Start, nil
}

func (s *serving) status(ctx context.Context) (st Status, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.views[0]
	err = s.gen.Snapshot(ctx, func(at Checkpoint, rows Rows) error {
		st = Status{Name: v.Name(), Generation: at.Generation, Position: at.Position}
		return rows("SELECT count(*) FROM ("+v.Relations()[0].Select+") AS v", nil, func(row []any) error {
			st.Rows, _ = row[0].(int64)
			return nil
		})
	})
	if err != nil {
		return Status{}, fmt.Errorf("status of view %s: %w", s.name, err)
	}
	return st, nil
}

func (s *serving) place(ctx context.Context) (Status, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, err := s.gen.Checkpoint(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("position of view %s: %w", s.name, err)
	}
	return Status{Name: s.name, Generation: s.gen.Number(), Position: at.Position}, nil
}

// Digest hashes a live view.
func (p *Projector) Digest(ctx context.Context, view string) (Digest, error) {
	s, ok := p.live[view]
	if !ok {
		return Digest{}, fmt.Errorf("%q: %w", view, ErrNoView)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return digestOf(ctx, s.gen, s.views[0])
}

var _ io.Closer = (*Projector)(nil)
