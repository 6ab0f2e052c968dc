// Package pgtest runs PostgreSQL servers of their own for tests: Debian's, in a
// temporary directory, with fsync on and behind a Unix socket only.
//
// A server ends with Stop, and when the process that started it ends. Its
// databases sort text by the rules of a language, as most servers in use do, so
// that what depends on the collation shows.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing says that there is no PostgreSQL server to start, and what to install.
var ErrMissing = errors.New("no PostgreSQL server is installed (Debian: postgresql)")

// Password is that of the role guarded, the only one that needs one.
const Password = "not a secret"

// Server is one server. It is safe for concurrent use, save Start, Stop and Crash.
type Server struct {
	bin, dir  string
	account   *syscall.Credential
	process   *exec.Cmd
	log       *os.File
	databases atomic.Int64
}

// New makes a server in a directory of its own and starts it. The caller stops it
// and calls Remove.
func New(ctx context.Context) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, fmt.Errorf("directory of a server: %w", err)
	}
	if err := s.create(ctx); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *Server) create(ctx context.Context) (err error) {
	if err := s.own(); err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return fmt.Errorf("log of a server: %w", err)
	}
	data := filepath.Join(s.dir, "data")
	out, err := s.command(ctx, "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
		"--locale-provider=icu", "--icu-locale=en-US").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	access := "local all guarded scram-sha-256\nlocal all all trust\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(access), 0o644); err != nil { //nolint:gosec // the server is another user
		return fmt.Errorf("access of a server: %w", err)
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.exec(ctx, "CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '"+Password+"'; CREATE ROLE bare LOGIN; CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER libc")
}

// binaries finds the newest server of Debian, or one on the path.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is good
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", ErrMissing
}

func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb)))) // 0 for what is no version
	return n
}

// own makes the directory that of the user postgres where this process is root:
// the server refuses to run as root.
func (s *Server) own() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("user postgres: %w", err)
	}
	s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(s.dir, int(uid), int(gid)); err != nil { //nolint:gosec // ids of 32 bits
		return fmt.Errorf("directory of a server: %w", err)
	}
	return nil
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...) //nolint:gosec // the server's own commands
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	c.Dir = s.dir
	return c
}

// Start starts the server again, and returns when it takes connections.
func (s *Server) Start(ctx context.Context) error {
	c := s.command(context.WithoutCancel(ctx), "postgres", "-D", filepath.Join(s.dir, "data"), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "max_connections=60", "-c", "shared_buffers=32MB", "-c", "log_min_messages=warning")
	c.Stdout, c.Stderr = s.log, s.log
	c.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	c.SysProcAttr.Setpgid = true
	if err := c.Start(); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	s.process = c
	for range 600 {
		if err := s.exec(ctx, "SELECT 1"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	b, err := os.ReadFile(s.log.Name())
	return fmt.Errorf("PostgreSQL does not take connections: %w: %s", errors.Join(errors.New("30 s have passed"), err), b)
}

// Stop ends the server in an orderly way and every session at once.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Crash ends the server as a power cut would: what was acknowledged is on disk,
// nothing else.
func (s *Server) Crash() error { return s.end(syscall.SIGQUIT) }

func (s *Server) end(sig syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Signal(sig); err != nil {
		return fmt.Errorf("ending PostgreSQL: %w", err)
	}
	err := s.process.Wait()
	s.process = nil
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("ending PostgreSQL: %w", err)
	}
	return nil
}

// Remove stops the server and removes its files.
func (s *Server) Remove() error {
	err := s.Stop()
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Socket is the path of the server's Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

// URL is the address of a database for a role; the empty role is the owner.
func (s *Server) URL(database, role string) string {
	if role == "" {
		role = "postgres"
	}
	return "postgres://" + role + "@/" + database + "?host=" + url.QueryEscape(s.dir)
}

// Database makes an empty database and returns its address.
func (s *Server) Database(ctx context.Context) (string, error) {
	name := "d" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.URL(name, ""), nil
}

func (s *Server) exec(ctx context.Context, list string) error {
	c, err := pgx.Connect(ctx, s.URL("postgres", ""))
	if err != nil {
		return err
	}
	for sql := range strings.SplitSeq(list, ";") {
		if _, e := c.Exec(ctx, sql); e != nil {
			err = errors.Join(err, fmt.Errorf("%.30s: %w", sql, e))
		}
	}
	return errors.Join(err, c.Close(ctx))
}
