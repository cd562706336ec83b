package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/pluginpb"
)

// envHost makes the test program a host to be killed: its value is the order for it.
const envHost = "LEPTIR_TEST_HOST"

// hostOrder is what such a host is to do.
type hostOrder struct {
	Parent    string // of its run folder
	NoCgroups bool
	Spec      Spec
}

// beHost is such a host: it starts a process with a daemon, prints their pids, and waits to
// be killed.
func beHost(order string) error {
	var o hostOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	m := sandbox.Look(os.Getenv("LEPTIR_TEST_CGROUP"))
	if o.NoCgroups {
		m = m.WithoutGroups()
	}
	l, err := NewLauncher(o.Parent, slog.New(slog.DiscardHandler), hclog.NewNullLogger(), func(Line) {}, OnMachine(m))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p, err := l.Start(ctx, o.Spec)
	if err != nil {
		return err
	}
	if err := p.Send(&pluginpb.HostMessage{Tasks: []*pluginpb.Task{{Id: "1", Type: "daemon"}}}); err != nil {
		return err
	}
	pidFile := filepath.Join(o.Parent, "pid")
	for range 2000 {
		if b, err := os.ReadFile(pidFile); err == nil {
			said, err := json.Marshal(l.remains)
			if err != nil {
				return err
			}
			fmt.Printf("%d %s %s\n", p.PID(), b, said)
			time.Sleep(time.Minute)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no daemon has come up")
}

// Of a host that was killed nothing remains: its plugin processes die with it, and what they
// have made daemons of, its cgroups and its folders go when the next host starts.
func TestKilledHost(t *testing.T) {
	t.Parallel()
	for _, noCgroups := range []bool{false, true} {
		t.Run(fmt.Sprintf("without cgroups %v", noCgroups), func(t *testing.T) {
			t.Parallel()
			parent, err := os.MkdirTemp("", "k") // short enough for a socket
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
			s := spec(t, "serve", "LEPTIR_TEST_PIDFILE="+filepath.Join(parent, "pid"))
			s.Limits = sandbox.Limits{MemoryMax: 256 << 20, PidsMax: 100, NoNewPrivs: true, ProtectHost: true}
			order, err := json.Marshal(hostOrder{Parent: parent, NoCgroups: noCgroups, Spec: s})
			require.NoError(t, err)
			self, err := os.Executable()
			require.NoError(t, err)
			host := exec.Command(self)
			host.Env = append(os.Environ(), envHost+"="+string(order), "LEPTIR_TEST_CGROUP="+cgroupParent(),
				"TMPDIR="+parent) // or another test's start sweeps, too, what it has left
			host.Stderr = os.Stderr
			out, err := host.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, host.Start())
			defer func() {
				_ = host.Process.Kill()
				_ = host.Wait()
			}()
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			f := strings.SplitN(strings.TrimSpace(line), " ", 3)
			plugin, _ := strconv.Atoi(f[0])
			daemon, _ := strconv.Atoi(f[1])
			var remains sandbox.Remains
			require.NoError(t, json.Unmarshal([]byte(f[2]), &remains))
			require.True(t, alive(plugin) && alive(daemon))

			require.NoError(t, host.Process.Kill())
			_ = host.Wait()
			require.Eventually(t, func() bool { return !alive(plugin) }, 10*time.Second, time.Millisecond)
			require.True(t, alive(daemon), "nothing to sweep: the test is worth nothing")
			left, err := filepath.Glob(filepath.Join(parent, "run-*"))
			require.NoError(t, err)
			require.Len(t, left, 1)

			var log strings.Builder
			l, err := NewLauncher(parent, slog.New(slog.NewTextHandler(&log, nil)), hclog.NewNullLogger(), func(Line) {}, OnMachine(sandbox.Look("")))
			require.NoError(t, err)
			require.False(t, alive(daemon))
			require.Contains(t, log.String(), "killed processes that a host had left behind")
			require.NoDirExists(t, left[0])
			require.NoError(t, l.Close())
			requireNoGroups(t, remains)
		})
	}
}

// Hosts that start and end beside each other do not take one another's folders for those of
// dead hosts, nor leave any.
func TestRunFoldersOfManyHosts(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(parent, "run-without-a-lock"), 0o700))
	var wg sync.WaitGroup
	problems := make(chan string, 1000)
	for range 8 {
		wg.Go(func() {
			for range 25 {
				d, _, swept, err := newRunDir(parent, modePrivate, sandbox.Remains{})
				if err != nil || swept != nil {
					problems <- fmt.Sprint(err, swept)
					return
				}
				for range 3 {
					if _, err := os.Stat(filepath.Join(d.path, lockName)); err != nil {
						problems <- err.Error()
					}
				}
				if err := d.remove(); err != nil {
					problems <- err.Error()
				}
			}
		})
	}
	wg.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	left, err := filepath.Glob(filepath.Join(parent, "run-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
