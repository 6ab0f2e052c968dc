package api

import (
	"net/http"
	"time"
)

// Bodies of requests. EraseRequest is in service.go.
type (
	subjectBody struct {
		ID string `json:"id"`
	}
	retentionBody struct {
		DryRun bool `json:"dry_run"`
	}
	rebuildBody struct {
		Names []string `json:"names,omitempty"`
		All   bool     `json:"all,omitempty"`
	}
	replayBody struct {
		AsOf time.Time `json:"as_of"`
	}
	tokenBody struct {
		Name string `json:"name"`
		Role string `json:"role"`
	}
	restoreBody struct {
		Lost string `json:"lost,omitempty"`
	}
	revokeBody struct {
		Name string `json:"name"`
	}
)

func (s *Server) whoAmI(c *call) error { return c.answer(http.StatusOK, c.caller) }

func (s *Server) subjectList(c *call) error {
	cursor, limit, err := c.page()
	if err != nil {
		return err
	}
	list, err := s.service.SubjectList(c.ctx(), c.caller, cursor, limit)
	return ok(c, list, err)
}

func (s *Server) subjectShow(c *call) error {
	id, err := c.subject()
	if err != nil {
		return err
	}
	show, err := s.service.SubjectShow(c.ctx(), c.caller, id)
	return ok(c, show, err)
}

// subject reads the external id of a person.
func (c *call) subject() (string, error) {
	var body subjectBody
	if err := c.decode(&body); err != nil {
		return "", err
	}
	if body.ID == "" {
		return "", Usage("name the person: id")
	}
	return body.ID, nil
}

// subjectExport streams the zip. An error before its first byte is answered; a
// later one cuts the answer off.
func (s *Server) subjectExport(c *call) error {
	id, err := c.subject()
	if err != nil {
		return err
	}
	w := c.stream("application/zip")
	defer w.close()
	return s.service.SubjectExport(c.ctx(), c.caller, id, w)
}

// erase answers 200 when nothing of what was named opens any more, and 202 when
// the request stands but is not finished: the same request again finishes it.
func (s *Server) erase(c *call) error {
	var body EraseRequest
	if err := c.decode(&body); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	if key != "" && body.Request != "" && key != body.Request {
		return Usage("the request and the " + HeaderIdempotencyKey + " name two different requests")
	}
	if body.Request == "" && body.ID != "" {
		body.Request = key
	}
	if body.ID == "" && body.Request == "" {
		return Usage("name the person, or the request to finish")
	}
	result, err := s.service.Erase(c.ctx(), c.caller, body)
	if err != nil && result.State == StatePending {
		s.opt.Logger.Error().Err(err).Str("request", c.id).Msg("admin API: an erasure is not finished")
		return c.answer(http.StatusAccepted, result)
	}
	return ok(c, result, err)
}

func (s *Server) receipt(c *call) error {
	file, err := s.service.Receipt(c.ctx(), c.caller, c.r.PathValue("id"))
	return ok(c, file, err)
}

func (s *Server) retentionStatus(c *call) error {
	status, err := s.service.RetentionStatus(c.ctx(), c.caller)
	return ok(c, status, err)
}

func (s *Server) retentionRun(c *call) error {
	var body retentionBody
	if err := c.decode(&body); err != nil {
		return err
	}
	run, err := s.service.RetentionRun(c.ctx(), c.caller, body.DryRun)
	return ok(c, run, err)
}

func (s *Server) views(c *call) error {
	list, err := s.service.Views(c.ctx(), c.caller)
	return ok(c, list, err)
}

func (s *Server) viewRows(c *call) error {
	cursor, limit, err := c.page()
	if err != nil {
		return err
	}
	rows, err := s.service.Query(c.ctx(), c.caller, c.r.PathValue("name"), cursor, limit)
	return ok(c, rows, err)
}

func (s *Server) viewDigest(c *call) error {
	digest, err := s.service.Digest(c.ctx(), c.caller, c.r.PathValue("name"))
	return ok(c, digest, err)
}

func (s *Server) restoreCheck(c *call) error {
	var body restoreBody
	if err := c.decode(&body); err != nil {
		return err
	}
	found, err := s.service.RestoreCheck(c.ctx(), c.caller, body.Lost)
	return ok(c, found, err)
}

func (s *Server) keysStatus(c *call) error {
	status, err := s.service.KeysStatus(c.ctx(), c.caller)
	return ok(c, status, err)
}

func (s *Server) tokenList(c *call) error {
	list, err := s.service.TokenList(c.ctx(), c.caller)
	return ok(c, list, err)
}

func (s *Server) tokenCreate(c *call) error {
	var body tokenBody
	if err := c.decode(&body); err != nil {
		return err
	}
	token, err := s.service.TokenCreate(c.ctx(), c.caller, body.Name, body.Role)
	return ok(c, token, err)
}

func (s *Server) tokenRevoke(c *call) error {
	var body revokeBody
	if err := c.decode(&body); err != nil {
		return err
	}
	return ok(c, struct{}{}, s.service.TokenRevoke(c.ctx(), c.caller, body.Name))
}

func (s *Server) doctor(c *call) error {
	findings, err := s.service.Doctor(c.ctx(), c.caller)
	return ok(c, findings, err)
}
