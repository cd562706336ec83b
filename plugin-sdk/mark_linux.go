package sdk

import (
	"encoding/binary"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// mark is the memory in which this process notes what it is doing, and keeps the results that
// its host may not have yet, for the host to read even when the process has died. A nil mark
// notes and keeps nothing.
type mark struct {
	mem []byte

	// Of what is kept, with the outbox's lock held:
	serial uint64    // of the shelf in use
	last   [2]uint64 // which task's is the last result on each shelf
	full   bool      // the last result found no room; none may follow, since they are read in order
}

// openMark takes over the memory that the host has handed down; nil if it has not.
func openMark() *mark {
	fd, err := strconv.Atoi(os.Getenv(protocol.EnvMarkFD))
	if err != nil || fd < 3 {
		return nil
	}
	// Neither a task nor its children have any business there.
	defer syscall.Close(fd)
	_ = os.Unsetenv(protocol.EnvMarkFD)
	var stat syscall.Stat_t
	if syscall.Fstat(fd, &stat) != nil || stat.Size < protocol.MarkBytes {
		return nil // to touch what lies behind its end would be the end of this process
	}
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

// keep keeps the result of the running task until the host has it. It reports whether it could.
func (m *mark) keep(r *pluginpb.Result) bool {
	if m == nil || m.full {
		return false
	}
	if m.serial == 0 {
		m.turn()
	}
	// The result is encoded in place; where there is no room for it, elsewhere and in vain.
	start := m.start()
	used := atomic.LoadUint64(m.at(start + protocol.ShelfUsed))
	free := m.mem[start+int(used) : start+protocol.ShelfBytes : start+protocol.ShelfBytes]
	if len(free) < protocol.KeptHeader {
		m.full = true
		return false
	}
	header, body := free[:protocol.KeptHeader], free[protocol.KeptHeader:]
	b, err := proto.MarshalOptions{}.MarshalAppend(body[:0], r)
	if err != nil || len(b) > len(body) {
		m.full = true
		return false
	}
	seq := atomic.LoadUint64(m.at(protocol.MarkBegun))
	binary.NativeEndian.PutUint64(header, seq)
	binary.NativeEndian.PutUint32(header[8:], uint32(len(b)))
	m.last[m.serial%2] = seq
	atomic.StoreUint64(m.at(start+protocol.ShelfUsed), used+protocol.KeptHeader+uint64(len(b)))
	return true
}

// turn says that all results have been taken to be sent. The next ones are kept on the other
// shelf if the host has all that are there.
func (m *mark) turn() {
	if m == nil {
		return
	}
	if m.serial > 0 && m.last[m.serial%2] == 0 {
		m.full = false // what was too large for the whole shelf is on its way
		return
	}
	if m.last[(m.serial+1)%2] > atomic.LoadUint64(m.at(protocol.MarkReceived)) {
		return
	}
	m.serial++
	m.last[m.serial%2], m.full = 0, false
	start := m.start()
	atomic.StoreUint64(m.at(start+protocol.ShelfUsed), protocol.ShelfResults)
	atomic.StoreUint64(m.at(start+protocol.ShelfSerial), m.serial)
}

// start is where the shelf in use begins.
func (m *mark) start() int { return protocol.MarkKept + int(m.serial%2)*protocol.ShelfBytes }
