package esdbtest

import "net/http"

type scavenging struct{}

func (s *Server) adminHandler() http.Handler { return http.NewServeMux() }
