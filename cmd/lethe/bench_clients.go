package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// Clients are the connections of one load generator.
type clients struct {
	address string
	size    int
	began   time.Time // stamps count from here
	conns   []net.Conn
}

// Traffic is what clients sent, and how long answers took.
type traffic struct {
	Messages int     `json:"messages"` // sent; each was answered, unless it was swallowed
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	Max      float64 `json:"max_us"`
	Late     float64 `json:"late_p99_us"` // how late the generator itself was
}

// benchClients is a load generator.
func (p *program) benchClients() *cobra.Command {
	var gateway string
	k := &clients{began: time.Now()}
	c := &cobra.Command{Use: "clients", Args: cobra.NoArgs}
	c.Flags().StringVar(&gateway, "gateway", "", "where to connect")
	c.Flags().IntVar(&k.size, "size", 128, "bytes of each message")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		k.address = strings.TrimPrefix(gateway, "ws://")
		return converse(p.in, p.out, nil, func(o order) (any, error) { return k.follow(cmd.Context(), o) })
	})
	return c
}

func (k *clients) follow(ctx context.Context, o order) (any, error) {
	lasts := time.Duration(o.Seconds * float64(time.Second))
	switch o.Do {
	case "connect":
		return nil, k.connect(ctx, o.N)
	case "echo":
		return k.echo(o.Depth, lasts)
	case "pace":
		return k.pace(o.Rate, lasts, true)
	case "send":
		return k.pace(o.Rate, lasts, false)
	}
	return nil, fmt.Errorf("no such order: %s", o.Do)
}

// connect adds connections, each of a person of its own.
func (k *clients) connect(ctx context.Context, n int) error {
	first := len(k.conns)
	k.conns = append(k.conns, make([]net.Conn, n)...)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := first; i < first+n; i++ {
		g.Go(func() (err error) {
			k.conns[i], err = dialFrames(ctx, k.address, fmt.Sprintf("/?user=person-%d@example.com", i))
			return err
		})
	}
	return g.Wait()
}

// echo keeps depth messages under way on every connection.
func (k *clients) echo(depth int, lasts time.Duration) (t traffic, err error) {
	out := slices.Concat(slices.Repeat([][]byte{frameOf(k.size, true)}, depth)...)
	counts := make([]int, len(k.conns))
	var g errgroup.Group
	began := time.Now()
	for i, c := range k.conns {
		g.Go(func() error {
			in := make([]byte, depth*len(frameOf(k.size, false)))
			for time.Since(began) < lasts {
				if _, err := c.Write(out); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, in); err != nil {
					return err
				}
				counts[i] += depth
			}
			return nil
		})
	}
	err = g.Wait()
	t.Seconds = time.Since(began).Seconds()
	for _, n := range counts {
		t.Messages += n
	}
	return t, err
}

// pace sends at a rate, evenly over the connections and over time, whatever comes
// back; where answers are expected it waits for each of them and tells how long
// they took, from just before the write.
func (k *clients) pace(rate float64, lasts time.Duration, answered bool) (t traffic, err error) {
	each := max(1, int(rate*lasts.Seconds()/float64(len(k.conns))))
	interval := lasts / time.Duration(each)
	took, late := make([][]time.Duration, len(k.conns)), make([][]time.Duration, len(k.conns))
	var g errgroup.Group
	began := time.Now()
	for i, c := range k.conns {
		first := began.Add(interval * time.Duration(i) / time.Duration(len(k.conns)))
		g.Go(func() (err error) { late[i], err = k.sendAt(c, first, interval, each); return err })
		if answered {
			g.Go(func() (err error) { took[i], err = k.receive(c, each); return err })
		}
	}
	err = g.Wait()
	t = traffic{Messages: each * len(k.conns), Seconds: time.Since(began).Seconds()}
	all := slices.Concat(took...)
	t.P50, t.P99, t.P999, t.Max = quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), quantile(all, 1)
	t.Late = quantile(slices.Concat(late...), 0.99)
	return t, err
}

func (k *clients) sendAt(c net.Conn, at time.Time, interval time.Duration, n int) (late []time.Duration, err error) {
	frame := frameOf(k.size, true)
	stamp := frame[len(frame)-k.size:]
	late = make([]time.Duration, 0, n)
	for range n {
		time.Sleep(time.Until(at))
		late = append(late, time.Since(at))
		binary.BigEndian.PutUint64(stamp, uint64(time.Since(k.began))) //nolint:gosec // time passes forwards
		if _, err := c.Write(frame); err != nil {
			return late, err
		}
		at = at.Add(interval)
	}
	return late, nil
}

func (k *clients) receive(c net.Conn, n int) ([]time.Duration, error) {
	frame := frameOf(k.size, false)
	took := make([]time.Duration, 0, n)
	for range n {
		if _, err := io.ReadFull(c, frame); err != nil {
			return took, err
		}
		sent := time.Duration(binary.BigEndian.Uint64(frame[len(frame)-k.size:])) //nolint:gosec // as sendAt wrote it
		if since := time.Since(k.began) - sent; since >= 0 && sent > 0 {
			took = append(took, since)
		} else {
			return took, errors.New("an answer to no message")
		}
	}
	return took, nil
}

// quantile is in microseconds; it sorts.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Nanoseconds()) / 1e3
}
