package sdktest_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"

	"github.com/backplane/leptir/internal/testbin"
)

func odd(t *testing.T) *sdktest.Plugin {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a plugin")
	}
	return sdktest.Binary(t, testbin.Build(t, "plugin-sdk/sdktest/testdata/odd"))
}

func TestBinary(t *testing.T) {
	t.Parallel()
	o := odd(t).Run("odd.all", map[string]any{"name": "jo"}, sdktest.ID("x"), sdktest.Attempt(2), sdktest.Priority(4)).
		WantSuccess().WantResponse("pushed x-child in attempt 2, priority 4, limit 1m0s").WantStates(1, 2).WantResult(map[string]int{"n": 3}).
		WantLog(slog.LevelInfo, "begun", "name", "jo").WantProgress(0.5, "half").WantPushed("other.task", map[string]string{"name": "jo"})
	require.Contains(t, o.Output, "a line before the handshake\n")

	odd(t).Run("odd.all", map[string]any{"name": 3}).WantInputError("name")
	odd(t).Run("odd.undoable", nil).WantFailure("error", "no luck").WantMeta("n", 1).WantUndo("odd.undo", map[string]string{"id": "try"})
	odd(t).Run("odd.undoable", nil, sdktest.Revert()).WantSuccess().WantUndo("odd.undo", nil)
}

func TestBinaryThatCrashes(t *testing.T) {
	t.Parallel()
	o := odd(t).Run("odd.exit", nil).WantCode(sdk.Error).WantFailure("crash", "exit status 7")
	require.Contains(t, o.Output, "about to exit\n")
	require.Contains(t, o.Output, "now\n", "what is printed right before the end is not lost")
}

func TestBinaryIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	begun := time.Now()
	odd(t).Run("odd.spin", map[string]any{"name": pidFile}, sdktest.TimeLimit(3*time.Second)).
		WantCode(sdk.TimeLimitExceeded).WantFailure("timeout", "time limit of 3s exceeded").WantStates(9)
	require.Less(t, time.Since(begun), 30*time.Second)
	raw, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(raw))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		// Killed, it may wait to be reaped by whoever adopted it.
		stat, err := os.ReadFile("/proc/" + string(raw) + "/stat")
		return err == nil && len(stat) > 0 && zombie(stat) || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}, 10*time.Second, 10*time.Millisecond, "the child lives on")
}

// zombie reports whether the text of /proc/PID/stat is that of a dead process.
func zombie(stat []byte) bool {
	for i := len(stat) - 1; i > 1; i-- {
		if stat[i] == ')' {
			return len(stat) > i+2 && stat[i+2] == 'Z'
		}
	}
	return false
}

func TestBinaryIsCancelled(t *testing.T) {
	t.Parallel()
	odd(t).Run("odd.wait", nil, sdktest.TimeLimit(4*time.Second)).WantCode(sdk.TimeLimitExceeded).WantFailure("error", "time limit")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("not wanted any more"))
	odd(t).Run("odd.wait", nil, sdktest.Context(ctx)).WantFailure("error", "the task was cancelled: not wanted any more")
}

func TestBinaryHasAWorldOfItsOwn(t *testing.T) {
	t.Setenv("LEPTIR_SDKTEST_SECRET", "x")
	t.Setenv("TZ", "Europe/Zagreb")
	o := odd(t).Run("odd.print", nil, sdktest.Env("COLOUR=blue")).WantSuccess()
	require.LessOrEqual(t, len(o.Output), sdktest.MaxOutputBytes)
	require.Contains(t, o.Output, "\nCOLOUR=blue\n")
	require.Contains(t, o.Output, "\nTZ=Europe/Zagreb\n", "as a host hands it down")
	require.NotContains(t, o.Output, "LEPTIR_SDKTEST_SECRET")
	require.NoDirExists(t, o.Response[0], "its folder is gone")
}

func TestBinaryWithoutTheType(t *testing.T) {
	t.Parallel()
	odd(t)
	path := testbin.Build(t, "plugin-sdk/sdktest/testdata/odd")
	f := fails(func(f *failing) { sdktest.Binary(f, path).Run("odd.nope", nil) })
	require.Contains(t, f.fatal, `has no task type "odd.nope"; it has odd.all, odd.exit,`)
	f = fails(func(f *failing) { sdktest.Binary(f, "/bin/true").Run("odd.nope", nil) })
	require.Contains(t, f.fatal, "start /bin/true: ")
}
