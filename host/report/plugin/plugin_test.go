package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/host/report/plugin"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { testbin.Main(m) }

// bundle is a reporter plugin as a host has it.
type bundle struct {
	report.Reporter
	t        *testing.T
	launcher *process.Launcher
	file     string // that the plugin writes

	mu   sync.Mutex
	spec process.Spec
	err  error
	log  bytes.Buffer
}

func (b *bundle) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bundle) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bundle) set(path string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spec = process.Spec{Plugin: "pager", Path: path, Env: []string{"REPORT_FILE=" + b.file}, StartTimeout: 20 * time.Second}
	b.err = err
}

func setup(t *testing.T, pkg string) *bundle {
	t.Helper()
	b := &bundle{t: t, file: filepath.Join(t.TempDir(), "reports")}
	b.set(testbin.Build(t, pkg), nil)
	quiet := slog.New(slog.DiscardHandler)
	var err error
	b.launcher, err = process.NewLauncher(t.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.launcher.Close()) })
	s := plugin.Kind().New().(*plugin.Settings)
	s.Plugin, s.CallTimeout = "pager", 2*time.Second
	b.Reporter, err = s.Open(t.Context(), report.Env{Name: "ops", Logger: slog.New(slog.NewTextHandler(b, nil)), Launcher: b.launcher,
		Plugin: func(name string) (process.Spec, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.spec, b.err
		}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func (b *bundle) lines() []string {
	text, err := os.ReadFile(b.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(b.t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// deliver reports messages within a time limit.
func (b *bundle) deliver(within time.Duration, messages ...string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(b.t.Context(), within, fmt.Errorf("no end after %v", within))
	defer cancel()
	var batch []report.Report
	for _, m := range messages {
		batch = append(batch, report.Report{ID: m, Message: m, Time: time.Now(), Task: &report.Task{ID: "t-" + task.ID(m), Type: "mail.send"}})
	}
	return b.Report(ctx, batch)
}

// The example in examples/reporter, run as a host runs it.
func TestExample(t *testing.T) {
	t.Parallel()
	b := setup(t, "examples/reporter")
	lost, err := b.Report(t.Context(), []report.Report{
		{ID: "r1", Time: time.Now(), Exception: true, Kind: report.KindTimeout, Message: "time limit of 1s exceeded", Stack: "goroutine 1",
			Data: json.RawMessage(`{"list":7,"task_id":"forged"}`), Task: &report.Task{ID: "t1", Type: "mail.send", Attempt: 2, Params: json.RawMessage(`{"a":1}`)},
			Plugin: "mail", PID: 7, Exit: &task.Exit{Reason: "timeout", Signal: "SIGKILL"}, Final: true},
		{ID: "r2", Time: time.Now(), Kind: report.KindPlugin, Message: "plugin is broken"},
	})
	require.NoError(t, err)
	require.Zero(t, lost)
	lines := b.lines()
	require.Len(t, lines, 2)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &got))
	delete(got, "time")
	require.Equal(t, map[string]any{"kind": "timeout", "message": "time limit of 1s exceeded", "task_type": "mail.send", "task_id": "t1", "attempt": 2.0,
		"final": true, "signal": "SIGKILL", "stack": "goroutine 1",
		"data": map[string]any{"list": 7.0, "task_id": "t1", "task_type": "mail.send", "attempt": 2.0}}, got)
	require.Contains(t, lines[1], "plugin is broken")
	require.NotContains(t, lines[1], "task_id", "the data of the report before were cleared")
	require.Equal(t, 1, b.launcher.Live(), "one process for all")
}

func TestFailingCalls(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	lost, err := b.deliver(20*time.Second, "one", "fail", "two", "panic", "three")
	require.Equal(t, 2, lost)
	require.EqualError(t, err, "the plugin says: it panicked: out of ink")
	require.Len(t, b.lines(), 3, "one that fails keeps no other back")
	require.Contains(t, b.lines()[0], "one mail.send t-one")
}

// A process that dies is started again; only what it dies of is lost.
func TestDyingProcess(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	lost, err := b.deliver(30*time.Second, "one", "die once", "two")
	require.NoError(t, err, b.logged())
	require.Zero(t, lost)
	lost, err = b.deliver(60*time.Second, "three", "die", "four")
	require.Equal(t, 1, lost)
	require.ErrorContains(t, err, "its process exited with code 7")
	var all []string
	for _, l := range b.lines() {
		word, _, _ := strings.Cut(l, " ")
		all = append(all, word)
	}
	for _, want := range []string{"one", "two", "three", "four", "die"} {
		if want == "die" {
			require.Contains(t, strings.Join(b.lines(), "\n"), "die once")
			continue
		}
		require.Contains(t, all, want)
	}
	require.Contains(t, b.logged(), "error reporter does not run; it will be started again")
}

func TestHangingProcess(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	lost, err := b.deliver(20*time.Second, "one")
	require.NoError(t, err)
	require.Zero(t, lost)
	begin := time.Now()
	lost, err = b.deliver(time.Second, "hang") // less than the call's own limit
	require.Equal(t, 1, lost)
	require.EqualError(t, err, "no answer: no end after 1s")
	lost, err = b.deliver(time.Minute, "hang")
	require.Equal(t, 1, lost)
	require.EqualError(t, err, "no answer within 2s")
	require.Less(t, time.Since(begin), 30*time.Second)
	lost, err = b.deliver(20*time.Second, "two")
	require.NoError(t, err, "another process does its work")
	require.Zero(t, lost)
	pids := map[string]bool{}
	for _, l := range b.lines() {
		pids[l[strings.LastIndexByte(l, ' '):]] = true
	}
	require.Len(t, pids, 2)
	require.Eventually(t, func() bool { return b.launcher.Live() == 1 }, 10*time.Second, 5*time.Millisecond, "the one that hung is gone")
}

// A new binary takes over between two calls.
func TestNewBinary(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	_, err := b.deliver(20*time.Second, "one")
	require.NoError(t, err)
	b.set(testbin.Build(t, "examples/reporter"), nil)
	_, err = b.deliver(20*time.Second, "two")
	require.NoError(t, err)
	require.Contains(t, b.lines()[1], `"message":"two"`)
	b.set("", errors.New("plugin is broken"))
	_, err = b.deliver(20*time.Second, "three")
	require.NoError(t, err, "what runs goes on")
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	path := b.spec.Path
	b.set("", errors.New(`there is no plugin "pager" in plugins`))
	lost, err := b.deliver(600*time.Millisecond, "one", "two")
	require.Equal(t, 2, lost)
	require.EqualError(t, err, `no end after 600ms; there is no plugin "pager" in plugins`)
	b.set(path, nil)
	lost, err = b.deliver(20*time.Second, "three")
	require.NoError(t, err)
	require.Zero(t, lost)

	b.set(testbin.Build(t, "plugins/demo"), nil)
	lost, err = b.deliver(20*time.Second, "four")
	require.Equal(t, 1, lost)
	require.EqualError(t, err, "the plugin does not serve the error reporter's calls, although it says so")
}

func TestManyReports(t *testing.T) {
	t.Parallel()
	b := setup(t, "internal/chaosreporter")
	var messages []string
	for i := range 95 {
		messages = append(messages, fmt.Sprint("m", i))
	}
	lost, err := b.deliver(30*time.Second, messages...)
	require.NoError(t, err)
	require.Zero(t, lost)
	for i, l := range b.lines() {
		require.True(t, strings.HasPrefix(l, fmt.Sprintf("m%d ", i)), "in order: %s", l)
	}
	require.Len(t, b.lines(), 95)
}

func TestNoPlugins(t *testing.T) {
	t.Parallel()
	_, err := (&plugin.Settings{Plugin: "x"}).Open(t.Context(), report.Env{Name: "ops"})
	require.EqualError(t, err, `error reporter "ops": no plugins can be started here`)
}
