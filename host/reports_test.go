package host_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/host/report/webhook"
	"github.com/backplane/leptir/task"
)

// inbox is a web server that keeps what is posted to it.
type inbox struct {
	*httptest.Server
	mu   sync.Mutex
	got  [][]byte
	head []http.Header
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got, in.head = append(in.got, body), append(in.head, req.Header.Clone())
	}))
	t.Cleanup(in.Close)
	return in
}

// reports returns what webhooks have brought.
func (in *inbox) reports() (all []report.Report) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, body := range in.got {
		var d struct{ Reports []report.Report }
		_ = json.Unmarshal(body, &d)
		all = append(all, d.Reports...)
	}
	return all
}

// requireSigned has each of the webhook's requests carry the signature of its body.
func (in *inbox) requireSigned(t *testing.T, secret string) {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, head := range in.head {
		require.Equal(t, webhook.Sign(secret, head.Get(webhook.HeaderTimestamp), in.got[i]), head.Get(webhook.HeaderSignature))
	}
}

// events returns what Sentry's client has brought: one event in each envelope.
func (in *inbox) events() (all []map[string]any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, body := range in.got {
		for line := range bytes.Lines(body) {
			var e map[string]any
			if json.Unmarshal(line, &e) == nil && e["tags"] != nil {
				all = append(all, e)
			}
		}
	}
	return all
}

// newHole is a web server that takes connections and never answers.
func newHole(t *testing.T) string {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	return s.URL
}

