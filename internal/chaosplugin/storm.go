package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// storm starts chains of processes: each link lives for a moment, starts the next one and
// ends, so that whoever kills what it sees comes too late. Its name is
// "storm-CHAINS-MICROSECONDS-SESSION": how many chains, how long a link lives, and whether each
// link, or only the first, opens a session of its own ("each", "once"). As long as any of them
// lives the file that LEPTIR_TEST_PIDFILE names is locked.
func storm(name string) {
	f := strings.Split(name, "-")
	chains, _ := strconv.Atoi(f[1])
	us, _ := strconv.Atoi(f[2])
	pause := syscall.NsecToTimespec(int64(us) * int64(time.Microsecond))
	lock, err := os.Create(os.Getenv("LEPTIR_TEST_PIDFILE"))
	if err != nil || syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) != nil {
		return
	}
	for range chains {
		chain(&pause, f[3] == "each")
	}
	time.Sleep(time.Hour)
	lock.Close()
}

// chain forks the first link. A fork of a Go program has one thread and no runtime: what it
// does must be system calls alone.
//
//go:norace
func chain(pause *syscall.Timespec, each bool) {
	if fork() != 0 {
		return
	}
	rawCall(syscall.SYS_SETSID, 0, 0)
	var began, now syscall.Timespec
	rawCall(syscall.SYS_CLOCK_GETTIME, 1, ptr(&began))
	now = began
	for now.Sec-began.Sec < 10 { // bounded, should nobody stop it
		rawCall(syscall.SYS_CLOCK_GETTIME, 1, ptr(&now))
		rawCall(syscall.SYS_NANOSLEEP, ptr(pause), 0)
		switch fork() {
		case 0:
			if each {
				rawCall(syscall.SYS_SETSID, 0, 0)
			}
		case -1: // no more processes, for the moment
		default:
			rawCall(syscall.SYS_EXIT_GROUP, 0, 0)
		}
	}
	rawCall(syscall.SYS_EXIT_GROUP, 0, 0)
}
