package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// The wire side of benchmarks speaks just enough of RFC 6455 to load a gateway
// cheaply: binary messages of one frame, and a masking key of zeros, under which
// the payload stands in clear.

const (
	opBinary  = 0x82 // FIN and opcode 2
	opClose   = 0x88
	maskedBit = 0x80
)

// frameOf is one binary message; a client's has a masking key.
func frameOf(payload int, client bool) []byte {
	b := appendHeader(nil, payload, client)
	return append(b, make([]byte, payload)...)
}

func appendHeader(b []byte, payload int, client bool) []byte {
	mask := byte(0)
	if client {
		mask = maskedBit
	}
	if payload < 126 {
		b = append(b, opBinary, mask|byte(payload))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, opBinary, mask|126), uint16(payload)) //nolint:gosec // benchmarks send less than 64 KiB
	}
	if client {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

var errFrame = errors.New("an unexpected frame")

// cutFrame takes a client's frame from the front of b; nothing if it is not whole.
func cutFrame(b []byte) (payload []byte, size int, err error) {
	if len(b) < 2 {
		return nil, 0, nil
	}
	n, head := int(b[1]&^maskedBit), 6
	if b[0] == opClose {
		return nil, 0, io.EOF
	}
	if b[0] != opBinary || b[1]&maskedBit == 0 || n > 126 {
		return nil, 0, errFrame
	}
	if n == 126 {
		if len(b) < 4 {
			return nil, 0, nil
		}
		n, head = int(binary.BigEndian.Uint16(b[2:])), 8
	}
	if len(b) < head+n {
		return nil, 0, nil
	}
	return b[head : head+n], head + n, nil
}

// The key and answer of RFC 6455 §1.3: every handshake here is the same.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// dialFrames connects and shakes hands.
func dialFrames(ctx context.Context, address, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + sampleKey + "\r\nSec-WebSocket-Version: 13\r\nUser-Agent: bench\r\n\r\n"
	if _, err := io.WriteString(c, request); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	answer := make([]byte, 0, 1024)
	for !strings.HasSuffix(string(answer), "\r\n\r\n") {
		var one [1]byte
		if _, err := io.ReadFull(c, one[:]); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		answer = append(answer, one[0])
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
		return nil, errors.Join(fmt.Errorf("handshake answered %q", firstLine(string(answer))), c.Close())
	}
	return c, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}

// acceptFrames shakes hands as the server.
func acceptFrames(c net.Conn) error {
	request, err := http.ReadRequest(bufio.NewReaderSize(c, 1024))
	if err != nil {
		return err
	}
	if err := request.Body.Close(); err != nil {
		return err
	}
	_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+sampleAccept+"\r\n\r\n")
	return err
}

// answerFrames echoes every message of a connection, or swallows it.
func answerFrames(c net.Conn, swallow bool) error {
	in, have := make([]byte, 4<<10), 0
	var out []byte
	for {
		n, err := c.Read(in[have:])
		if err != nil {
			return err
		}
		have += n
		used := 0
		for {
			payload, size, err := cutFrame(in[used:have])
			if err != nil {
				return err
			}
			if size == 0 {
				break
			}
			used += size
			if !swallow {
				out = append(appendHeader(out, len(payload), false), payload...)
			}
		}
		have = copy(in, in[used:have])
		if have == len(in) {
			return errFrame
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}
