// Package work is what the tasks of the measurements do. Leptir's plugin, the worker of a
// peer and bare loops share it, so that all of them do the same. It knows of no queue.
package work

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SocketVariable is the environment variable that names the datagram socket that Stamp
// writes to.
const SocketVariable = "LEPTIR_BENCH_SOCKET"

// Now returns the machine's monotonic clock, which is the same in all processes.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Sleep is a task that waits for something else, for d.
func Sleep(d time.Duration) { time.Sleep(d) }

// Spin is a task that computes for d of its thread's own processor time, whatever else the
// machine does meanwhile.
func Spin(d time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime()
	sum := 0
	for threadTime()-begin < d {
		for i := range 1000 {
			sum += i
		}
	}
	runtime.KeepAlive(sum)
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Stamp tells the measuring program that a task has begun at a time: a datagram of 8 bytes.
func Stamp(at time.Duration) error {
	conn, err := socket()
	if err != nil {
		return err
	}
	_, err = conn.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	return err
}

var socket = sync.OnceValues(func() (net.Conn, error) {
	return net.Dial("unixgram", os.Getenv(SocketVariable))
})

// StampOf is what a datagram of Stamp says.
func StampOf(datagram []byte) (time.Duration, error) {
	if len(datagram) != 8 {
		return 0, fmt.Errorf("a stamp of %d bytes", len(datagram))
	}
	return time.Duration(binary.LittleEndian.Uint64(datagram)), nil
}

// Text returns n bytes of plain text.
func Text(n int) string {
	const line = "The quick brown fox jumps over the lazy dog 0123456789. "
	return strings.Repeat(line, n/len(line)+1)[:n]
}

// Parse turns a text like "sleep:1ms" or "spin:100ms" into what is to be done; "noop" is
// nothing.
func Parse(text string) (func(), error) {
	kind, length, _ := strings.Cut(text, ":")
	if kind == "noop" {
		return func() {}, nil
	}
	d, err := time.ParseDuration(length)
	switch {
	case err != nil:
		return nil, fmt.Errorf("work %q: %w", text, err)
	case kind == "sleep":
		return func() { Sleep(d) }, nil
	case kind == "spin":
		return func() { Spin(d) }, nil
	}
	return nil, fmt.Errorf("there is no work of the kind %q", kind)
}
