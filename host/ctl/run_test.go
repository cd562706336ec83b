package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// plugin puts a built plugin into the site's plugin folder.
func (s *site) plugin(pkg string) {
	s.t.Helper()
	if testing.Short() {
		s.t.Skip("builds a plugin")
	}
	built := testbin.Build(s.t, pkg)
	require.NoError(s.t, os.Symlink(built, filepath.Join(s.dir, "plugins", filepath.Base(built))))
}

// record reads the record that a run has printed.
func record(t testing.TB, r result) task.Record {
	t.Helper()
	var rec task.Record
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &rec), "%s%s", r.stdout, r.stderr)
	return rec
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")

	r := s.ctl("run", "demo.test", "-p", "a=3", "-id", "mine")
	require.Zero(t, r.code, r.stderr)
	rec := record(t, r)
	require.Equal(t, task.ID("mine"), rec.ID)
	require.Equal(t, task.Success, rec.RetC)
	require.Equal(t, task.Completed, rec.Status)
	require.Equal(t, `{"a":3}`, rec.RespM)
	require.Equal(t, []int{1, 2, 3}, rec.Run.States)
	require.Equal(t, true, rec.Meta["demo"])
	require.False(t, rec.Run.Ended.IsZero())
	require.Contains(t, r.stderr, "state 1\nstate 2\n")
	require.Contains(t, r.stderr, "INFO  test task runs task=mine type=demo.test")

	r = s.ctl("run", "demo.test", "-quiet", "-json")
	require.Zero(t, r.code)
	require.Empty(t, r.stderr)
	require.Equal(t, 1, strings.Count(r.stdout, "\n"))
	require.Equal(t, task.Success, record(t, r).RetC)
	require.NoDirExists(t, filepath.Join(s.dir, "var"), "neither queue nor store is opened")
}

func TestRunOfATaskThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	for _, tt := range []struct {
		args   []string
		code   task.ReturnCode
		stderr string
	}{
		{[]string{"demo.error", "-p", "message=no such mailbox"}, task.Error, "failed: no such mailbox\n"},
		{[]string{"demo.panic", "-p", "message=oh"}, task.Error, "| goroutine "},
		{[]string{"demo.crash"}, task.Error, "failed: process died of SIGSEGV\n"},
		{[]string{"demo.spin", "-time-limit", "0.5"}, task.TimeLimitExceeded, "failed: time limit of 500ms exceeded\n"},
	} {
		r := s.ctl(append([]string{"run", "-id", "x"}, tt.args...)...)
		require.Equal(t, 1, r.code, tt.args)
		require.Equal(t, tt.code, record(t, r).RetC, tt.args)
		require.Contains(t, r.stderr, tt.stderr)
		require.True(t, strings.HasSuffix(r.stderr, "\nleptirctl: task x failed: "+tt.code.String()+"\n"), r.stderr)
	}
	r := s.ctl("run", "-table", "demo.spin", "-time-limit", "0.3")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `(?m)^result +time limit exceeded$`, r.stdout)
	require.Regexp(t, `(?m)^process +timeout SIGKILL$`, r.stdout)
}

func TestRunOfATaskThatCanBeUndone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("examples/report")
	from := filepath.Join(s.dir, "expenses.csv")
	require.NoError(t, os.WriteFile(from, []byte("ink,thirty\n"), 0o600))
	r := s.ctl("run", "report.make", "-p", "from="+from, "-p", "to="+filepath.Join(s.dir, "x"))
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `would be undone by a task of type report.remove, which goes nowhere: {"file":"DIR/x"}`+"\n")
}

func TestRunShowsWhatIsReported(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("internal/chaosreporter")
	r := s.ctl("run", "chaos.report")
	require.Zero(t, r.code, r.stderr)
	for _, want := range []string{"ERROR reported: half way\n", "ERROR reported: odd but not fatal\n", "ERROR failed beside it: after finish: cannot tidy up\n", `ERROR failed beside it: additional meta info: "bad" left out`} {
		require.Contains(t, r.stderr, want)
	}
}

func TestRunIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	for want, args := range map[string][]string{
		`no plugin serves task type "demo.tst"; did you mean demo.test? See "leptirctl run -help"`:                                {"demo.tst"},
		`task type "demo.sleep": parameter "seconds": not a number: "x" (-force runs it all the same); see "leptirctl run -help"`: {"demo.sleep", "-p", "seconds=x"},
		`-json and -table exclude each other; see "leptirctl run -help"`:                                                          {"demo.test", "-json", "-table"},
		`run needs the TYPE of the task; see "leptirctl run -help"`:                                                               {},
		`-time-limit must not be negative: -1; "none" is no limit; see "leptirctl run -help"`:                                     {"demo.test", "-time-limit", "-1"},
	} {
		require.Equal(t, result{2, "", "leptirctl: " + want + "\n"}, s.ctl(append([]string{"run"}, args...)...))
	}
	r := s.ctl("run", "demo.sleep", "-p", "seconds=x", "-force", "-quiet")
	require.Equal(t, 1, r.code, "forced, it is the plugin that refuses")
	require.Contains(t, record(t, r).RespM, `parameter "seconds": not a number`)

	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "plugins", "broken"), []byte("#!/bin/sh\nexit 3\n"), 0o700))
	r = s.ctl("run", "demo.tst")
	require.Equal(t, 1, r.code, "what is missing may be in the plugin that is broken")
	require.Contains(t, r.stderr, `plugin "broken": start: handshake: it exited with code 3`)
}

