package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

// crash sends the process a SIGSEGV with its default action, past Go's own handler (which
// would make an exit code 2 of it).
func crash() error {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // no core files, please
	// struct sigaction of the kernel: all zero is SIG_DFL, without flags or mask. It is
	// 32 bytes long at most.
	var action [8]uint64
	const maskBytes = 8
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV),
		uintptr(unsafe.Pointer(&action)), 0, maskBytes, 0, 0); errno != 0 {
		return fmt.Errorf("reset the handler of SIGSEGV: %w", errno)
	}
	return syscall.Kill(syscall.Getpid(), syscall.SIGSEGV)
}
