package pidfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAcquireAndRelease(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "leptir-host.pid")
	f, stale, err := Acquire(path)
	require.NoError(t, err)
	require.Zero(t, stale)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	id, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), id.PID)
	running, err := id.Running()
	require.NoError(t, err)
	require.True(t, running)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), fmt.Sprint(os.Getpid())+"\nstart "), "other programs read the first line")

	_, _, err = Acquire(path)
	running1, ok := errors.AsType[*RunningError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, os.Getpid(), running1.PID)
	require.EqualError(t, err, fmt.Sprintf("pid file %s: it runs already, as process %d", path, os.Getpid()))

	require.NoError(t, f.Release())
	_, err = Read(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, _, err = Acquire(path)
	require.NoError(t, err)
	require.NoError(t, f.Release())
}

// dead returns the identity of a process that has ended.
func dead(t *testing.T) Identity {
	t.Helper()
	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return id
}

// What is left of a process that has ended is cleaned up, also where another process has
// its pid by now: a bare pid is not trusted.
func TestStale(t *testing.T) {
	t.Parallel()
	self, err := Self()
	require.NoError(t, err)
	ended := dead(t)
	otherStart, otherBoot := self, self
	otherStart.Start--
	otherBoot.Boot = "00000000-0000-0000-0000-000000000000"
	for name, test := range map[string]struct {
		text  string
		stale int
	}{
		"ended":             {ended.String(), ended.PID},
		"pid used again":    {otherStart.String(), self.PID},
		"machine restarted": {otherBoot.String(), self.PID},
		"bare pid":          {"1\n", 1},
		"own bare pid":      {fmt.Sprint(os.Getpid()), os.Getpid()},
		"empty":             {"", 0},
		"lost power":        {strings.Repeat("\x00", 70), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pid")
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o600))
			f, stale, err := Acquire(path)
			require.NoError(t, err)
			require.Equal(t, test.stale, stale)
			id, err := Read(path)
			require.NoError(t, err)
			require.Equal(t, self, id)
			require.NoError(t, f.Release())
		})
	}
}

// The file of a process that lives is respected even where the lock is not held, as on a
// copy of the file.
func TestRunningWithoutLock(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "pid")
	require.NoError(t, os.WriteFile(path, []byte(id.String()), 0o600))
	_, _, err = Acquire(path)
	require.ErrorAs(t, err, new(*RunningError))

	require.NoError(t, id.Signal(syscall.SIGCONT))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, id.Wait(ctx), context.DeadlineExceeded)
	require.NoError(t, id.Signal(syscall.SIGKILL))
	require.NoError(t, id.Wait(t.Context()), "one that waits for its parent has ended")
	require.ErrorIs(t, id.Signal(syscall.SIGTERM), ErrNotRunning)
	require.Error(t, cmd.Wait())
	require.ErrorIs(t, id.Signal(syscall.SIGTERM), ErrNotRunning)
	f, stale, err := Acquire(path)
	require.NoError(t, err)
	require.Equal(t, id.PID, stale)
	require.NoError(t, f.Release())
}

// Another process that has the pid by now is not sent the signal.
func TestSignalNobodyElse(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	other := id
	other.Start++
	require.ErrorIs(t, other.Signal(syscall.SIGKILL), ErrNotRunning)
	require.NoError(t, other.Wait(t.Context()))
	running, err := id.Running()
	require.NoError(t, err)
	require.True(t, running)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

func TestRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	notOurs := filepath.Join(dir, "passwd")
	require.NoError(t, os.WriteFile(notOurs, []byte("root:x:0:0\n"), 0o600))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(notOurs, link))
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]string{
		notOurs:                           notOurs + " is not a pid file of leptir-host: it does not have the lines pid, start and boot; remove it or name another",
		link:                              "pid file: open " + link + ": too many levels of symbolic links",
		fifo:                              "pid file " + fifo + ": it is not a file",
		dir:                               "pid file: open " + dir + ": is a directory",
		filepath.Join(dir, "none", "pid"): "pid file: open " + filepath.Join(dir, "none", "pid") + ": no such file or directory",
	} {
		_, _, err := Acquire(path)
		require.EqualError(t, err, want)
	}
	text, err := os.ReadFile(notOurs)
	require.NoError(t, err)
	require.Equal(t, "root:x:0:0\n", string(text))
	_, err = Read(notOurs)
	require.ErrorContains(t, err, "is not a pid file of leptir-host")
}

// Whoever may write a pid file must not have root send signals to others' processes.
func TestForeignPidFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	path := filepath.Join(t.TempDir(), "pid")
	self, err := Self()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(self.String()), 0o600))
	require.NoError(t, os.Chown(path, 12345, -1))
	_, err = Read(path)
	require.ErrorContains(t, err, "it is not to be trusted")
}

// Releasing leaves a file alone that has taken the place of one's own.
func TestReleaseOfAnother(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	f, _, err := Acquire(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	require.NoError(t, f.Release())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "theirs", string(text))
}

// Many want one pid file at once, and give it back at once: never two have it.
func TestOnlyOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	var mu sync.Mutex
	var wg sync.WaitGroup
	holders, got, failed := 0, 0, []error(nil)
	for range 8 {
		wg.Go(func() {
			for range 50 {
				f, _, err := Acquire(path)
				if err != nil {
					if _, ok := errors.AsType[*RunningError](err); !ok {
						mu.Lock()
						failed = append(failed, err)
						mu.Unlock()
					}
					continue
				}
				mu.Lock()
				holders++
				got++
				if holders > 1 {
					failed = append(failed, errors.New("two have it"))
				}
				mu.Unlock()
				mu.Lock()
				holders--
				mu.Unlock()
				if err := f.Release(); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	require.Empty(t, failed)
	require.Positive(t, got)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("1\nstart 2\nboot 00000000-0000-0000-0000-000000000000\n"))
	f.Add([]byte("1\n"))
	f.Add([]byte("-1\nstart -2\nboot x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parse(text)
		if err != nil {
			return
		}
		require.Positive(t, id.PID)
		again, err := parse([]byte(id.String()))
		require.NoError(t, err)
		require.Equal(t, id, again)
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "leptir")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "leptir-host.pid")
	f, _, err := Acquire(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Release()
	id, err := Read(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.PID == os.Getpid())
	// Output: true
}
