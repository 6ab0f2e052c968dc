package main

import (
	"errors"
	"net"

	"github.com/spf13/cobra"
)

// benchUpstream is the server behind a measured gateway.
func (p *program) benchUpstream() *cobra.Command {
	var swallow bool
	c := &cobra.Command{Use: "upstream", Args: cobra.NoArgs}
	c.Flags().BoolVar(&swallow, "swallow", false, "answer nothing")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		var lc net.ListenConfig
		l, err := lc.Listen(cmd.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go serveFrames(l, swallow) // ends with the process
		return converse(p.in, p.out, "ws://"+l.Addr().String(), func(order) (any, error) {
			return nil, errors.New("an upstream takes no orders")
		})
	})
	return c
}

// serveFrames answers each connection until its end, whose reason does not
// matter: clients see theirs.
func serveFrames(l net.Listener, swallow bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			if acceptFrames(c) == nil {
				_ = answerFrames(c, swallow)
			}
			_ = c.Close()
		}()
	}
}
