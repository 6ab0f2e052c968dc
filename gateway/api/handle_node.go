package api

import "net/http"

type nodeBody struct {
	Writer string `json:"writer"`
}

func (s *Server) nodes(c *call) error {
	list, err := s.service.Nodes(c.ctx(), c.caller)
	return ok(c, list, err)
}

// retireNode answers 200 when the node is retired, and 202 when it is named and
// another principal must confirm it.
func (s *Server) retireNode(c *call) error {
	var body nodeBody
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.Writer == "" {
		return Usage("name the node: writer")
	}
	result, err := s.service.NodeRetire(c.ctx(), c.caller, body.Writer)
	if err != nil && result.State == NodeNamed {
		return c.answer(http.StatusAccepted, result)
	}
	return ok(c, result, err)
}
