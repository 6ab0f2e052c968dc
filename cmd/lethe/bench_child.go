package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// benchChildren are the processes that benchmarks start of themselves, so that
// what is measured stands alone. Nobody types them.
func (p *program) benchChildren() []*cobra.Command {
	list := []*cobra.Command{p.benchNode(), p.benchUpstream(), p.benchClients(), p.benchFold()}
	for _, c := range list {
		c.Hidden = true
	}
	return list
}

// A child is such a process. It answers one order at a time, in JSON on its
// standard output, and ends when its standard input does.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	name string
}

// An order is what a child is asked to do.
type order struct {
	Do      string  `json:"do"`
	Depth   int     `json:"depth,omitempty"`
	Rate    float64 `json:"rate,omitempty"` // messages a second, all connections together
	Seconds float64 `json:"seconds,omitempty"`
	N       int     `json:"n,omitempty"`
	File    string  `json:"file,omitempty"`
}

// An answer is what it says.
type answer struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// startChild starts a hidden command and reads what it says when it is ready.
func (b *bench) startChild(ctx context.Context, ready any, name string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{"bench", name}, args...)...), name: name} //nolint:gosec // this program itself
	c.cmd.Args[0] = filepath.Base(os.Args[0])
	c.cmd.Stderr = b.p.err
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c.out = json.NewDecoder(out)
	if err := c.read(ready); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *child) read(into any) error {
	var a answer
	if err := c.out.Decode(&a); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", c.name, a.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(a.Result, into)
}

// ask gives an order and waits for the answer.
func (c *child) ask(o order, into any) error {
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return c.read(into)
}

// stop ends the child and waits for it.
func (c *child) stop() error {
	if c == nil {
		return nil
	}
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

func stopAll(children ...*child) error {
	var errs []error
	for _, c := range children {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

// converse is the child's side: it says that it is ready and answers orders until
// its input ends.
func converse(in io.Reader, out io.Writer, ready any, do func(order) (any, error)) error {
	say := json.NewEncoder(out)
	reply := func(v any, err error) error {
		var a answer
		if err == nil {
			a.Result, err = json.Marshal(v)
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		return say.Encode(a)
	}
	if err := reply(ready, nil); err != nil {
		return err
	}
	for orders := json.NewDecoder(in); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := reply(do(o)); err != nil {
			return err
		}
	}
}

// A usage is what a process has used so far.
type usage struct {
	CPU  float64 `json:"cpu_us"`   // user and system, microseconds
	RSS  float64 `json:"rss_kib"`  // now
	Peak float64 `json:"peak_kib"` // ever
}

// ownUsage is that of this process.
func ownUsage() (u usage, err error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u.CPU = float64(r.Utime.Nano()+r.Stime.Nano()) / 1e3
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			kib, _ := strconv.ParseFloat(fields[0], 64) // of other lines
			switch name {
			case "VmRSS":
				u.RSS = kib
			case "VmHWM":
				u.Peak = kib
			}
		}
	}
	return u, nil
}

// profiled writes a CPU profile of this process while work runs, if a file is
// named.
func profiled(file string, work func() error) (err error) {
	if file == "" {
		return work()
	}
	stop, err := startProfile(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return work()
}

func startProfile(file string) (stop func() error, err error) {
	f, err := os.Create(file) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// writeHeap writes what this process keeps in its heap.
func writeHeap(file string) error {
	f, err := os.Create(file) //nolint:gosec // the operator's own choice
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