// Every error, panic, crash and time-out of every task reaches all error reporters, and
// one that hangs beside them delays nothing.
func TestErrorReporting(t *testing.T) {
	t.Parallel()
	hook, sentry := newInbox(t), newInbox(t)
	file := filepath.Join(t.TempDir(), "errors.json")
	b := setup(t, fmt.Sprintf(`
host {
  number_of_workers = 4
  lease_time        = 2
  max_attempts      = 2
}
error_reporting "log" "lines" {}
error_reporting "webhook" "hook" {
  url    = "%s/hook-hunter2"
  secret = "secret-hunter2"
}
error_reporting "sentry" "sentry" {
  dsn = "%s/42"
}
error_reporting "plugin" "file" {
  plugin = "reporter"
}
error_reporting "webhook" "hanging" {
  url         = "%s"
  queue       = 2
  timeout     = "10m"
  try_timeout = "10m"
}
plugin "reporter" {
  environment = { REPORT_FILE = %q }
}
`, hook.URL, strings.Replace(sentry.URL, "http://", "http://dsn-hunter2@", 1), newHole(t), file))
	b.install("plugins/demo", "demo")
	b.install("examples/reporter", "reporter.bin")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "plugins", "text"), []byte("hello\n"), 0o700))
	h := b.host()

	begin := time.Now()
	fail := newTask("demo.error", `{"message":"no such mailbox","password":"param-hunter2","to":["ann",{"api_key":"param-hunter2"}]}`)
	panics, crash, spin := newTask("demo.panic", ""), newTask("demo.crash", ""), newTask("demo.spin", "")
	spin.TimeLimit = time.Second
	failing := []task.Task{fail, panics, crash, spin}
	b.push(append(failing, newTask("nobody.serves", ""))...)
	records := b.records(failing, 60*time.Second)
	for _, r := range records {
		require.True(t, r.RetC.Failed())
	}

	want := []string{}
	for _, x := range failing {
		want = append(want, string(x.ID)+"/1", string(x.ID)+"/2")
	}
	slices.Sort(want)
	// attempts lists the tasks and attempts that exceptions are about.
	attempts := func(list []report.Report) (got []string) {
		for _, r := range list {
			if r.Exception {
				got = append(got, fmt.Sprintf("%s/%d", r.Task.ID, r.Task.Attempt))
			}
		}
		slices.Sort(got)
		return got
	}
	var lines []map[string]any
	require.Eventually(t, func() bool {
		lines = nil
		text, _ := os.ReadFile(file)
		for l := range bytes.Lines(text) {
			var v map[string]any
			if json.Unmarshal(l, &v) == nil {
				lines = append(lines, v)
			}
		}
		const messages = 2 // of the broken plugin, and of the type that nobody serves
		return len(attempts(hook.reports())) == len(want) && len(hook.reports()) == len(want)+messages &&
			len(sentry.events()) == len(want)+messages && len(lines) == len(want)+messages
	}, 30*time.Second, 10*time.Millisecond)
	require.Less(t, time.Since(begin), time.Minute, "nobody waits for the reporter that hangs")
	require.Equal(t, want, attempts(hook.reports()), "one report for each attempt")

	byTask := map[task.ID]report.Report{} // the final ones
	for _, r := range hook.reports() {
		switch {
		case !r.Exception:
			require.Contains(t, []string{report.KindPlugin, report.KindUnserved}, r.Kind)
		case r.Task.Attempt == 1:
			require.False(t, r.Final)
			require.False(t, r.RetryAt.IsZero(), "the first attempt is followed by another")
		default:
			require.True(t, r.Final)
			byTask[r.Task.ID] = r
		}
	}
	r := byTask[fail.ID]
	require.Equal(t, report.KindError, r.Kind)
	require.Equal(t, "no such mailbox", r.Message)
	require.Equal(t, "demo", r.Plugin)
	require.JSONEq(t, `{"message":"no such mailbox","password":"[redacted]","to":["ann",{"api_key":"[redacted]"}]}`, string(r.Task.Params))
	r = byTask[panics.ID]
	require.Equal(t, report.KindPanic, r.Kind)
	require.Contains(t, r.Stack, "goroutine ")
	r = byTask[crash.ID]
	require.Equal(t, report.KindCrash, r.Kind)
	require.Equal(t, "SIGSEGV", r.Exit.Signal)
	require.Positive(t, r.Exit.PeakMemory)
	require.NotEmpty(t, r.Host)
	r = byTask[spin.ID]
	require.Equal(t, report.KindTimeout, r.Kind)
	require.Equal(t, "time limit of 1s exceeded", r.Message)
	require.JSONEq(t, fmt.Sprintf(`{"task_id":%q,"task_type":"demo.spin","time_limit":"1s"}`, spin.ID), string(r.Data))
	hook.requireSigned(t, "secret-hunter2")

	kinds := map[string]int{}
	for _, e := range sentry.events() {
		kinds[e["tags"].(map[string]any)["kind"].(string)]++
		if e["tags"].(map[string]any)["kind"] == report.KindPanic {
			trace := e["exception"].([]any)[0].(map[string]any)["stacktrace"].(map[string]any)
			require.NotEmpty(t, trace["frames"])
		}
	}
	require.Equal(t, map[string]int{"error": 2, "panic": 2, "crash": 2, "timeout": 2, "plugin": 1, "unserved": 1}, kinds)
	byPlugin := map[string]int{}
	for _, l := range lines {
		byPlugin[l["kind"].(string)]++
		if l["kind"] == report.KindTimeout {
			require.Equal(t, string(spin.ID), l["data"].(map[string]any)["task_id"])
			require.Equal(t, "demo.spin", l["data"].(map[string]any)["task_type"])
		}
	}
	require.Equal(t, kinds, byPlugin)
	h.waitFor("task failed task=" + string(crash.ID) + " type=demo.crash attempt=2 kind=crash")
	require.Contains(t, h.printed(), `type=demo.error attempt=1 kind=error error="no such mailbox"`)

	processes := 0
	for _, pid := range children(t, h.cmd.Process.Pid) {
		if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); strings.Contains(string(env), "REPORT_FILE=") {
			processes++
		}
	}
	require.Equal(t, 1, processes, "a plugin that is nothing but a reporter has one process, and no spares")

	// Many failures, while one reporter still hangs: its queue is full, which is told, and
	// the others get all.
	flood := many(100, "demo.error")
	begin = time.Now()
	b.push(flood...)
	b.records(flood, 60*time.Second)
	t.Logf("100 tasks failed twice in %v beside a reporter that hangs", time.Since(begin))
	require.Eventually(t, func() bool { return len(hook.reports()) == len(want)+2+200 }, 30*time.Second, 10*time.Millisecond)
	h.waitFor("error reports are lost")
	require.Contains(t, h.printed(), "reporter=hanging")

	begin = time.Now()
	h.signal(syscall.SIGTERM)
	require.Zero(t, h.ended(40*time.Second))
	require.Less(t, time.Since(begin), 30*time.Second)
	require.NotContains(t, h.printed(), "hunter2", "a secret is shown")
}

