package lethe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// Nodes implements api.Service. It reads the log of a month.
func (l *Lethe) Nodes(ctx context.Context, _ api.Caller) (api.NodeList, error) {
	list := api.NodeList{Nodes: []api.Node{}}
	nodes, more, err := l.ledger.Nodes(ctx, l.store)
	if err != nil {
		return list, err
	}
	now := l.opt.Clock()
	for _, n := range nodes {
		list.Nodes = append(list.Nodes, api.Node{
			Writer: n.Writer.String(), First: n.First.UTC().Format(time.RFC3339), Last: n.Last.UTC().Format(time.RFC3339), State: nodeState(n, now),
		})
	}
	list.More = more
	return list, nil
}

func nodeState(n ledger.NodeSigns, now time.Time) string {
	switch {
	case n.Closed:
		return api.NodeClosed
	case n.Retired:
		return api.NodeRetired
	case n.Silent(now):
		return api.NodeSilent
	}
	return api.NodeOpen
}

// NodeRetire implements api.Service.
func (l *Lethe) NodeRetire(ctx context.Context, c api.Caller, writer string) (api.NodeRetirement, error) {
	id, err := domain.Parse[domain.WriterID](writer)
	if err != nil {
		return api.NodeRetirement{}, api.Usage("a node is named by its UUID; lethe node list shows them")
	}
	p, err := l.began(ctx, c, "node.retire", domain.SubjectRef{}, writer)
	if err != nil {
		return api.NodeRetirement{}, err
	}
	node, done, err := l.ownNode(ctx)
	if err != nil {
		return api.NodeRetirement{}, err
	}
	defer func() {
		if failed := done(ctx); failed != nil {
			l.log.Warn().Err(failed).Msg("the end of this command is not noted")
		}
	}()
	w, err := l.ledger.RetireNode(ctx, node, l.store, p.Ref, id)
	return retirementOf(writer, w, err)
}

// retirementOf finds the words for what became of a retirement.
func retirementOf(writer string, w *ledger.NodeRetirement, err error) (api.NodeRetirement, error) {
	switch {
	case errors.Is(err, ledger.ErrSecondPrincipal):
		named := api.NodeRetirement{Writer: writer, State: api.NodeNamed, Until: w.Named.Add(ledger.NodeNamed).UTC().Format(time.RFC3339)}
		return named, api.OnlyNamed(named)
	case errors.Is(err, ledger.ErrNodeSpoke):
		return api.NodeRetirement{}, api.Refused(fmt.Sprintf("only a node that has been silent for %d hours is retired: %v", int(ledger.NodeSilence.Hours()), err))
	case errors.Is(err, domain.ErrNotFound):
		return api.NodeRetirement{}, api.NotFound("no node of that name wrote to the log within 30 days; lethe node list shows them")
	case err != nil:
		return api.NodeRetirement{}, err
	}
	return api.NodeRetirement{
		Writer: writer, State: api.NodeRetired, From: time.Unix(w.From, 0).UTC().Format(time.RFC3339), To: time.Unix(w.To, 0).UTC().Format(time.RFC3339),
	}, nil
}

// ownNode is where this process notes something: its notes where it has begun some,
// or else notes for this command alone, which done ends.
func (l *Lethe) ownNode(ctx context.Context) (node *ledger.Node, done func(context.Context) error, err error) {
	kept := func(context.Context) error { return nil }
	if l.shared != nil {
		return l.shared.node, kept, nil
	}
	if e := l.edge.Load(); e != nil && e.node != nil {
		return e.node, kept, nil
	}
	node, err = l.openNode(ctx)
	if err != nil {
		return nil, nil, err
	}
	return node, node.Close, nil
}
