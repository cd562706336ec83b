package main

import (
	"syscall"
	"unsafe"
)

// rawCall makes a system call without telling Go's runtime.
//
//go:norace
//go:nosplit
func rawCall(number, a, b uintptr) uintptr {
	r, _, errno := syscall.RawSyscall(number, a, b, 0)
	if errno != 0 {
		return ^uintptr(0)
	}
	return r
}

// fork is fork(2): 0 in the child, its pid in the parent, -1 where there can be none.
//
//go:norace
//go:nosplit
func fork() int {
	r, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	return int(r)
}

//go:norace
//go:nosplit
func ptr(t *syscall.Timespec) uintptr { return uintptr(unsafe.Pointer(t)) }
