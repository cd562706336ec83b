package process

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/protocol"
)

// mark is the page of memory that a process shares with the host, to note in it what it
// is doing. It outlives the process. What it says is the plugin's word only: it decides
// which of the plugin's own tasks is blamed, and nothing else.
type mark struct {
	file *os.File
	mem  []byte
}

func newMark() (*mark, error) {
	fd, err := unix.MemfdCreate("leptir-mark", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make the mark: %w", err)
	}
	f := os.NewFile(uintptr(fd), "leptir-mark")
	if err := f.Truncate(protocol.MarkBytes); err != nil {
		f.Close()
		return nil, fmt.Errorf("size the mark: %w", err)
	}
	// Sealed against truncation: else a plugin could shrink it, and the host would die of
	// SIGBUS at its next look.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the mark: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, protocol.MarkBytes, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map the mark: %w", err)
	}
	return &mark{file: f, mem: mem}, nil
}

func (m *mark) at(offset int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&m.mem[offset])))
}

// Progress is what a process has noted in its mark.
type Progress struct {
	Kept  bool   // the plugin keeps its mark; else the numbers mean nothing
	Begun uint64 // tasks begun since the start of the process
	Ended uint64 // tasks ended, their results on their way
}

func (m *mark) read() Progress {
	return Progress{
		Kept:  m.at(protocol.MarkVersion) == 1,
		Ended: m.at(protocol.MarkEnded), // before Begun, so that Ended never exceeds it
		Begun: m.at(protocol.MarkBegun),
	}
}

func (m *mark) close() {
	_ = unix.Munmap(m.mem)
	_ = m.file.Close()
}
