package sandbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	for _, tt := range []struct{ rate, cores float64 }{{0.02, 2}, {0.2, 2}, {1.5, 2}, {1.99, 2}, {0.64, 64}, {8, 64}} {
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
	for _, tt := range []struct{ rate, cores float64 }{{0.02, 2}, {0.05, 2}, {0.2, 2}, {1.5, 2}, {0.5, 16}, {0.64, 64}, {2, 64}, {2.56, 256}} {
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

// Who makes up in time for what it has used too much of is never stopped.
func TestThrottleOfTheModest(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rate := 0.05 + 2*r.Float64()
		start := time.Unix(0, 0)
		u := consumer{account: newAccount(rate, 8, start), now: start}
		for u.now.Sub(start) < time.Minute {
			late := func() time.Duration { return time.Duration(r.Int64N(int64(15 * time.Millisecond))) }
			for end := u.now.Add(30 * time.Millisecond); u.now.Before(end); {
				u.live(1.9*rate, late())
			}
			for end := u.now.Add(100 * time.Millisecond); u.now.Before(end); {
				u.live(0, late())
			}
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
	th, err := newThrottle(group, 0.5)
	require.NoError(t, err)
	defer th.close()
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

// fakeFreezable can be stopped, and tells what it is told.
type fakeFreezable struct {
	read   func() (time.Duration, error)
	write  func(on bool) error
	mu     sync.Mutex
	frozen bool
}

func (f *fakeFreezable) close() {}

func (f *fakeFreezable) used() (time.Duration, error) { return f.read() }

func (f *fakeFreezable) freeze(on bool) error {
	if f.write != nil {
		if err := f.write(on); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = on
	return nil
}

func (f *fakeFreezable) isFrozen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.frozen
}

func throttleOf(f *fakeFreezable, rate, cores float64, now time.Time) *Throttle {
	return &Throttle{group: f, account: newAccount(rate, cores, now)}
}

// What is released while it is looked at is not frozen for ever.
func TestReleaseInTheMiddleOfALook(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	var th *Throttle
	f := &fakeFreezable{read: func() (time.Duration, error) {
		th.release()
		return time.Hour, nil
	}}
	th = throttleOf(f, 0.5, 2, now)
	require.Zero(t, th.Look(now.Add(time.Second)))
	require.False(t, f.isFrozen())
}

// What could not be let go on is let go on by the next look.
func TestReleaseThatFails(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	fails := false
	f := &fakeFreezable{read: func() (time.Duration, error) { return time.Hour, nil }, write: func(bool) error {
		if fails {
			return unix.EMFILE
		}
		return nil
	}}
	th := throttleOf(f, 0.5, 2, now)
	require.Positive(t, th.Look(now.Add(time.Second)))
	require.True(t, f.isFrozen())
	fails = true
	th.release()
	require.Positive(t, th.Look(now.Add(2*time.Second)))
	require.True(t, f.isFrozen())
	fails = false
	require.Zero(t, th.Look(now.Add(3*time.Second)))
	require.False(t, f.isFrozen())
}

// A time without a look that could read is made up for by the next that can, with nothing lost of what was to be had
// meanwhile.
func TestThrottleThatCannotRead(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	now := start
	f := &fakeFreezable{}
	th := throttleOf(f, 0.5, 2, start)
	for range 100 {
		now = now.Add(20 * time.Millisecond)
		f.read = func() (time.Duration, error) { return now.Sub(start) * 2 / 5, nil }
		if in := now.Sub(start); in > 300*time.Millisecond && in < 1300*time.Millisecond {
			f.read = func() (time.Duration, error) { return 0, unix.EMFILE }
		}
		require.Positive(t, th.Look(now))
		require.False(t, f.isFrozen(), "after %v", now.Sub(start))
	}
}

// What somebody else lets go on is stopped again.
func TestThawedByAnother(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	f := &fakeFreezable{read: func() (time.Duration, error) { return time.Hour, nil }}
	th := throttleOf(f, 0.5, 2, now)
	for range 10 {
		good := th.Look(now)
		require.True(t, f.isFrozen())
		require.LessOrEqual(t, good, longestLook)
		f.frozen = false
		now = now.Add(good)
	}
}

// Who can use no more than the machine has needs no throttle.
func TestThrottleAboveTheMachine(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	f := &fakeFreezable{read: func() (time.Duration, error) { return time.Hour, nil }}
	require.Zero(t, throttleOf(f, 4096, 2, now).Look(now.Add(time.Second)))
	require.False(t, f.isFrozen())
}

// A limit too low for the machine is left to the kernel where it can do it.
func TestLowLimits(t *testing.T) {
	t.Parallel()
	for rate, low := range map[float64]bool{0.01: true, 0.63: true, 0.65: false, 1: false} {
		a := newAccount(rate, 64, time.Now())
		require.Equal(t, low, a.isLow(), "%v", rate)
	}
	m := withGroups(t)
	if !m.throttles() || m.controllers()["cpu"] != "" {
		t.Skip("there is no choice here")
	}
	s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
	for _, limits := range []Limits{{CPUMax: 0.009 * float64(processors())}, {CPUMax: 0.011 * float64(processors())}} {
		home := t.TempDir()
		c, err := s.Cell(Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}, limits)
		require.NoError(t, err)
		require.Empty(t, c.Gaps())
		require.Equal(t, limits.CPUMax < 0.01*float64(processors()), c.Throttle() == nil)
		require.Equal(t, c.Throttle() == nil, c.v1["cpu"] != "" || slices.Contains(c.v2has, "cpu"))
		require.NoError(t, c.Close())
	}
	requireCleanEnd(t, s)
}

// A limit that nobody holds a cell to, although this machine looks as if somebody could, is told.
func TestGapOfTheThrottle(t *testing.T) {
	t.Parallel()
	m := withGroups(t)
	if !m.throttles() {
		t.Skip("no cgroup of version 2 can be made here")
	}
	m = withoutProcessorGroups(m)
	s := New(m, strings.ReplaceAll(uuid.NewString(), "-", ""))
	dir, err := s.open("")
	require.NoError(t, err)
	require.NoError(t, writeFile(dir, "cgroup.max.descendants", "0"))
	home := t.TempDir()
	place := Place{Cookie: s.Cookie("x"), Home: home, Work: home, Binary: "/bin/sh"}
	require.Empty(t, m.Gaps(Limits{CPUMax: 0.5}))
	c, err := s.Cell(place, Limits{CPUMax: 0.5})
	require.NoError(t, err)
	require.Len(t, c.Gaps(), 1)
	require.Equal(t, "cpu_max: no cgroup that could be frozen can be made; it is not enforced", c.Gaps()[0].String())
	require.NoError(t, c.Close())
	requireCleanEnd(t, s)
}

func TestCountOf(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]int{"0-1\n": 2, "0": 1, "0-3,8,10-11": 7, "": 0, "x": 0, "3-1": 0, "1-": 0} {
		require.Equal(t, want, countOf(list), "%q", list)
	}
	require.Positive(t, processors())
}

// A group that cannot be stopped is none that could be throttled.
func TestNoThrottle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"cgroup.freeze", "cpu.stat"} {
		_, err := newThrottle(dir, 1)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	th, err := newThrottle(dir, 1)
	require.NoError(t, err)
	require.Positive(t, th.Look(time.Now()), "it does not tell what it uses")
	th.close()
}
