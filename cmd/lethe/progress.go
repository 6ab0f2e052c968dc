package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// A meter shows on stderr how far long work has come; off a terminal it is silent.
type meter struct{ bar *progressbar.ProgressBar }

func (p *program) meter(what string, options ...progressbar.Option) meter {
	if !isTerminal(p.err) {
		return meter{}
	}
	return meter{bar: progressbar.NewOptions64(-1, append([]progressbar.Option{
		progressbar.OptionSetWriter(p.err), progressbar.OptionSetDescription(what), progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30),
	}, options...)...)}
}

// bytes is a meter that counts what is written through it.
func (p *program) bytes(what string) meter { return p.meter(what, progressbar.OptionShowBytes(true)) }

// progress is what long work reports to. A bar that cannot be drawn is no reason
// to end the work.
func (m meter) progress() api.Progress {
	return func(done, total int64) {
		if m.bar == nil {
			return
		}
		if total > 0 && total != m.bar.GetMax64() {
			m.bar.ChangeMax64(total)
		}
		_ = m.bar.Set64(done)
	}
}

func (m meter) writer(w io.Writer) io.Writer {
	if m.bar == nil {
		return w
	}
	return io.MultiWriter(w, m.bar)
}

func (m meter) end() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
