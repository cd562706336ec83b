package logging

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// consoleChunk is what a pipe that can be written to takes without blocking.
	consoleChunk = 4096
	// consolePoll is how often a console that stands still is left to see whether that is
	// still worth it, in milliseconds.
	consolePoll = 100
)

// console writes to the standard output or the standard error output, which it does not
// own. These are shared with others and so cannot be made non-blocking; it asks first.
type console struct{ file *os.File }

func (c *console) write(ctx context.Context, e entry) error {
	for line := e.line; len(line) > 0; {
		if err := c.ready(ctx); err != nil {
			return err
		}
		n, err := c.file.Write(line[:min(len(line), consoleChunk)])
		if err != nil {
			return err
		}
		line = line[n:]
	}
	return nil
}

// ready waits until the console can be written to without blocking.
func (c *console) ready(ctx context.Context) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	for ready := 0; ready == 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var pollErr error
		err := raw.Control(func(fd uintptr) {
			ready, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, consolePoll)
		})
		if err != nil {
			return err
		}
		if pollErr != nil && !errors.Is(pollErr, unix.EINTR) {
			return pollErr
		}
		ready = max(ready, 0) // -1 where it was interrupted
	}
	return nil
}

func (c *console) close() error { return nil }
