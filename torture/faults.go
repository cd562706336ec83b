package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver that holds locks

	"github.com/backplane/leptir/torture/journal"
)

// struck is a fault as it happened.
type struck struct {
	Fault
	Begin, End time.Time
	Held       int64 // tasks that all hosts together held at its beginning, as the queue counts them
	Skipped    string
}

// hits reports whether the fault has to do with a host.
func (s *struck) hits(host string) bool {
	return s.Skipped == "" && (s.Host == all || hostName(s.Host) == host)
}

// striker carries a plan out.
type striker struct {
	r     *run
	began time.Time

	mu   sync.Mutex
	done []struck
}

// strike carries the plan out, each lane one fault after the other.
func (s *striker) strike(ctx context.Context, plan []Fault) {
	lanes := map[string][]Fault{}
	for _, f := range plan {
		lanes[f.lane()] = append(lanes[f.lane()], f)
	}
	s.began = time.Now()
	var wg sync.WaitGroup
	for _, faults := range lanes {
		wg.Go(func() {
			for _, f := range faults {
				if !sleep(ctx, time.Until(s.began.Add(f.At))) {
					return
				}
				s.one(ctx, f)
			}
		})
	}
	wg.Wait()
}

// stalls notes when the machine stands still for a good part of a lease, until ctx ends.
func (s *striker) stalls(ctx context.Context) {
	const tick = 50 * time.Millisecond
	for last := time.Now(); sleep(ctx, tick); last = time.Now() {
		if now := time.Now(); now.Sub(last) > s.r.o.lease/4 {
			s.mu.Lock()
			s.done = append(s.done, struck{Fault: Fault{Kind: machineStall, Host: all}, Begin: last, End: now})
			s.mu.Unlock()
			s.r.verbose("the machine stood still for %v", now.Sub(last))
		}
	}
}

// slowness notes when the queue's server, asked straight, is long in answering without having
// been struck: leases cannot be renewed then. Until ctx ends.
func (s *striker) slowness(ctx context.Context) {
	for sleep(ctx, 400*time.Millisecond) {
		began := time.Now()
		call, cancel := context.WithTimeout(ctx, s.r.o.lease)
		_, _ = s.r.backend.broker.Stats(call)
		cancel()
		if took := time.Since(began); took > s.r.o.lease/4 && ctx.Err() == nil {
			s.mu.Lock()
			s.done = append(s.done, struck{Fault: Fault{Kind: serverSlow, Host: all}, Begin: began, End: time.Now()})
			s.mu.Unlock()
			s.r.verbose("the queue took %v to answer", took)
		}
	}
}

// stalled reports whether the machine has stood still since a time.
func (s *striker) stalled(since time.Time) bool {
	return slices.ContainsFunc(s.all(), func(f struck) bool { return f.unplanned() && f.End.After(since) })
}

// one carries one fault out and notes it.
func (s *striker) one(ctx context.Context, f Fault) {
	done := struck{Fault: f, Held: s.r.leased(ctx), Begin: time.Now()}
	skipped, err := s.do(ctx, f)
	done.End, done.Skipped = time.Now(), skipped
	if err != nil {
		s.r.problem("fault %d (%s): %v", f.Index, f.Kind, err)
	}
	s.r.verbose("%v %s", f, skipped)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, done)
}

// count returns how many faults of the plan have been dealt with.
func (s *striker) count() (n int) {
	for _, f := range s.all() {
		if !f.unplanned() {
			n++
		}
	}
	return n
}

