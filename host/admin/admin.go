// Package admin is the operator's side of a running host: an HTTP server that tells whether
// the host works, whether its brokers answer, what it counts and what it does, and a checker
// that compares what its parts count. It asks the host for all of that by the functions of
// its Options and knows nothing of how the host does anything.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// checkTime bounds what a request for health or readiness may ask of the host.
	checkTime = 3 * time.Second
	// stopTime is how long requests under way may take at the end.
	stopTime = 2 * time.Second
	// unixScheme begins an address that is a socket file.
	unixScheme = "unix:"
)

// Options say where to serve, and how to look at the host. All functions must be set; they
// are called by many goroutines.
type Options struct {
	// Address is "HOST:PORT" or "unix:FILE".
	Address string
	Logger  *slog.Logger
	// Alive proves that the host works, or says what does not.
	Alive func(ctx context.Context) error
	// Stopping reports whether the host has been told to stop.
	Stopping func() bool
	// Polls asks brokers that have been silent for so long whether they answer, and returns
	// how all of them stand.
	Polls func(ctx context.Context, silent time.Duration) []Poll
	// Accounts returns what the host's parts count.
	Accounts func() Accounts
	// Status returns what /status shows, as JSON.
	Status func() any
	// Metrics are served at /metrics.
	Metrics *Metrics
}

// Poll is how a broker stands.
type Poll struct {
	Broker  string
	Last    time.Time // the last successful call; zero if there was none
	Problem string    // of the latest call, empty if it succeeded
}

// Server serves until Close.
type Server struct {
	o       Options
	http    *http.Server
	checker *checker
	addr    net.Addr
	socket  string
	served  chan struct{}
	closing sync.Once
}

// Open begins to serve and to compare accounts. The error names the address.
func Open(ctx context.Context, o Options) (*Server, error) {
	s := &Server{o: o, served: make(chan struct{})}
	listener, err := s.listen(ctx)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s.addr = listener.Addr()
	if s.socket != "" {
		s.addr = &net.UnixAddr{Name: s.socket, Net: "unix"}
	}
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.checker = newChecker(o.Accounts, o.Metrics, o.Logger)
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // Close ends it
	}()
	return s, nil
}

// Addr returns where it serves: what port 0 has become.
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends the server, and waits a moment for requests under way. A second Close does
// nothing.
func (s *Server) Close() { s.closing.Do(s.close) }

func (s *Server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.served
	s.checker.close()
	if s.socket != "" {
		_ = os.Remove(s.socket)
	}
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(s.o.Address, unixScheme)
	var config net.ListenConfig
	if !isSocket {
		return config.Listen(ctx, "tcp", s.o.Address)
	}
	if err := clearSocket(ctx, path); err != nil {
		return nil, err
	}
	// It is made where nobody else can get at it, and moved to its place once nobody else can
	// connect to it.
	private, err := os.MkdirTemp(filepath.Dir(path), ".a")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	listener, err := config.Listen(ctx, "unix", made)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	s.socket = path
	return listener, nil
}

// ErrInUse is wrapped by the error of a socket file that another process serves.
var ErrInUse = errors.New("another process serves it")

// clearSocket removes a socket file that a dead process has left.
func clearSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s: %w", path, ErrInUse)
	}
	return os.Remove(path)
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", s.status)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.o.Metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, Timeout: 20 * time.Second,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "leptir-host: /healthz /readyz /metrics /status")
	})
	return mux
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}

// healthz tells whether the process works: whether the loops that feed and run tasks answer.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	if err := s.o.Alive(ctx); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ok")
}

// readyz tells whether the host gets work done: it works, is not stopping, and each of its
// brokers has answered lately.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	var why []string
	if s.o.Stopping() {
		why = append(why, "the host is stopping")
	}
	if err := s.o.Alive(ctx); err != nil {
		why = append(why, err.Error())
	}
	now := time.Now()
	for _, p := range s.o.Polls(ctx, silence) {
		if problem := p.stale(now); problem != "" {
			why = append(why, problem)
		}
	}
	if len(why) > 0 {
		plain(w, http.StatusServiceUnavailable, strings.Join(why, "\n"))
		return
	}
	plain(w, http.StatusOK, "ok")
}

const (
	// silence is how long a broker may have been silent before a request for readiness
	// asks it: an idle host has its reasons to leave it alone.
	silence = 5 * time.Second
	// recent is how old its last answer may be then.
	recent = 15 * time.Second
)

// stale says why a broker does not count as answering, "" if it does.
func (p Poll) stale(now time.Time) string {
	var text string
	switch age := now.Sub(p.Last); {
	case p.Last.IsZero():
		text = fmt.Sprintf("broker %q has not answered yet", p.Broker)
	case age > recent:
		text = fmt.Sprintf("broker %q has not answered for %v", p.Broker, age.Truncate(time.Second))
	default:
		return ""
	}
	if p.Problem != "" {
		text += ": " + strings.ReplaceAll(p.Problem, "\n", "; ")
	}
	return text
}

// status shows what the host is doing.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	b, err := json.MarshalIndent(s.o.Status(), "", "  ")
	if err != nil {
		plain(w, http.StatusInternalServerError, "the status cannot be written: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(b, '\n'))
}
