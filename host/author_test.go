package host_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// A task that would run for 10 s and has a limit of 1 s ends with it. How late the end is
// depends on the machine, so the promptest of a few runs counts.
func TestOriginalTimeLimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some time limits of a second each")
	}
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	b.host()
	var took []float64
	for range 5 {
		spin := newTask("demo.spin", "") // listens to nobody
		spin.TimeLimit = time.Second
		b.push(spin)
		r := b.records([]task.Task{spin}, 30*time.Second)[spin.ID]
		require.Equal(t, task.TimeLimitExceeded, r.RetC)
		require.Equal(t, task.Completed, r.Status)
		took = append(took, r.ExTime)
	}
	require.GreaterOrEqual(t, slices.Min(took), 1.0)
	require.LessOrEqual(t, slices.Min(took), 1.05, took)
	t.Logf("limit of 1 s: ended after %v s", took)

	sleep := newTask("demo.sleep", `{"seconds":10}`) // ends by its context, a little before
	sleep.TimeLimit = time.Second
	b.push(sleep)
	r := b.records([]task.Task{sleep}, 30*time.Second)[sleep.ID]
	require.Equal(t, task.TimeLimitExceeded, r.RetC)
	require.Less(t, r.ExTime, 5.0)
}

// A revertible task whose failure is final is undone by a task that is pushed once, however
// it failed.
func TestRevertibleTasks(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n  number_of_workers = 4\n  lease_time = 2\n  max_attempts = 2\n}\n")
	b.install("plugins/demo", "demo")
	b.host()
	var tasks []task.Task
	for _, how := range []string{"error", "crash", "hang"} {
		tk := newTask("demo.undoable", `{"what":"paid","fail":"`+how+`"}`)
		tk.TimeLimit = time.Second
		tasks = append(tasks, tk)
	}
	fine := newTask("demo.undoable", "")
	b.push(append(tasks, fine)...)
	require.Nil(t, b.records([]task.Task{fine}, 30*time.Second)[fine.ID].Run.Undo)
	var undone map[task.ID]task.Record
	require.Eventually(t, func() bool {
		undone = b.records(tasks, 60*time.Second)
		for _, r := range undone {
			if r.Run.Undo == nil || r.Run.Undo.State != task.UndoPushed {
				return false
			}
		}
		return true
	}, 60*time.Second, 50*time.Millisecond)
	for id, r := range undone {
		require.Equal(t, 2, r.Run.Attempt, "after the last attempt")
		other := b.records([]task.Task{{ID: r.Run.Undo.ID}}, 30*time.Second)[r.Run.Undo.ID]
		require.Equal(t, "demo.undo", other.Type)
		require.Equal(t, "undone: paid", other.RespM)
		require.Equal(t, id, other.Run.Undoes)
	}
	require.EqualValues(t, 3, b.empty().Dead)
}

// What its plugin does not want is refused by the host, before anything runs.
func TestHostChecksParameters(t *testing.T) {
	t.Parallel()
	b := setup(t, "host {\n  number_of_workers = 1\n  max_attempts = 3\n}\n")
	b.install("plugins/demo", "demo")
	b.host()
	bad := newTask("demo.sleep", `{"seconds":"long"}`)
	b.push(bad)
	r := b.records([]task.Task{bad}, 30*time.Second)[bad.ID]
	require.Equal(t, task.Error, r.RetC)
	require.Equal(t, `parameter "seconds": not a number: "long"`, r.RespM)
	require.Zero(t, r.Run.Process, "no process has seen it")
	require.EqualValues(t, 1, b.empty().Dead)

	// leptirctl learns from the running host what is served, and starts no plugin.
	out, err := exec.Command(testbin.Build(t, "cmd/leptirctl"), "-config", b.path, "push", "demo.sleep", "-p", "seconds=long").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `parameter "seconds": not a number: "long"`)
	require.FileExists(t, filepath.Join(b.dir, "var", "leptir", "types.json"))
}

// How far a running task is stands in its record, and its result afterwards.
func TestProgressAndResult(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	b.host()
	slow, echo := newTask("demo.slow", ""), newTask("demo.test", `{"n":9007199254740993}`)
	slow.TimeLimit = 4 * time.Second
	b.push(slow, echo)
	require.Eventually(t, func() bool {
		recs, err := b.stores[0].Handle.Get(context.Background(), []task.ID{slow.ID})
		return err == nil && len(recs) == 1 && recs[0].Status == task.InProgress && recs[0].Run.Progress != nil && recs[0].Run.Progress.Fraction > 0
	}, 30*time.Second, 20*time.Millisecond)
	r := b.records([]task.Task{slow, echo}, 60*time.Second)
	require.JSONEq(t, `{"n":9007199254740993}`, string(r[echo.ID].Run.Result))
	require.Equal(t, task.TimeLimitExceeded, r[slow.ID].RetC)
	require.Contains(t, r[slow.ID].Run.Progress.Text, "second ")
}
