package ledger

import "context"

// lease returns once this process may open: at once where it is alone.
func (l *Ledger) lease(ctx context.Context) error {
	if l.Many == nil || l.Many.Lease == nil {
		return nil
	}
	return l.Many.Lease.Hold(ctx)
}

// leased reports whether it still may.
func (l *Ledger) leased() error {
	if l.Many == nil || l.Many.Lease == nil {
		return nil
	}
	return l.Many.Lease.Allowed()
}

// everywhere waits until no process opens what a fence names that was
// acknowledged before the call: every lease from before it is over.
func (l *Ledger) everywhere(ctx context.Context) error {
	if l.Many == nil {
		return nil
	}
	return l.Many.Pause(ctx, LeaseWait)
}

// mirrored waits until a second node has a journal line, for a while.
func (l *Ledger) mirrored(ctx context.Context, seq uint64) bool {
	return l.Many != nil && l.Journal.AwaitMirror(ctx, seq)
}

// storeTime is nil where this process is alone.
func (l *Ledger) storeTime() *StoreTime {
	if l.Many == nil {
		return nil
	}
	return l.Many.StoreTime
}

// timely reports nil where keys may be destroyed by the clock as far as the log's
// own goes; beyond one machine that is looked at each time.
func (l *Ledger) timely(ctx context.Context) error {
	if times := l.storeTime(); times != nil {
		return times.Compare(ctx)
	}
	return nil
}
