package sdk

import (
	"os"

	"golang.org/x/sys/unix"
)

// pollable returns a file of the same pipe or socket that is waited for without a thread of its
// own, as the standard streams are not; f itself where that cannot be had.
func pollable(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // each file closes its own descriptor
	if err != nil {
		return f
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}
