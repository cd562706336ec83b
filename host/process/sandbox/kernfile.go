package sandbox

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// The files of /proc and of cgroups are read and written by bare system calls: os.ReadFile and
// its like ask the scheduler of Go to watch whatever can be watched, which for these costs
// several calls and a needless wake-up each time.

// readKernel returns what a file of the kernel's says.
func readKernel(path string) ([]byte, error) {
	fd, err := openKernel(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readFrom(fd, path)
}

// readFrom returns all that an open file of the kernel's says now, from its beginning, so that a
// file that is looked at often can be kept open.
func readFrom(fd int, path string) ([]byte, error) {
	b := make([]byte, 0, 512)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := unix.Pread(fd, b[len(b):cap(b)], int64(len(b)))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return b, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
}

// writeKernel writes a value to a file of the kernel's, which must be there, by one call.
func writeKernel(path, value string) error {
	fd, err := openKernel(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return writeTo(fd, path, value)
}

func openKernel(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

func writeTo(fd int, path, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "write", Path: path, Err: err}
		}
	}
}
