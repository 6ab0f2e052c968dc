package vault

import (
	"fmt"
	"sync"
	"time"
)

// Bounds of the breaker.
const (
	strikes  = 5                // failures in a row before a pause
	minPause = time.Second      // the first pause
	maxPause = 15 * time.Second // the longest
)

// A breaker answers for a Vault that does not: after some failures in a row
// calls fail at once for a while, then one is let through to try.
type breaker struct {
	clock func() time.Time

	mu     sync.Mutex // guards the rest
	failed int
	pause  time.Duration
	until  time.Time
}

// allow returns an error while calls pause. The first caller behind a pause is
// the one that tries; the others go on pausing until it has an answer.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < strikes {
		return nil
	}
	now := b.clock()
	if now.Before(b.until) {
		return fmt.Errorf("%w: calls pause for %s", ErrUnreachable, b.until.Sub(now).Round(time.Millisecond))
	}
	b.until = now.Add(b.pause)
	return nil
}

// note takes a call's outcome.
func (b *breaker) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !struck(err) {
		b.failed, b.pause = 0, 0
		return
	}
	b.failed++
	if b.failed >= strikes {
		b.pause = min(max(2*b.pause, minPause), maxPause)
		b.until = b.clock().Add(b.pause)
	}
}
