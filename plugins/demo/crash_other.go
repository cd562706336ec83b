//go:build !linux

package main

import "syscall"

// crash sends the process a SIGKILL: the one signal that Go's handlers cannot turn into an
// exit code on every system.
func crash() error { return syscall.Kill(syscall.Getpid(), syscall.SIGKILL) }