func (s *striker) all() []struck {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

// do carries a fault out and undoes it. skipped says why it could not be.
func (s *striker) do(ctx context.Context, f Fault) (skipped string, err error) {
	b := s.r.backend
	var h *host
	if f.Host != all {
		h = s.r.hosts[f.Host]
	}
	wait := func() { sleep(ctx, f.For) }
	switch f.Kind {
	case HostKill:
		if err := h.kill(); err != nil {
			return "", err
		}
		wait()
		return "", h.start()
	case HostStop:
		h.signal(syscall.SIGSTOP)
		wait()
		h.signal(syscall.SIGCONT)
		return "", nil
	case HostDrain:
		if err := h.drain(s.r.settings.drain + drainPatience); err != nil {
			s.r.problem("fault %d (%s): %v", f.Index, f.Kind, err)
		}
		wait()
		return "", h.start()
	case HostClock:
		h.clock.set(f.Amount)
		wait()
		h.clock.set(0)
		return "", nil
	case PluginKill, PluginStop:
		return s.plugin(ctx, h, f)
	case PluginGood, PluginBad:
		return "", s.binary(ctx, f)
	case ServerKill:
		return "", restart(ctx, b.server, f.For)
	case StoreKill:
		return "", restart(ctx, b.storeServer, f.For)
	case ServerStop:
		pid := b.server.pid()
		if pid == 0 {
			return "it does not run", nil
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return "", err
		}
		wait()
		return "", syscall.Kill(pid, syscall.SIGCONT)
	case QueueReset, QueueLatency, QueueStall, QueueLimit:
		links := b.queueLinks
		if f.Host != all {
			links = links[f.Host : f.Host+1]
		}
		return "", spoil(links, f, wait)
	case StoreReset, StoreLatency, StoreStall, StoreLimit:
		links := b.storeLinks
		if f.Host != all {
			links = links[f.Host : f.Host+1]
		}
		return "", spoil(links, f, wait)
	case QueueFull, StoreFull:
		undo, err := b.full[f.Kind]()
		if err != nil {
			return err.Error(), nil // its server may be down at the moment
		}
		wait()
		return "", undo()
	case QueueLocked, StoreLocked:
		return "", lock(ctx, b.locked[f.Kind], f.For)
	}
	return "", fmt.Errorf("nobody knows how to do it")
}

// plugin strikes processes of a host that run tasks at the moment.
func (s *striker) plugin(ctx context.Context, h *host, f Fault) (skipped string, err error) {
	var busy []int
	for end := time.Now().Add(s.r.settings.lease / 2); len(busy) == 0; {
		busy = s.r.busy(h)
		if time.Now().After(end) || len(busy) == 0 && !sleep(ctx, 20*time.Millisecond) {
			break
		}
	}
	if len(busy) == 0 {
		return "no process runs a task", nil
	}
	rng := rand.New(rand.NewPCG(s.r.o.seed, uint64(f.Index))) //nolint:gosec // repeatable, not secret
	rng.Shuffle(len(busy), func(i, j int) { busy[i], busy[j] = busy[j], busy[i] })
	if f.Kind == PluginKill {
		for _, pid := range busy[:min(f.Amount, len(busy))] {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return "", nil
	}
	if syscall.Kill(busy[0], syscall.SIGSTOP) != nil {
		return "its process has just ended", nil
	}
	sleep(ctx, f.For)
	_ = syscall.Kill(busy[0], syscall.SIGCONT)
	return "", nil
}

// busy returns the host's processes that run tasks, by their journals.
func (r *run) busy(h *host) (pids []int) {
	for _, pid := range h.plugins() {
		files, _ := journal.Of(r.settings.journal, pid)
		for _, name := range files {
			lines, err := journal.ReadFile(name)
			if n := len(lines); err == nil && n > 0 && lines[n-1].What == journal.Begin && lines[n-1].Host == h.name {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// binary replaces the plugin in the folder of all hosts: by a good one of a new version or,
// for a while, by one that never comes up.
func (s *striker) binary(ctx context.Context, f Fault) error {
	target := filepath.Join(s.r.settings.plugins, "torture")
	if f.Kind == PluginBad {
		bad := "#!/bin/sh\necho " + fmt.Sprint("this is no plugin: ", f.Index) + "\n"
		if f.Index%2 == 0 { // one that hangs
			bad += "exec sleep 3600\n"
		}
		if err := replace(target, []byte(bad)); err != nil {
			return err
		}
		sleep(ctx, f.For)
	}
	good, err := os.ReadFile(s.r.programs.plugins[f.Index%len(s.r.programs.plugins)])
	if err != nil {
		return err
	}
	// What follows an ELF file is not looked at, and makes it another binary.
	return replace(target, fmt.Appendf(good, "\n%s %d", f.Kind, f.Index))
}

// replace puts a program in the place of another, at once.
func replace(target string, program []byte) error {
	part := filepath.Join(filepath.Dir(filepath.Dir(target)), "next-plugin")
	if err := os.WriteFile(part, program, 0o700); err != nil { //nolint:gosec // it is a program
		return err
	}
	return os.Rename(part, target)
}

// restart kills a server and starts it again after a while.
func restart(ctx context.Context, s *server, down time.Duration) error {
	if err := s.kill(); err != nil {
		return err
	}
	sleep(ctx, down)
	return s.start()
}

// spoil makes links bad for a while.
func spoil(links []*link, f Fault, wait func()) error {
	name := fmt.Sprintf("fault-%d", f.Index)
	toxic, stream, attributes := "", "downstream", ""
	switch f.Kind {
	case QueueReset, StoreReset:
		toxic, stream, attributes = "reset_peer", "upstream", `"timeout":0`
	case QueueLatency, StoreLatency:
		toxic, attributes = "latency", fmt.Sprintf(`"latency":%d,"jitter":%d`, f.Amount, f.Amount/2)
	case QueueStall, StoreStall:
		toxic, attributes = "timeout", `"timeout":0`
		if f.Index%2 == 0 { // what was asked has been done, and nobody hears of it; or has not
			stream = "upstream"
		}
	case QueueLimit, StoreLimit:
		toxic, attributes = "limit_data", fmt.Sprintf(`"bytes":%d`, f.Amount)
	}
	var first error
	for _, l := range links {
		if err := l.spoil(name, toxic, stream, attributes); err != nil && first == nil {
			first = err
		}
	}
	wait()
	for _, l := range links {
		if err := l.heal(name); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// lock holds the write lock of an SQLite file for a while.
func lock(ctx context.Context, file string, d time.Duration) error {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer c.Close()
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock %s: %w", file, err)
	}
	sleep(ctx, d)
	_, err = c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	return err
}

// sleep waits, and reports whether it was not cut short by the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
