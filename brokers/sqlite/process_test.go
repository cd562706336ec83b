package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// The environment by which the test binary, started once more, knows what to be.
const (
	childRole = "LEPTIR_TEST_ROLE"
	childPath = "LEPTIR_TEST_PATH"
	childName = "LEPTIR_TEST_NAME"
)

const pushes = 400 // tasks of each pushing child

// child is a process of its own on the file. It prints the id of every task that it is done
// with, and ends when its stdin does.
func child(role, path, name string) int {
	s := Defaults()
	s.Path, s.BusyTimeout = settings.Path(path), time.Minute
	ctx, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	b, err := s.Open(ctx, brokers.Env{Name: name, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		switch role {
		case "push":
			err = pushAll(ctx, b, name)
		case "lease":
			err = leaseAll(ctx, b)
		case "hog": // keeps the lock
			err = b.(*Broker).db.Write(context.Background(), func(*sqlitedb.Conn) error {
				fmt.Println("locked")
				<-ctx.Done()
				return nil
			})
		}
		if cerr := b.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, name, err)
		return 1
	}
	return 0
}

func pushAll(ctx context.Context, b brokers.Broker, name string) error {
	for i := 0; i < pushes; {
		var ts []task.Task
		for range 1 + rand.IntN(20) {
			if i < pushes {
				ts = append(ts, task.Task{ID: task.ID(fmt.Sprint(name, "-", i)), Type: "a", PushedAt: time.Now()})
				i++
			}
		}
		if err := b.Push(ctx, ts); err != nil {
			return err
		}
		for _, t := range ts {
			fmt.Println(t.ID)
		}
	}
	return nil
}

func leaseAll(ctx context.Context, b brokers.Broker) error {
	for {
		ds, err := b.Lease(ctx, 1+rand.IntN(16), time.Minute)
		if err != nil {
			return err
		}
		if len(ds) == 0 {
			if err := b.(brokers.Waiter).Wait(ctx); err != nil {
				return err
			}
			continue
		}
		var ss []brokers.Settlement
		for _, d := range ds {
			s := brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done}
			if rand.IntN(10) == 0 {
				s.Verdict = brokers.Retry
			}
			ss = append(ss, s)
		}
		// What has been leased is settled even when the end has come.
		lost, err := b.Settle(context.WithoutCancel(ctx), ss)
		if err != nil || len(lost) > 0 {
			return fmt.Errorf("settle: lost %v: %w", lost, err)
		}
		for _, s := range ss {
			if s.Verdict == brokers.Done {
				fmt.Println(s.ID)
			}
		}
	}
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // what it prints; closed at its end
}

func start(t *testing.T, role, path, name string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path, childName+"="+name)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, stdin: stdin, lines: make(chan string, 10_000)}
	go func() {
		defer close(p.lines)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			p.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() { // if the test has failed half-way
		_ = cmd.Process.Kill()
		_ = stdin.Close()
	})
	return p
}

// rest returns what the child prints until its end.
func (p *process) rest() (out []string) {
	for line := range p.lines {
		out = append(out, line)
	}
	return out
}

// Several processes push and lease on one file: nothing is lost and nothing is done twice.
func TestProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.db")
	var pushers, leasers []*process
	for i := range 2 {
		pushers = append(pushers, start(t, "push", path, fmt.Sprint("pusher", i)))
		leasers = append(leasers, start(t, "lease", path, fmt.Sprint("leaser", i)))
	}
	for _, p := range pushers {
		require.Len(t, p.rest(), pushes)
		require.NoError(t, p.cmd.Wait())
	}
	b := open(t, path, nil)
	defer b.Close()
	require.Eventually(t, func() bool {
		st, err := b.Stats(context.Background())
		return err == nil && st == brokers.Stats{}
	}, time.Minute, 10*time.Millisecond)
	done := map[string]int{}
	for _, p := range leasers {
		require.NoError(t, p.stdin.Close())
		for _, id := range p.rest() {
			done[id]++
		}
		require.NoError(t, p.cmd.Wait())
	}
	require.Len(t, done, len(pushers)*pushes)
	for id, n := range done {
		require.Equal(t, 1, n, "task %s", id)
	}
}

// A push by another process wakes a waiter long before it would look by itself.
func TestPushByAnotherProcessWakes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.db")
	b := open(t, path, nil)
	defer b.Close()
	woken := make(chan error, 1)
	go func() { woken <- b.Wait(t.Context()) }()
	p := start(t, "push", path, "p")
	require.NoError(t, <-woken)
	ds, err := b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 1)
	p.rest()
	require.NoError(t, p.cmd.Wait())
}

// What a process was told to be pushed is there after it was killed in the middle.
func TestKilledWhilePushing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "q.db")
	p := start(t, "push", path, "p")
	told := []string{<-p.lines}
	require.NoError(t, p.cmd.Process.Kill())
	told = append(told, p.rest()...)
	_ = p.cmd.Wait()

	b := open(t, path, nil)
	defer b.Close()
	there := map[string]bool{}
	ds, err := b.Lease(t.Context(), pushes, time.Minute)
	require.NoError(t, err)
	for _, d := range ds {
		there[string(d.Task.ID)] = true
	}
	for _, id := range told {
		if strings.HasPrefix(id, "p-") { // not a line cut short
			require.True(t, there[id], "task %s was pushed", id)
		}
	}
}
