package sandbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// consumer is a process on a machine whose clock stands still between looks.
type consumer struct {
	account account
	now     time.Time
	used    time.Duration
	frozen  bool
	stops   int
}

// live lets the process use cores until the next look, which is late.
func (u *consumer) live(cores float64, late time.Duration) {
	d := u.account.next(u.frozen) + late
	u.now = u.now.Add(d)
	if !u.frozen {
		u.used += time.Duration(cores * float64(d))
	}
	u.account.book(u.used, u.now)
	over := u.account.over(u.frozen)
	if over && !u.frozen {
		u.stops++
	}
	u.frozen = over
}

// Whoever takes all that he can get gets what the limit says in the long run, however late the looks
// are within bounds, and all of it.
func TestThrottleOfTheGreedy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ rate, cores float64 }{{0.02, 2}, {0.2, 2}, {1.5, 2}, {1.99, 2}, {0.5, 64}, {0.01, 64}, {8, 64}} {
		for _, late := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond} {
			t.Run(fmt.Sprintf("%v of %v, %v late", tt.rate, tt.cores, late), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(1, 2))
				start := time.Unix(0, 0)
				u := consumer{account: newAccount(tt.rate, tt.cores, start), now: start}
				for u.now.Sub(start) < time.Hour {
					u.live(tt.cores, time.Duration(r.Int64N(int64(late)+1)))
				}
				require.InEpsilon(t, tt.rate, u.used.Seconds()/u.now.Sub(start).Seconds(), 0.02)
			})
		}
	}
}

// Who has been looked at much too late has had more than its share, and is not stopped for so long that
// nobody would wait for it.
func TestThrottleAfterALateLook(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	u := consumer{account: newAccount(0.5, 2, start), now: start}
	u.live(2, time.Minute)
	require.True(t, u.frozen)
	before := u.now
	for u.frozen {
		u.live(2, 0)
	}
	require.LessOrEqual(t, u.now.Sub(before), longestDebt+throttlePeriod)
	require.Greater(t, u.now.Sub(before), longestDebt/2)
}

// Between looks in time nobody can use so much that it is stopped for a second.
func TestThrottleIsNotLong(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	for _, tt := range []struct{ rate, cores float64 }{{0.05, 2}, {0.2, 2}, {1.5, 2}, {0.5, 16}, {2, 64}} {
		u := consumer{account: newAccount(tt.rate, tt.cores, start), now: start}
		for !u.frozen {
			u.live(tt.cores, 0)
		}
		before := u.now
		for u.frozen {
			u.live(tt.cores, 0)
		}
		require.LessOrEqual(t, u.now.Sub(before), time.Second, tt)
	}
}

// A look that could not read what has been used changes nothing.
func TestThrottleThatCannotRead(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	a := newAccount(0.5, 2, now)
	a.book(10*time.Hour, now.Add(20*time.Hour))
	require.Equal(t, a.most(), a.balance)
	for _, used := range []time.Duration{0, 10 * time.Hour} {
		a.book(used, now.Add(20*time.Hour))
		require.Equal(t, a.most(), a.balance)
	}
}

// Who uses less in each period than it may is never stopped.
func TestThrottleOfTheModest(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rate := 0.05 + 2*r.Float64()
		start := time.Unix(0, 0)
		u := consumer{account: newAccount(rate, 4, start), now: start}
		for u.now.Sub(start) < time.Minute {
			u.live(rate*r.Float64(), time.Duration(r.Int64N(int64(20*time.Millisecond))))
		}
		require.Zero(t, u.stops, "at a rate of %v", rate)
	}
}

// groupOfOne returns a group of version 2 with a process in it.
func groupOfOne(t *testing.T) (group string) {
	t.Helper()
	m := withGroups(t)
	if !m.throttles() {
		t.Skip("no cgroup of version 2 can be made here")
	}
	s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
	dir, err := s.open("")
	require.NoError(t, err)
	group = filepath.Join(dir, "process")
	require.NoError(t, os.Mkdir(group, 0o755))
	f, err := os.Open(group)
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd()), Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		requireCleanEnd(t, s)
	})
	return group
}

func requireFrozen(t *testing.T, group string, frozen bool) {
	t.Helper()
	want := int64(0)
	if frozen {
		want = 1
	}
	require.Eventually(t, func() bool { return readKey(group, "cgroup.events", "frozen") == want }, 10*time.Second, time.Millisecond)
}

// What has been released stays so, also when a look was on its way.
func TestReleaseOfTheThrottled(t *testing.T) {
	t.Parallel()
	group := groupOfOne(t)
	now := time.Now()
	th := newThrottle(group, 0.5)
	require.NotNil(t, th)
	overdraw := func() { th.account.balance = -time.Second }
	overdraw()
	require.Positive(t, th.Look(now))
	requireFrozen(t, group, true)
	require.Positive(t, th.Look(now.Add(10*time.Second)), "it has waited for long enough")
	requireFrozen(t, group, false)
	overdraw()
	require.Positive(t, th.Look(now.Add(10*time.Second)))
	requireFrozen(t, group, true)
	th.release()
	requireFrozen(t, group, false)
	overdraw()
	require.Zero(t, th.Look(now.Add(11*time.Second)))
	requireFrozen(t, group, false)
}

// What is released while it is looked at is not frozen for ever.
func TestReleaseInTheMiddleOfALook(t *testing.T) {
	t.Parallel()
	group := t.TempDir()
	stat, freeze := filepath.Join(group, "cpu.stat"), filepath.Join(group, "cgroup.freeze")
	require.NoError(t, unix.Mkfifo(stat, 0o600))
	require.NoError(t, os.WriteFile(freeze, []byte("0"), 0o600))
	th := newThrottle(group, 0.5)
	th.account.balance = -time.Second
	good := make(chan time.Duration, 1)
	go func() { good <- th.Look(time.Now()) }()
	used, err := os.OpenFile(stat, os.O_WRONLY, 0) // waits until it is being read
	require.NoError(t, err)
	th.release()
	_, err = used.WriteString("usage_usec 1\n")
	require.NoError(t, err)
	require.NoError(t, used.Close())
	require.Zero(t, <-good)
	now, err := os.ReadFile(freeze)
	require.NoError(t, err)
	require.Equal(t, "0", string(now))
}

// A group that cannot be stopped is none that could be throttled.
func TestNoThrottle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Nil(t, newThrottle(dir, 1))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cpu.stat"), nil, 0o600))
	require.Nil(t, newThrottle(dir, 1))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.freeze"), nil, 0o600))
	require.NotNil(t, newThrottle(dir, 1))
}
