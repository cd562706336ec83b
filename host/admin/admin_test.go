package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a host that the tests set.
type scene struct {
	mu       sync.Mutex
	alive    error
	stopping bool
	polls    []Poll
	accounts Accounts
	asked    atomic.Int32 // how often the brokers were counted
	log      strings.Builder
}

func (s *scene) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *scene) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *scene) options(address string) Options {
	m := NewMetrics()
	m.Read(Readings{
		Accounts: func() Accounts { s.mu.Lock(); defer s.mu.Unlock(); return s.accounts },
		Depths: func(context.Context) []Depth {
			s.asked.Add(1)
			return []Depth{{Broker: "here", Stats: brokers.Stats{Ready: 7, Dead: 2, Paused: true}}, {Broker: "gone", Err: errors.New("connection refused")}}
		},
		Processes: func() []Processes {
			return []Processes{{Plugin: "demo", Busy: 2, Idle: 1, Broken: true}, {Plugin: "bad\xff"}}
		},
		Waiting: func() int { return 3 },
		Brokers: func() []BrokerReading {
			return []BrokerReading{{Name: "here", Held: 5, LastPoll: time.Now()}, {Name: "gone"}}
		},
		Stores:   func() []StoreReading { return []StoreReading{{Name: "records", Waiting: 1, Dropped: 2, Failures: 3}} },
		Reports:  func() []ReportReading { return []ReportReading{{Name: "log", Sent: 4, Failed: 5, Dropped: 6}} },
		LogLines: func() uint64 { return 8 },
	})
	return Options{Address: address, Logger: slog.New(slog.NewTextHandler(s, nil)), Metrics: m,
		Alive:    func(context.Context) error { s.mu.Lock(); defer s.mu.Unlock(); return s.alive },
		Stopping: func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.stopping },
		Polls:    func(context.Context, time.Duration) []Poll { s.mu.Lock(); defer s.mu.Unlock(); return s.polls },
		Accounts: func() Accounts { s.mu.Lock(); defer s.mu.Unlock(); return s.accounts },
		Status:   func() any { return map[string]int{"tasks": 1} },
	}
}

func (s *scene) open(t *testing.T, address string) *Server {
	t.Helper()
	server, err := Open(t.Context(), s.options(address))
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server
}

// get asks a server.
func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, s.Addr().Network(), s.Addr().String())
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	r, err := client.Get("http://host" + path)
	require.NoError(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(b)
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	s := &scene{polls: []Poll{{Broker: "a", Last: time.Now()}, {Broker: "b", Last: time.Now()}}}
	server := s.open(t, "127.0.0.1:0")
	expect := func(path string, code int, text string) {
		t.Helper()
		got, body := get(t, server, path)
		require.Equal(t, code, got, body)
		require.Equal(t, text, body)
	}
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 200, "ok\n")

	s.set(func() {
		s.polls[1] = Poll{Broker: "b", Last: time.Now().Add(-90 * time.Second), Problem: "dial tcp:\nconnection refused"}
		s.polls = append(s.polls, Poll{Broker: "c"})
	})
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 503, "broker \"b\" has not answered for 1m30s: dial tcp:; connection refused\nbroker \"c\" has not answered yet\n")

	s.set(func() { s.polls, s.stopping = nil, true })
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 503, "the host is stopping\n")

	s.set(func() {
		s.stopping, s.alive = false, errors.New("the feeding of tasks does not answer: context deadline exceeded")
	})
	expect("/healthz", 503, "the feeding of tasks does not answer: context deadline exceeded\n")
	expect("/readyz", 503, "the feeding of tasks does not answer: context deadline exceeded\n")
	expect("/status", 200, "{\n  \"tasks\": 1\n}\n")
	code, _ := get(t, server, "/nothing")
	require.Equal(t, 404, code)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := &scene{accounts: Accounts{Workers: 4, Running: 2, AliveProcesses: 3}}
	o := s.options("127.0.0.1:0")
	server, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	now := time.Now()
	ended := func(code task.ReturnCode, change func(*task.Record)) {
		r := &task.Record{ID: "x", Type: "mailer.send", RetC: code, ExStart: now, ExTime: 0.02, Run: task.Run{Ended: now}}
		if change != nil {
			change(r)
		}
		o.Metrics.Ended(r)
	}
	for range 3 {
		ended(task.Success, nil)
	}
	ended(task.Error, nil)
	ended(task.Error, func(r *task.Record) { r.Run.Retry = now })
	ended(task.Error, func(r *task.Record) { cancel.Conclude(r, brokers.Cancellation{}, now) })
	ended(task.TimeLimitExceeded, func(r *task.Record) { r.Run.Exit = &task.Exit{Reason: "timeout"} })
	ended(task.Error, func(r *task.Record) { r.Type = "" })
	o.Metrics.LeaseLost("here")

	code, body := get(t, server, "/metrics")
	require.Equal(t, 200, code)
	for _, want := range []string{
		`leptir_attempts_total{exit="none",next="done",result="success",type="mailer.send"} 3`,
		`leptir_attempts_total{exit="none",next="dead",result="error",type="mailer.send"} 1`,
		`leptir_attempts_total{exit="none",next="retry",result="error",type="mailer.send"} 1`,
		`leptir_attempts_total{exit="cancelled",next="cancelled",result="error",type="mailer.send"} 1`,
		`leptir_attempts_total{exit="timeout",next="dead",result="time limit exceeded",type="mailer.send"} 1`,
		`leptir_attempts_total{exit="none",next="dead",result="error",type="(other)"} 1`,
		`leptir_attempt_seconds_count{type="mailer.send"} 7`,
		`leptir_queue_tasks{broker="here",state="ready"} 7`,
		`leptir_queue_tasks{broker="here",state="dead"} 2`,
		`leptir_queue_paused{broker="here"} 1`,
		`leptir_broker_up{broker="here"} 1`,
		`leptir_broker_up{broker="gone"} 0`,
		`leptir_leases_held{broker="here"} 5`,
		`leptir_leases_lost_total{broker="here"} 1`,
		`leptir_workers 4`, `leptir_workers_busy 2`, `leptir_processes_alive 3`, `leptir_tasks_waiting 3`,
		`leptir_processes{plugin="demo",state="busy"} 2`,
		`leptir_plugin_broken{plugin="demo"} 1`,
		`leptir_record_write_failures_total{store="records"} 3`,
		`leptir_records_dropped_total{store="records"} 2`,
		`leptir_records_waiting{store="records"} 1`,
		`leptir_reports_total{reporter="log",result="dropped"} 6`,
		`leptir_log_lines_lost_total 8`,
		`leptir_disagreement{between="pool and dispatcher"} 0`,
		`leptir_build_info{version=`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		require.Contains(t, body, want)
	}
	require.NotContains(t, body, `leptir_queue_tasks{broker="gone"`)
	get(t, server, "/metrics")
	require.EqualValues(t, 1, s.asked.Load(), "brokers are not counted at every scrape")
}

