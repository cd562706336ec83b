package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backplane/leptir/internal/protocol"
)

// strain does what a task does that strains a limit, and reports whether it is such a task.
// What it finds it prints.
func (s *testServer) strain(taskType string) bool {
	say := func(format string, args ...any) { fmt.Fprintf(s.stdout, format+"\n", args...) }
	if strings.HasPrefix(taskType, "storm-") {
		storm(taskType)
	}
	switch taskType {
	case "eat":
		eat()
	case "eat-as-child":
		s.startSelf("eat", nil)
		time.Sleep(time.Hour)
	case "fork-bomb": // bounded, should nobody stop it
		failed := 0
		for range 3000 {
			if s.startSelf("orphan", nil) == nil {
				failed++
				time.Sleep(time.Millisecond)
			}
		}
		say("%d starts failed", failed)
		time.Sleep(time.Hour)
	case "daemon": // a child of a child that is gone, in a session of its own
		s.startSelf("daemonize", nil)
		time.Sleep(time.Hour)
	case "hidden-daemon": // one without anything to know it by
		s.startSelf("daemonize-hidden", nil)
		time.Sleep(time.Hour)
	case "daemon-and-end":
		s.startSelf("daemonize", nil)
		waitForFile(os.Getenv("LEPTIR_TEST_PIDFILE"))
	case "burn":
		for range 4 {
			go spin()
		}
		time.Sleep(time.Second)
		var ru syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		say("burnt %d ms", ru.Utime.Sec*1000+ru.Utime.Usec/1000)
		os.Exit(0)
	case "burn-as-child":
		s.startSelf("burn-at-start", nil)
		time.Sleep(time.Hour)
	case "spin":
		spin()
	case "open-files":
		n := 0
		for {
			f, err := os.Open("/dev/null")
			if err != nil {
				say("opened %d files: %v", n, err)
				break
			}
			defer f.Close()
			n++
		}
	case "fill-scratch":
		n, err := fill("filler", 256<<20)
		say("wrote %d MiB: %v", n>>20, err)
	case "overfill-scratch":
		_, _ = fill("filler", 64<<20)
		time.Sleep(time.Hour)
	case "chatter":
		for range 64 {
			say("%s", strings.Repeat("c", 1023))
		}
	case "who":
		groups, _ := os.Getgroups()
		dir, _ := os.Getwd()
		interfaces, _ := net.Interfaces()
		up := 0
		for _, i := range interfaces {
			if i.Flags&net.FlagUp != 0 {
				up++
			}
		}
		say("uid %d gid %d groups %v home %s user %s nnp %s interfaces up %d limit %s", os.Getuid(), os.Getgid(), groups,
			os.Getenv("HOME"), os.Getenv("USER"), status("NoNewPrivs"), up, os.Getenv("GOMEMLIMIT"))
		say("work writable: %v", os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600))
	case "paths":
		for path := range strings.SplitSeq(os.Getenv("LEPTIR_TEST_PATHS"), ":") {
			_, rerr := os.ReadFile(filepath.Join(path, "file"))
			werr := os.WriteFile(filepath.Join(path, "new"), []byte("x"), 0o600)
			say("%s: read %v, write %v", filepath.Base(path), rerr == nil, werr == nil)
		}
	case "attack-host":
		host, _ := strconv.Atoi(os.Getenv(protocol.EnvHostPID))
		_, eerr := os.ReadFile(fmt.Sprintf("/proc/%d/environ", host))
		_, merr := os.OpenFile(fmt.Sprintf("/proc/%d/mem", host), os.O_RDONLY, 0)
		say("signal %v, environ %v, mem %v, trace %v", syscall.Kill(host, 0) == nil, eerr == nil, merr == nil, syscall.PtraceAttach(host) == nil)
	default:
		return false
	}
	return true
}

// strainAtStart does what a helper process of strain does, and reports whether mode names one.
func strainAtStart(mode string) bool {
	switch mode {
	case "eat":
		eat()
	case "burn-at-start": // for a while, should nobody stop it
		for range 4 {
			go spin()
		}
		time.Sleep(time.Minute)
	case "daemonize":
		(&testServer{}).startSelf("orphan", &syscall.SysProcAttr{Setsid: true})
	case "daemonize-hidden":
		_ = os.Unsetenv(protocol.EnvProcessID)
		(&testServer{}).startSelf("orphan", &syscall.SysProcAttr{Setsid: true})
	default:
		return false
	}
	return true
}

// startSelf starts this program in another mode, nil where it cannot.
func (s *testServer) startSelf(mode string, attr *syscall.SysProcAttr) *os.Process {
	self, _ := os.Executable()
	c := exec.Command(self)
	c.Env = append(os.Environ(), "LEPTIR_TEST_MODE="+mode)
	c.SysProcAttr = attr
	if err := c.Start(); err != nil {
		return nil
	}
	if file := os.Getenv("LEPTIR_TEST_PIDFILE"); (mode == "orphan" || mode == "burn-at-start") && file != "" {
		_ = os.WriteFile(file+".new", []byte(strconv.Itoa(c.Process.Pid)), 0o600)
		_ = os.Rename(file+".new", file)
	}
	return c.Process
}

// eat takes memory, 4 MiB at a time, up to 4 GiB should nobody stop it.
func eat() {
	var all [][]byte
	for range 1024 {
		b := make([]byte, 4<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Minute)
	_ = all
}

// spin computes for ever, without a call.
//
//go:noinline
func spin() {
	for i := 0; ; i++ {
		_ = i
	}
}

// fill writes a file until it has so many bytes or cannot grow.
func fill(name string, most int) (n int, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for n < most {
		k, err := f.Write(b)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func waitForFile(path string) {
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// status returns a line of /proc/self/status.
func status(key string) string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}
