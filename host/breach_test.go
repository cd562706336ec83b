package host_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/task"
)

// A task that breaks a limit of its plugin has that in its record, and the tasks of others
// go on.
func TestLimitsInRecords(t *testing.T) {
	t.Parallel()
	parent := ""
	if os.Geteuid() == 0 { // apart from the groups of what runs the tests
		parent = "/leptir-test-" + uuid.NewString()[:8]
		t.Cleanup(func() {
			dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
			for _, dir := range append(dirs, "/sys/fs/cgroup"+parent) {
				_ = os.Remove(dir)
			}
		})
	}
	b := setup(t, fmt.Sprintf(`
host {
  number_of_workers = 4
  cgroup_parent     = %q
}
plugin "chaos" {
  environment = { LEPTIR_TEST_MODE = "serve", LEPTIR_TEST_TYPES = "eat,fork-bomb" }
  limits {
    memory_max = "96MiB"
    pids_max   = 64
  }
}
plugin "deaf" {
  environment = { LEPTIR_TEST_MODE = "serve", LEPTIR_TEST_TYPES = "spin", GOMAXPROCS = 1, GODEBUG = "asyncpreemptoff=1" }
}
`, parent))
	b.install("internal/chaosplugin", "chaos")
	b.install("internal/chaosplugin", "deaf")
	b.install("plugins/demo", "demo")
	h := b.host()
	h.waitFor("leptir-host is running")

	eat, bomb, spin := newTask("eat", "{}"), newTask("fork-bomb", "{}"), newTask("spin", "{}")
	spin.TimeLimit = 4 * time.Second
	others := many(200, "demo.noop")
	b.push(append([]task.Task{eat, bomb, spin}, others...)...)
	records := b.records(append([]task.Task{eat, bomb, spin}, others...), time.Minute)

	for _, tt := range []struct {
		task           task.Task
		reason, respM  string
		leastMemoryMiB int64
	}{
		{eat, "memory", `^memory limit 96 MiB exceeded, peak [0-9.]+ [MG]iB$`, 90},
		{bomb, "limit", `^limit of 64 processes and threads `, 0},
	} {
		r := records[tt.task.ID]
		require.Equal(t, task.Completed, r.Status)
		require.Equal(t, task.Error, r.RetC)
		require.Regexp(t, tt.respM, r.RespM)
		require.NotNil(t, r.Run.Exit)
		require.Equal(t, tt.reason, r.Run.Exit.Reason)
		require.GreaterOrEqual(t, r.Run.Exit.PeakMemory, tt.leastMemoryMiB<<20)
		require.Positive(t, r.Run.Exit.CPUSeconds)
	}
	r := records[spin.ID]
	require.Equal(t, task.TimeLimitExceeded, r.RetC)
	require.Equal(t, "timeout", r.Run.Exit.Reason)
	require.Contains(t, r.Run.Stack, "goroutine ")
	for _, o := range others {
		require.Equal(t, task.Success, records[o.ID].RetC)
	}
	require.NotContains(t, h.printed(), "stream=stderr", "stacks do not go to the log as output")
}

// A record, its report, the metrics and the log tell the same reason why a process has ended.
func TestReasonsAgree(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	reasons := map[string]string{"hang": "timeout", "eat": "memory", "fork-bomb": "limit", "panic-elsewhere": "exit code", "die": "signal",
		"wrong-id": "protocol", "end-stream": "lost stream"}
	b := setup(t, fmt.Sprintf(`
host {
  number_of_workers = 4
  kill_grace        = 0
}
logger "stderr" "console" {
  format = "json"
}
error_reporting "log" "log" {}
error_reporting "webhook" "hook" {
  url = %q
}
plugin "bad" {
  environment = { LEPTIR_TEST_MODE = "serve", LEPTIR_TEST_TYPES = %q }
  limits {
    memory_max = "96MiB"
    pids_max   = 64
  }
}
`, in.URL, strings.Join(slices.Sorted(maps.Keys(reasons)), ",")))
	b.install("internal/chaosplugin", "bad")
	h := b.host()
	h.waitFor("leptir-host is running")
	var tasks []task.Task
	for taskType := range reasons {
		tk := newTask(taskType, "{}")
		tk.TimeLimit = 30 * time.Second
		if taskType == "hang" {
			tk.TimeLimit = time.Second
		}
		tasks = append(tasks, tk)
	}
	b.push(tasks...)
	for id, r := range b.records(tasks, time.Minute) {
		want := reasons[r.Type]
		require.NotNil(t, r.Run.Exit, "%s: %+v", r.Type, r)
		require.Equal(t, want, r.Run.Exit.Reason, "%s: %+v", r.Type, r)
		require.Eventually(t, func() bool {
			return slices.ContainsFunc(in.reports(), func(p report.Report) bool {
				return p.Task != nil && p.Task.ID == id && p.Exit != nil && p.Exit.Reason == want
			})
		}, 20*time.Second, 10*time.Millisecond, "the report of %s", r.Type)
		_, body := b.admin("/metrics")
		require.Regexp(t, `leptir_attempts_total\{exit="`+want+`",next="dead",result="[a-z ]+",type="`+r.Type+`"\} 1`, body)
		require.Eventually(t, func() bool {
			return regexp.MustCompile(`(?m)^.*"` + string(id) + `".*"exit":"` + want + `".*$`).MatchString(h.printed())
		}, 20*time.Second, 10*time.Millisecond, "the log of %s", r.Type)
	}
}
