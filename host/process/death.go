package process

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// death is how a process's death is learned of. Go's own wait keeps a thread for each process,
// and for a while one of the few processors of its scheduler; a descriptor of the process can
// be waited for like a socket. Before Linux 5.4 there is none.
type death struct{ fd int }

// descriptor returns where the process's descriptor is to be written when it is started.
func (d *death) descriptor() *int {
	d.fd = -1
	return &d.fd
}

// wait returns when the process is dead, and leaves it unreaped. It closes the descriptor.
func (d *death) wait(pid int) {
	d.poll()
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// poll waits until the process is dead, where its descriptor can be waited for.
func (d *death) poll() {
	defer d.close()
	if d.fd < 0 || unix.SetNonblock(d.fd, true) != nil { // else os.NewFile does not wait for it
		return
	}
	f := os.NewFile(uintptr(d.fd), "process")
	d.fd = -1
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(ready, 0)
		return n != 0
	})
}

// close lets go of a descriptor that is not waited for.
func (d *death) close() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
		d.fd = -1
	}
}
