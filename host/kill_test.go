package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/task"
)

// TestKillLatency measures how long after a task's time limit the last process of its tree
// is gone: of plugins that spin, that have stopped themselves, and that have children, one
// of them in a session of its own. One host, 4 workers.
// TestTimeLimitOvershoot is its short form.
func TestKillLatency(t *testing.T) {
	if os.Getenv("LEPTIR_FIGURES") == "" {
		t.Skip("500 kills: make isolation; TestTimeLimitOvershoot is its short form")
	}
	const kills = 500
	b := setup(t, `
host {
  number_of_workers = 4
}
logger "stderr" "console" {
  level = "error"
}
error_reporting "log" "log" {
  level = "info"
}
plugin "bad" {
  environment = {
    LEPTIR_TEST_TYPES = "victim"
  }
  spares = 2
}
`)
	b.install("internal/chaosplugin", "bad")
	b.host()
	const limit = 300 * time.Millisecond
	ways := []string{"spin", "stop", "fork"}
	late := map[string][]time.Duration{}
	early := 0 // killed before they had said what to look at: the machine is busy
	for n, seen := 0, 0; seen < kills; {
		type victim struct {
			how  string
			task task.Task
			file string
			gone chan time.Time
		}
		var victims []victim
		ctx, cancel := context.WithCancel(t.Context())
		for range min(4, kills-seen) {
			v := victim{how: ways[n%len(ways)], file: filepath.Join(b.dir, fmt.Sprintf("pids-%d", n)), gone: make(chan time.Time, 1)}
			n++
			v.task = newTask("victim", fmt.Sprintf(`{"how":%q,"pid_file":%q}`, v.how, v.file))
			v.task.TimeLimit = limit
			b.push(v.task)
			go func() { v.gone <- treeGone(ctx, v.file) }()
			victims = append(victims, v)
		}
		tasks := make([]task.Task, len(victims))
		for i, v := range victims {
			tasks[i] = v.task
		}
		records := b.records(tasks, 60*time.Second)
		for _, v := range victims {
			r := records[v.task.ID]
			require.Equal(t, task.TimeLimitExceeded, r.RetC, "%+v", r)
			if _, err := os.Stat(v.file); err != nil {
				early++
				require.Less(t, early, kills, "the machine is too busy for this")
				continue
			}
			select {
			case gone := <-v.gone:
				if gone.IsZero() {
					early++
					continue
				}
				seen++
				late[v.how] = append(late[v.how], gone.Sub(r.ExStart.Add(limit)))
			case <-time.After(30 * time.Second):
				require.Fail(t, "a process of the tree is still there", v.how)
			}
		}
		cancel()
	}
	if early > 0 {
		t.Logf("%d others were killed before they had said which processes they are", early)
	}
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(b.pluginProcesses(), func(p string) bool {
			pid, _, _ := strings.Cut(p, " ")
			env, _ := os.ReadFile("/proc/" + pid + "/environ")
			return strings.Contains(string(env), "LEPTIR_TEST_MODE=orphan")
		})
	}, 10*time.Second, 10*time.Millisecond, "children of the killed are left")
	var all []time.Duration
	for _, how := range ways {
		all = append(all, late[how]...)
		tellLate(t, fmt.Sprintf("limit to the whole tree gone, %-4s", how), late[how])
	}
	tellLate(t, "limit to the whole tree gone, all ", all)
	require.Less(t, slices.Max(all), 5*time.Second, "far from the limit")
}

func tellLate(t *testing.T, what string, all []time.Duration) {
	t.Helper()
	slices.Sort(all)
	t.Logf("%s: %d kills: p50 %v, p99 %v, max %v", what, len(all), all[len(all)/2].Round(10*time.Microsecond),
		all[len(all)*99/100].Round(10*time.Microsecond), all[len(all)-1].Round(10*time.Microsecond))
}

// treeGone waits for a file with pids, then for the end of all of them, and returns when
// the last had ended; the zero time if they could not be seen. It waits without polling the
// processes, by file descriptors that stand for them.
func treeGone(ctx context.Context, file string) time.Time {
	// On a thread that the plugins cannot keep from looking at the clock, where that is allowed.
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15)
	var fds []unix.PollFd
	for len(fds) == 0 {
		if ctx.Err() != nil {
			return time.Time{}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return time.Time{}
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return time.Time{} // gone before we have looked
			}
			defer unix.Close(fd)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	var last time.Time
	for i := range fds {
		for {
			n, err := unix.Poll(fds[i:i+1], 60_000)
			if err == unix.EINTR {
				continue
			}
			if n != 1 {
				return time.Time{}
			}
			break
		}
		last = time.Now()
	}
	return last
}
