package gateway

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTapIsTransparentUnderAnyChunking(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	rng := rand.New(rand.NewPCG(1, 2))
	up, ups := stream(rng, true, 400)
	down, downs := stream(rng, false, 400)
	go trickle(client, rand.New(rand.NewPCG(3, 4)), up)
	go trickle(server, rand.New(rand.NewPCG(5, 6)), down)
	server.want(up)
	client.want(down)
	client.send(closeFrame(true, 3000, "bye"))
	server.want(closeFrame(true, 3000, "bye"))
	server.send(closeFrame(false, 3000, ""))
	client.want(closeFrame(false, 3000, ""))
	_ = server.Close()
	client.wantEnd()
	_ = client.Close()
	rec.endedAs(t, 3000, ClosedByClient)
	if in, out := rec.counts(); in != ups.messages || out != downs.messages {
		t.Fatalf("recorded %d and %d messages, sent %d and %d", in, out, ups.messages, downs.messages)
	}
	if rec.controls != [2]int{ups.controls + 1, downs.controls + 1} {
		t.Fatalf("controls %v, sent %d and %d and a close each way", rec.controls, ups.controls, downs.controls)
	}
	if want := [2]int64{int64(len(up)) + 11, int64(len(down)) + 4}; rec.bytes != want {
		t.Fatalf("bytes %v, want %v", rec.bytes, want)
	}
	for i, m := range rec.messages[In] {
		if m.size != ups.sizes[i] || m.op != ups.ops[i] {
			t.Fatalf("message %d: %v, sent %d of %v", i, m, ups.sizes[i], ups.ops[i])
		}
	}
}

type tally struct {
	messages, controls int
	sizes              []int64
	ops                []Opcode
}

// stream makes n random messages, fragmented, with pings in between.
func stream(rng *rand.Rand, masked bool, n int) ([]byte, tally) {
	var b bytes.Buffer
	var c tally
	for range n {
		op := Opcode(1 + rng.IntN(2))
		parts := 1 + rng.IntN(4)
		total := int64(0)
		for i := range parts {
			first := byte(op)
			if i > 0 {
				first = 0
			}
			if i == parts-1 {
				first |= 0x80
			}
			size := []int{0, 1, 125, 126, 127, 200, 65535, 65536}[rng.IntN(8)]
			if size > 60000 && rng.IntN(10) > 0 {
				size = 300
			}
			b.Write(frame(masked, first, make([]byte, size)))
			total += int64(size)
			if rng.IntN(3) == 0 {
				b.Write(frame(masked, 0x89, make([]byte, rng.IntN(126))))
				c.controls++
			}
		}
		c.messages++
		c.sizes, c.ops = append(c.sizes, total), append(c.ops, op)
	}
	return b.Bytes(), c
}

// trickle writes in random pieces, mostly small ones.
func trickle(p *peerConn, rng *rand.Rand, b []byte) {
	for len(b) > 0 {
		n := 1 + rng.IntN(40)
		if rng.IntN(4) == 0 {
			n = 1 + rng.IntN(60000)
		}
		n = min(n, len(b))
		if _, err := p.Write(b[:n]); err != nil {
			p.t.Errorf("trickle: %v", err)
			return
		}
		b = b[n:]
	}
}

func TestTapCloses(t *testing.T) {
	text, back := frame(true, 0x81, []byte("hi")), frame(false, 0x81, []byte("ho"))
	tests := []struct {
		name string
		do   func(client, server *peerConn)
		code int
		why  CloseReason
		in   int // messages of the client
	}{
		{"client without a code", func(c, s *peerConn) {
			c.send(frame(true, 0x88, nil))
			s.want(frame(true, 0x88, nil))
			s.send(frame(false, 0x88, nil))
			_ = s.Close()
			c.want(frame(false, 0x88, nil))
			c.wantEnd()
		}, CodeNoStatus, ClosedByClient, 0},
		{"upstream closes and the client answers", func(c, s *peerConn) {
			s.send(back, closeFrame(false, 1001, "restart"))
			c.want(back, closeFrame(false, 1001, "restart"))
			c.send(closeFrame(true, 1001, ""))
			s.want(closeFrame(true, 1001, ""))
			_ = s.Close()
			c.wantEnd()
		}, CodeGoingAway, ClosedByUpstream, 0},
		{"data after a close frame goes nowhere", func(c, s *peerConn) {
			c.send(closeFrame(true, 1000, ""), text)
			s.want(closeFrame(true, 1000, ""))
			c.send(text)
			s.send(closeFrame(false, 1000, ""))
			_ = s.Close()
			c.want(closeFrame(false, 1000, ""))
			c.wantEnd()
		}, 1000, ClosedByClient, 0},
		{"client vanishes", func(c, s *peerConn) {
			c.send(text)
			s.want(text)
			_ = c.Close()
			s.wantEnd()
		}, CodeAbnormal, LostClient, 1},
		{"upstream vanishes", func(c, s *peerConn) {
			s.send(back)
			c.want(back)
			_ = s.Close()
			c.wantEnd()
		}, CodeAbnormal, LostUpstream, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, newBackend(t, nil, nil))
			client, server, rec := r.connect(t, "/", "")
			begin := time.Now()
			tt.do(client, server)
			_, _ = client.Close(), server.Close()
			rec.endedAs(t, tt.code, tt.why)
			if in, _ := rec.counts(); in != tt.in {
				t.Errorf("%d messages of the client recorded, want %d", in, tt.in)
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}
