package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// envClock names the file that holds how many seconds the wall clock of a host is ahead.
const envClock = "TORTURE_CLOCK"

// clock is the error of one process's wall clock, which it reads from a page of memory that
// both share.
type clock struct {
	file string
	page []byte
}

func newClock(file string) (*clock, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(8); err != nil {
		return nil, err
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", file, err)
	}
	return &clock{file, page}, nil
}

// set makes the wall clock so many seconds fast. The monotonic clock goes on.
func (c *clock) set(seconds int) {
	atomic.StoreInt64((*int64)(unsafe.Pointer(unsafe.SliceData(c.page))), int64(seconds)) //nolint:gosec // a page of memory is aligned
}

// The wall clock of a Go program is time.Now. A host whose clock can be wrong is built with
// this in the package time; the tool chain itself stays as it is.
const wrongClock = `package time

import (
	"syscall"
	"unsafe"
)

var tortureClock *int64

func init() {
	name, ok := syscall.Getenv("` + envClock + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("torture clock: " + name + ": " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("torture clock: " + name + ": " + err.Error())
	}
	_ = syscall.Close(fd)
	tortureClock = (*int64)(unsafe.Pointer(&page[0]))
}

func tortureAhead() int64 {
	if tortureClock == nil {
		return 0
	}
	return *tortureClock
}
`

// overlay writes what the go command needs to build programs with a wrong clock, in dir, and
// returns the file for its flag -overlay.
func overlay(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	b, err := os.ReadFile(filepath.Join(src, "time.go"))
	if err != nil {
		return "", err
	}
	const before = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(b), before) != 1 {
		return "", errors.New("this Go's time.Now is not as clock.go knows it: hosts cannot have a wrong clock")
	}
	patched := strings.Replace(string(b), before, before+"\tsec += tortureAhead()\n", 1)
	files := map[string]string{"time.go": patched, "torture_clock.go": wrongClock}
	replace := map[string]string{}
	for name, text := range files {
		replace[filepath.Join(src, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	b, err = json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}

// seconds returns what the page holds, for tests.
func (c *clock) seconds() int { return int(int64(binary.NativeEndian.Uint64(c.page))) } //nolint:gosec // it was an int
