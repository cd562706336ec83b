package sdk

import (
	"os"
	"syscall"
)

// pollable returns a file of the same descriptor that is waited for without a thread of its own,
// as the standard streams are not; f itself where it cannot be. f must stay reachable as long.
func pollable(f *os.File) *os.File {
	if err := syscall.SetNonblock(int(f.Fd()), true); err != nil {
		return f
	}
	return os.NewFile(f.Fd(), f.Name())
}
