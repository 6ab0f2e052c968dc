package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A stream is an answer without a length. Its head goes out with the first byte,
// so that an error before that is still answered as one. A reader who takes
// nothing for StallAfter is cut off.
type stream struct {
	call  *call
	media string
	rc    *http.ResponseController
	stall *time.Timer
	after time.Duration
}

func (c *call) stream(media string) *stream {
	w := &stream{call: c, media: media, rc: http.NewResponseController(c.w), after: c.server.opt.StallAfter}
	// A deadline in the past ends the write that is under way.
	w.stall = time.AfterFunc(w.after, func() { _ = w.rc.SetWriteDeadline(time.Unix(1, 0)) })
	w.stall.Stop()
	return w
}

// begin sends the head without a byte of the body.
func (w *stream) begin() {
	if w.call.status == 0 {
		w.call.begin(http.StatusOK, w.media)
	}
}

// Write implements io.Writer.
func (w *stream) Write(p []byte) (int, error) {
	w.begin()
	w.stall.Reset(w.after)
	defer w.stall.Stop()
	return w.call.w.Write(p)
}

func (w *stream) flush() error {
	w.stall.Reset(w.after)
	defer w.stall.Stop()
	return w.rc.Flush()
}

func (w *stream) close() { w.stall.Stop() }

// heartbeat is how often a silent feed says that it is there.
const heartbeat = 15 * time.Second

// feed sends the newest events as server-sent events until the caller goes or the
// server closes.
func (s *Server) feed(c *call) error {
	select {
	case s.feeds <- struct{}{}:
		defer func() { <-s.feeds }()
	default:
		return Unavailable("too many feeds at once; close one")
	}
	ctx, cancel := contextUntil(c.ctx(), s.ended)
	defer cancel()
	w := newFeedWriter(c)
	defer w.close()
	if err := w.send(": lethe\n\n"); err != nil {
		return nil //nolint:nilerr // the caller is gone
	}
	err := s.service.Feed(ctx, c.caller, w.event)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// contextUntil is parent, ending with other too.
func contextUntil(parent, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

// A feedWriter is written by the Service's goroutine and by the heartbeat's timer.
// mu keeps their lines apart, and the timer off an answer that is over.
type feedWriter struct {
	*stream
	mu   sync.Mutex
	beat *time.Timer
	over bool
}

func newFeedWriter(c *call) *feedWriter {
	w := &feedWriter{stream: c.stream("text/event-stream")}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat = time.AfterFunc(heartbeat, func() { _ = w.send(": here\n\n") }) // a reader who is gone ends the request's context
	return w
}

func (w *feedWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.beat.Stop()
	w.stream.close()
}

func (w *feedWriter) send(text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return nil
	}
	w.beat.Reset(heartbeat)
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.flush()
}

func (w *feedWriter) event(e FeedEvent) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an event of the feed: %w", err)
	}
	return w.send(fmt.Sprintf("id: %d\ndata: %s\n\n", e.Position, b))
}
