package sdk

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/backplane/leptir/internal/protocol"
)

// mark is the page of memory in which this process notes what it is doing, for its host to
// read even when the process has died. A nil mark notes nothing.
type mark struct{ mem []byte }

// openMark takes over the page that the host has handed down; nil if it has not.
func openMark() *mark {
	fd, err := strconv.Atoi(os.Getenv(protocol.EnvMarkFD))
	if err != nil || fd < 3 {
		return nil
	}
	// Neither a task nor its children have any business there.
	defer syscall.Close(fd)
	_ = os.Unsetenv(protocol.EnvMarkFD)
	mem, err := syscall.Mmap(fd, 0, protocol.MarkBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	m := &mark{mem: mem}
	atomic.StoreUint64(m.at(protocol.MarkVersion), 1)
	return m
}

func (m *mark) at(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&m.mem[offset])) }

// begun notes that another task begins.
func (m *mark) begun() {
	if m != nil {
		atomic.AddUint64(m.at(protocol.MarkBegun), 1)
	}
}

// ended notes that the task has ended and its result is on its way.
func (m *mark) ended() {
	if m != nil {
		atomic.AddUint64(m.at(protocol.MarkEnded), 1)
	}
}
