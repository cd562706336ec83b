package redisserver

import "syscall"

// endWithParent lets a server end with the test binary, however that ends.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