// What a task reports by itself, the data that it adds, and what fails beside its job.
func TestTasksReport(t *testing.T) {
	t.Parallel()
	hook := newInbox(t)
	b := setup(t, fmt.Sprintf("error_reporting \"webhook\" \"hook\" {\n url = %q\n}\n", hook.URL))
	b.install("internal/chaosreporter", "chaos")
	h := b.host()
	fine, crash, flood := newTask("chaos.report", ""), newTask("chaos.report", `{"end":"exit"}`), newTask("chaos.report", `{"end":"flood"}`)
	b.push(fine, crash)
	records := b.records([]task.Task{fine, crash}, 40*time.Second)
	require.Equal(t, task.Success, records[fine.ID].RetC, "what fails beside the job changes no success")
	of := func(id task.ID) (all []report.Report) {
		for _, r := range hook.reports() {
			if r.Task != nil && r.Task.ID == id {
				all = append(all, r)
			}
		}
		return all
	}
	require.Eventually(t, func() bool { return len(of(fine.ID)) == 4 && len(of(crash.ID)) == 3 }, 20*time.Second, 10*time.Millisecond)
	var got []string
	for _, r := range append(of(fine.ID), of(crash.ID)...) {
		got = append(got, fmt.Sprintf("%s %v: %s %s", r.Kind, r.Exception, r.Message, r.Data))
	}
	const data = `{"api_token":"[redacted]","list":7}`
	require.Equal(t, []string{
		"task false: half way " + data,
		`error true: odd but not fatal {"api_token":"[redacted]","list":7,"row":3}`,
		"error true: after finish: cannot tidy up " + data,
		`error true: additional meta info: "bad" left out: json: unsupported type: func() ` + data,
		"task false: half way " + data,
		`error true: odd but not fatal {"api_token":"[redacted]","list":7,"row":3}`,
		"crash true: process exited with code 9 " + data,
	}, got)
	require.Contains(t, of(fine.ID)[1].Stack, "DoJob", "the stack of who reports")
	require.NotZero(t, of(fine.ID)[1].PID)

	// A task that does nothing but report.
	b.push(flood)
	b.records([]task.Task{flood}, 20*time.Second)
	h.waitFor("the task has reported too much to the error reporters; some was left out")
	require.Eventually(t, func() bool { return len(of(flood.ID)) > 20 }, 20*time.Second, 10*time.Millisecond)
	require.Less(t, len(of(flood.ID)), 60)
}

// Parameters that a plugin does not want are reported, once; a reporter that is not there is
// told in the log and disturbs nobody.
func TestDeadLettersAreReported(t *testing.T) {
	t.Parallel()
	hook := newInbox(t)
	b := setup(t, fmt.Sprintf(`
error_reporting "webhook" "hook" {
  url = %q
}
error_reporting "plugin" "missing" {
  plugin  = "nobody"
  timeout = 1
}
`, hook.URL))
	b.install("examples/hello", "hello")
	h := b.host()
	bad := newTask("hello.greet", `{"name":3}`)
	b.push(bad)
	b.records([]task.Task{bad}, 40*time.Second)
	require.Eventually(t, func() bool { return len(hook.reports()) == 1 }, 20*time.Second, 10*time.Millisecond)
	r := hook.reports()[0]
	require.Equal(t, report.KindInput, r.Kind)
	require.True(t, r.Exception)
	require.True(t, r.Final)
	require.Equal(t, bad.ID, r.Task.ID)
	h.waitFor(`there is no plugin \"nobody\" in`)
	h.waitFor("error reports are lost")
}
