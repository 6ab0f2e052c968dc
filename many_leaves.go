package lethe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// Beyond one machine nothing is removed until two nodes have its leaf, or as many
// as there are (FORMAT §8): each says how far it is in a document of the custodian.
const (
	leavesDocument = "leaves/"
	leavesEvery    = 10 * time.Second
	// leavesActive is how old a report may be for its node to count as there.
	leavesActive = 5 * time.Minute
	// leavesForgotten is when the report of a node that did not end properly goes.
	leavesForgotten = 24 * time.Hour
)

// A leavesReport says up to where a node has written leaf entries.
type leavesReport struct {
	Position domain.Position `json:"position"`
	At       time.Time       `json:"at"`
}

// reportLeaves tells the others, now and then, until ctx ends.
func (s *shared) reportLeaves(ctx context.Context) {
	if err := s.forgetLeaves(ctx); err != nil && ctx.Err() == nil {
		s.lethe.log.Warn().Err(err).Msg("old reports of leaf entries stay")
	}
	for pause(ctx, leavesEvery) == nil {
		if err := s.report(ctx); err != nil && ctx.Err() == nil {
			s.lethe.log.Warn().Err(err).Msg("the others are not told how far the leaf entries are; ciphertext may be removed later")
		}
	}
}

func (s *shared) report(ctx context.Context) error {
	at, _, _, _ := s.lethe.views.leaves.Last()
	value, err := json.Marshal(leavesReport{Position: at, At: s.lethe.opt.Clock().UTC()})
	if err != nil {
		return err
	}
	name := leavesDocument + s.node.Writer().String()
	_, version, err := s.lethe.custodian.Document(ctx, name)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return err
	}
	_, err = s.lethe.custodian.PutDocument(ctx, name, version, value)
	return err
}

// forgetLeaves removes the reports of nodes that have not been there for a day.
func (s *shared) forgetLeaves(ctx context.Context) error {
	var old []string
	now := s.lethe.opt.Clock()
	err := s.lethe.custodian.EachDocument(ctx, leavesDocument, func(name string, value []byte) bool {
		var r leavesReport
		if json.Unmarshal(value, &r) != nil || now.Sub(r.At) > leavesForgotten {
			old = append(old, name)
		}
		return true
	})
	for _, name := range old {
		err = errors.Join(err, s.remove(ctx, name))
	}
	return err
}

// withdraw removes this node's report: it is no longer there.
func (s *shared) withdraw(ctx context.Context) error {
	return s.remove(ctx, leavesDocument+s.node.Writer().String())
}

func (s *shared) remove(ctx context.Context, name string) error {
	_, version, err := s.lethe.custodian.Document(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.lethe.custodian.RemoveDocument(ctx, name, version)
}

// witnessedBySecond waits until another node that is there has every leaf up to a
// position; where there is none, this one is enough.
func (s *shared) witnessedBySecond(ctx context.Context, head domain.Position) error {
	for {
		others, there, err := s.others(ctx)
		if err != nil {
			return err
		}
		if there == 0 {
			return nil
		}
		for _, at := range others {
			if !at.Before(head) {
				return nil
			}
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("no second node has the leaf entries up to %s: %w", head, err)
		}
	}
}

// others are the positions of the other nodes that are there.
func (s *shared) others(ctx context.Context) (at []domain.Position, there int, err error) {
	now := s.lethe.opt.Clock()
	own := leavesDocument + s.node.Writer().String()
	err = s.lethe.custodian.EachDocument(ctx, leavesDocument, func(name string, value []byte) bool {
		var r leavesReport
		if name != own && json.Unmarshal(value, &r) == nil && now.Sub(r.At) < leavesActive {
			at, there = append(at, r.Position), there+1
		}
		return true
	})
	if err != nil {
		return nil, 0, fmt.Errorf("asking how far the others' leaf entries are: %w", err)
	}
	return at, there, nil
}
