package process

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/internal/protocol"
)

// mark is the memory that a process shares with the host, to note in it what it is doing and
// to keep results in it that are not sent yet. It outlives the process. What it says is the
// plugin's word only: it decides which of the plugin's own tasks is blamed, and what came of
// those that ended, and nothing else.
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
	mem, err := unix.Mmap(fd, 0, protocol.MarkBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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

// received notes how many results have come.
func (m *mark) received(n uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&m.mem[protocol.MarkReceived])), n)
}

// Kept is a result that a process has kept in its mark.
type Kept struct {
	Seq    uint64 // the number of its task, among those that the process has begun
	Result []byte // a pluginpb.Result, as the plugin encoded it: unchecked
}

// shelves copies what the process keeps. Only of a process that has ended does it make sense.
func (m *mark) shelves() (copies [2][]byte) {
	for i := range copies {
		shelf := m.mem[protocol.MarkKept+i*protocol.ShelfBytes:][:protocol.ShelfBytes]
		used := m.at(protocol.MarkKept + i*protocol.ShelfBytes + protocol.ShelfUsed)
		if used > protocol.ShelfResults && used <= protocol.ShelfBytes {
			copies[i] = bytes.Clone(shelf[:used])
		}
	}
	return copies
}

// keptOf reads copies of shelves, which a hostile plugin has written: the results up to the
// first thing that makes no sense, in the order of their tasks.
func keptOf(shelves [2][]byte) (kept []Kept) {
	serial := func(shelf []byte) uint64 {
		if len(shelf) < protocol.ShelfResults {
			return 0
		}
		return binary.NativeEndian.Uint64(shelf[protocol.ShelfSerial:])
	}
	if serial(shelves[1]) < serial(shelves[0]) {
		shelves[0], shelves[1] = shelves[1], shelves[0]
	}
	last := uint64(0)
	for _, shelf := range shelves {
		if serial(shelf) == 0 {
			continue
		}
		for rest := shelf[protocol.ShelfResults:]; len(rest) > 0; {
			if len(rest) < protocol.KeptHeader {
				return kept
			}
			seq, size := binary.NativeEndian.Uint64(rest), uint64(binary.NativeEndian.Uint32(rest[8:]))
			rest = rest[protocol.KeptHeader:]
			if seq <= last || size > uint64(len(rest)) {
				return kept
			}
			kept = append(kept, Kept{Seq: seq, Result: rest[:size:size]})
			rest, last = rest[size:], seq
		}
	}
	return kept
}

func (m *mark) close() {
	_ = unix.Munmap(m.mem)
	_ = m.file.Close()
}