// TestRunWithoutAConfiguration tries a binary in a folder that has nothing of leptir's.
func TestRunWithoutAConfiguration(t *testing.T) {
	if _, err := os.Stat(config.SystemFile); err == nil {
		t.Skip("there is a " + config.SystemFile)
	}
	if testing.Short() {
		t.Skip("builds a plugin")
	}
	path := testbin.Build(t, "internal/pushplugin")
	t.Setenv(config.EnvFile, "")
	empty := t.TempDir()
	t.Chdir(empty)
	r := run(t.Context(), "", "run", "push.fan", "-p", "children=2", "-plugin", path, "-id", "x")
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, task.Success, record(t, r).RetC)
	require.Contains(t, r.stderr, "pushes task x-0 of type push.leaf, which goes nowhere")
	require.Contains(t, r.stderr, "pushes task x-1 of type push.leaf, which goes nowhere")

	r = run(t.Context(), "", "run", "push.fan")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: plugin folder ".*/plugins" does not exist; .*; or name a plugin with -plugin FILE\n$`, r.stderr)
	r = run(t.Context(), "", "run", "push.fan", "-plugin", "nothing")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: plugin: stat .*/nothing: no such file or directory\n$`, r.stderr)
	r = run(t.Context(), "", "run", "push.fan", "-plugin", ".")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: plugin: /.* is not a file\n$`, r.stderr)
	data := filepath.Join(t.TempDir(), "data.json")
	require.NoError(t, os.WriteFile(data, []byte("{}"), 0o600))
	r = run(t.Context(), "", "run", "push.fan", "-plugin", data)
	require.Equal(t, 1, r.code)
	require.Regexp(t, `^leptirctl: plugin: /.*/data.json is not executable; if it is a plugin, run: chmod \+x "/.*"\n$`, r.stderr)
	left, err := os.ReadDir(empty)
	require.NoError(t, err)
	require.Empty(t, left)
}

// output that a test reads while it is written.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// start runs leptirctl in the background; code is what it ends with.
func (s *site) start(ctx context.Context, stdin io.Reader, args ...string) (stdout, stderr *watched, code <-chan int) {
	stdout, stderr = &watched{}, &watched{}
	ended := make(chan int, 1)
	go func() { ended <- Run(ctx, append([]string{"-config", s.file}, args...), stdin, stdout, stderr) }()
	return stdout, stderr, ended
}

func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr, code := s.start(ctx, strings.NewReader(""), "run", "demo.slow")
	require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "progress   0% second 1 of") }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.Equal(t, 1, <-code)
	require.Contains(t, stderr.String(), "leptirctl: interrupted: ")
	rec := record(t, result{stdout: stdout.String(), stderr: stderr.String()})
	require.True(t, rec.RetC.Failed())
	require.Less(t, rec.ExTime, 6.0)
	require.NotNil(t, rec.Run.Progress)
	require.Contains(t, rec.Run.Progress.Text, "second ")
}

func TestRunWaitsForADebugger(t *testing.T) {
	t.Parallel()
	s := newSite(t, "host {\n  task_execution_time = 0.2\n}\n")
	s.plugin("plugins/demo")
	terminal, keyboard := io.Pipe()
	stdout, stderr, code := s.start(t.Context(), terminal, "run", "demo.sleep", "-p", "seconds=0.5", "-debug")
	attach := regexp.MustCompile(`(?m)^  dlv attach (\d+)$`)
	require.Eventually(t, func() bool { return attach.MatchString(stderr.String()) }, 20*time.Second, 10*time.Millisecond)
	pid, err := strconv.Atoi(attach.FindStringSubmatch(stderr.String())[1])
	require.NoError(t, err)
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	require.NoError(t, err)
	require.Equal(t, "demo", filepath.Base(exe), "it is there before the task is")
	require.Empty(t, stdout.String())
	_, err = keyboard.Write([]byte("\n"))
	require.NoError(t, err)
	require.Zero(t, <-code, stderr.String())
	rec := record(t, result{stdout: stdout.String()})
	require.Equal(t, pid, rec.Run.Process)
	require.Equal(t, task.Success, rec.RetC, "the limit of the configuration does not count")

	ctx, cancel := context.WithCancel(t.Context())
	terminal, keyboard = io.Pipe()
	_, stderr, code = s.start(ctx, terminal, "run", "demo.noop", "-debug")
	require.Eventually(t, func() bool { return attach.MatchString(stderr.String()) }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.Equal(t, 1, <-code)
	require.Contains(t, stderr.String(), "leptirctl: interrupted")
	require.NoError(t, keyboard.Close())
}

func TestCompletionOfTypes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	for _, command := range []string{"run", "push"} {
		r := run(t.Context(), "", "__complete", command, "-config", s.file, "demo.s")
		require.Zero(t, r.code)
		require.Contains(t, r.stdout, "demo.sleep\tSleeps for so many seconds.\n")
		require.Contains(t, r.stdout, "demo.slow\t")
		require.NotContains(t, r.stdout, "demo.test\t")
	}
	r := run(t.Context(), "", "__complete", "run", "--plugin", testbin.Build(t, "internal/pushplugin"), "--config", s.file, "")
	require.Contains(t, r.stdout, "push.fan\t")
	require.NotContains(t, r.stdout, "demo.")
	r = run(t.Context(), "", "__complete", "run", "--config", s.file, "demo.test", "")
	require.Equal(t, ":4\n", r.stdout, "there is one TYPE")
	r = run(t.Context(), "", "__complete", "run", "--config", filepath.Join(s.dir, "nowhere.hcl"), "")
	require.Equal(t, ":4\n", r.stdout)
}
