package esdbtest

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestAStoppedServerKeepsItsPort: nothing else is found there, and who comes is
// turned away; closed, it gives the port back.
func TestAStoppedServerKeepsItsPort(t *testing.T) {
	s, err := New(Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Stop()
	if l, err := net.Listen("tcp", s.Address()); err == nil {
		_ = l.Close()
		t.Error("the port is free")
	}
	c, err := net.Dial("tcp", s.Address())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("a stopped server: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if c, err := net.Dial("tcp", s.Address()); err == nil {
		_ = c.Close()
		t.Error("a closed server answers")
	}
}
