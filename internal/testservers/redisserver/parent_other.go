//go:build !linux

package redisserver

import "syscall"

// endWithParent can do nothing here: a server outlives a test binary that is killed.
func endWithParent() *syscall.SysProcAttr { return nil }