// However many types producers make up, the metrics stay few.
func TestTypesAreBounded(t *testing.T) {
	t.Parallel()
	s := &scene{}
	o := s.options("127.0.0.1:0")
	server, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				o.Metrics.Ended(&task.Record{Type: fmt.Sprintf("made.up%d", i*4+g), RetC: task.Success})
			}
		})
	}
	wg.Wait()
	_, body := get(t, server, "/metrics")
	require.Equal(t, maxTypes+1, strings.Count(body, "\nleptir_attempts_total{"))
	require.Contains(t, body, fmt.Sprintf(`type="(other)"} %d`, 20000-maxTypes))
}

func BenchmarkEnded(b *testing.B) {
	m := NewMetrics()
	r := &task.Record{Type: "mailer.send", RetC: task.Success, ExStart: time.Now(), ExTime: 0.02}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Ended(r)
		}
	})
}

// A disagreement that lasts is a metric and one line of the log, and so is its end; one of a
// moment is neither.
func TestDisagreements(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{}
		o := s.options("")
		c := newChecker(o.Accounts, o.Metrics, o.Logger)
		metric := func(name, pair string) float64 {
			families, err := o.Metrics.registry.Gather()
			require.NoError(t, err)
			for _, f := range families {
				for _, m := range f.GetMetric() {
					if f.GetName() == name && m.GetLabel()[0].GetValue() == pair {
						return m.GetGauge().GetValue() + m.GetCounter().GetValue()
					}
				}
			}
			return -1
		}
		lines := func() int { s.mu.Lock(); defer s.mu.Unlock(); return strings.Count(s.log.String(), "\n") }
		for pair, wrong := range map[string]Accounts{
			pairTasks:     {PoolJobs: 3, DispatchJobs: 2, Leases: 3},
			pairLeases:    {PoolJobs: 3, DispatchJobs: 3, Leases: 2},
			pairProcesses: {PoolProcesses: 1, AliveProcesses: 2},
			pairWorkers:   {Workers: 4, Running: 5},
		} {
			before := lines()
			s.set(func() { s.accounts = wrong })
			time.Sleep(2*checkEvery + time.Second)
			s.set(func() { s.accounts = Accounts{} })
			time.Sleep(2 * checkEvery)
			require.Zero(t, metric("leptir_disagreement", pair), "%s: a moment", pair)
			require.Equal(t, before, lines())

			s.set(func() { s.accounts = wrong })
			time.Sleep(10 * checkEvery)
			require.EqualValues(t, 1, metric("leptir_disagreement", pair), pair)
			require.EqualValues(t, 1, metric("leptir_disagreements_total", pair), pair)
			require.Equal(t, before+1, lines(), "told once")
			for _, other := range pairs {
				if other != pair {
					require.Zero(t, metric("leptir_disagreement", other), "%s while %s", other, pair)
				}
			}
			s.set(func() { s.accounts = Accounts{} })
			time.Sleep(2 * checkEvery)
			require.Zero(t, metric("leptir_disagreement", pair), pair)
			require.Equal(t, before+2, lines())
		}
		c.close()
	})
}

func TestSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := &scene{}
	server := s.open(t, "unix:"+path)
	code, _ := get(t, server, "/healthz")
	require.Equal(t, 200, code)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left beside it")

	_, err = Open(t.Context(), s.options("unix:"+path))
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, path)
	code, _ = get(t, server, "/healthz")
	require.Equal(t, 200, code, "the first one serves on")
	server.Close()
	require.NoFileExists(t, path)

	// What a dead host has left is no obstacle, what is no socket is not touched.
	dead, err := net.Listen("unix", path)
	require.NoError(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())
	s.open(t, "unix:"+path).Close()
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = Open(t.Context(), s.options("unix:"+path))
	require.ErrorContains(t, err, "is no socket")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	s := &scene{}
	server := s.open(t, "127.0.0.1:0")
	_, err := Open(t.Context(), s.options(server.Addr().String()))
	require.ErrorContains(t, err, "admin: listen tcp "+server.Addr().String())
}
