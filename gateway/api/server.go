package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of a Server. Reaching one answers 413 or 503, in words.
const (
	maxBody     = 64 << 10 // bytes of a request
	maxRequests = 64       // served at once, feeds among them
	maxFeeds    = 16
	maxPurpose  = 200 // bytes of the purpose header
	maxPage     = 10_000
)

// Header names of the API.
const (
	// HeaderPurpose says why the caller asks; it is sealed into what the request
	// causes. Without it the purpose is PurposeUnspecified.
	HeaderPurpose = "X-Lethe-Purpose"
	// HeaderIdempotencyKey is a UUID that names the caller's intention: an erasure's
	// request id, or a job's id. The same key again finds what it began.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderRequestID is in every answer, and in the log line of a failure.
	HeaderRequestID = "X-Request-Id"
)

// PurposeUnspecified is what a request without a purpose is recorded with. Calls
// that open or destroy what is held about one person refuse it.
const PurposeUnspecified = "unspecified"

// ServerOptions are what a Server needs beside the Service.
type ServerOptions struct {
	// Logger gets failures (5xx) with the request's id and, at debug level, one line
	// a request: method, pattern, status. Never an address, a body or a principal.
	Logger zerolog.Logger
	// Hosts are the names under which the server may be asked, beside localhost and
	// IP addresses. Any other Host is refused: it is how a page of a rebound domain
	// name reaches a loopback server.
	Hosts []string
	// TempDir holds replays until they are fetched; "" is the system's. What an
	// earlier process left there (lethe-replay-*) is removed, unless it is "".
	TempDir string
	// JobKept is how long a finished job can be asked for; 0 is 10 minutes.
	JobKept time.Duration
	// StallAfter ends an answer whose reader took nothing for that long; 0 is 30 s.
	StallAfter time.Duration
}

// A Server is the admin API over a Service. It is an http.Handler for /v1/, and
// for /healthz and /readyz where those are not served elsewhere. There are no
// cookies and no CORS: a browser can call it only from a page that holds a token.
type Server struct {
	service Service
	opt     ServerOptions
	mux     *http.ServeMux
	jobs    *jobs
	slots   chan struct{} // one a request being served
	feeds   chan struct{} // one a feed

	// ended is done when Close begins; feeds end with it.
	ended context.Context //nolint:containedctx // the server's own life, not a request's
	end   context.CancelFunc
}

// NewServer makes the handler. Close it before the Service is closed.
func NewServer(service Service, opt ServerOptions) *Server {
	if opt.JobKept <= 0 {
		opt.JobKept = 10 * time.Minute
	}
	if opt.StallAfter <= 0 {
		opt.StallAfter = 30 * time.Second
	}
	s := &Server{
		service: service, opt: opt, mux: http.NewServeMux(),
		slots: make(chan struct{}, maxRequests), feeds: make(chan struct{}, maxFeeds),
	}
	s.ended, s.end = context.WithCancel(context.Background())
	s.jobs = newJobs(s.ended, opt.Logger, opt.JobKept)
	s.sweep()
	for _, r := range routes() {
		s.mux.Handle(r.pattern, s.handler(r))
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.Handle("/", s.handler(route{roles: anybody, serve: func(*Server, *call) error {
		return NotFound("there is no such call; docs/ARCHITECTURE.md lists them")
	}}))
	return s
}

// sweep removes replays that an earlier process did not live to remove.
func (s *Server) sweep() {
	if s.opt.TempDir == "" {
		return
	}
	left, err := filepath.Glob(filepath.Join(s.opt.TempDir, replayPattern))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		s.opt.Logger.Warn().Err(err).Msg("old replays could not be removed")
	}
}

// Close ends feeds, cancels jobs, waits for them until ctx ends, and removes the
// files of replays.
func (s *Server) Close(ctx context.Context) error {
	s.end()
	return s.jobs.close(ctx)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.knowsHost(r.Host) {
		c := s.newCall(w, r)
		c.fail(Denied("this name is not one of the server's; ask by IP address or localhost"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// knowsHost lets through what no foreign page can cause: a rebound name arrives
// as that name in Host.
func (s *Server) knowsHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	return host == "localhost" || net.ParseIP(host) != nil || slices.Contains(s.opt.Hosts, host)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.service.Ready() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// handler serves a route: one slot, a caller with a right and a reason, then the
// work. Whatever it fails with goes through the table of errors.
func (s *Server) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := s.newCall(w, r)
		defer c.survive()
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			c.fail(Unavailable("too many requests at once; try again"))
			return
		}
		err := c.admit(r.Context(), rt)
		if err == nil {
			err = rt.serve(s, c)
		}
		if err != nil {
			c.fail(err)
		}
		s.opt.Logger.Debug().Str("request", c.id).Str("call", rt.pattern).Int("status", c.status).Msg("admin API")
	})
}

func (s *Server) newCall(w http.ResponseWriter, r *http.Request) *call {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	c := &call{server: s, w: w, r: r, id: hex.EncodeToString(b[:])}
	w.Header().Set(HeaderRequestID, c.id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return c
}

// survive turns a panic into an internal error. Its value stays out of the log,
// because nobody vouches for what it holds; the stack says where it was.
func (c *call) survive() {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	c.server.opt.Logger.Error().Str("request", c.id).Str("panic", fmt.Sprintf("%T", v)).Bytes("stack", debug.Stack()).Msg("admin API")
	c.answerError(Wire(errPanic))
}

var errPanic = errors.New("panic")
