package sdk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

func TestMark(t *testing.T) {
	t.Parallel()
	buildHello(t)
	page, err := os.Create(filepath.Join(t.TempDir(), "mark"))
	require.NoError(t, err)
	defer page.Close()
	require.NoError(t, page.Truncate(protocol.MarkBytes))
	read := func() (version, begun, ended uint64) {
		b := make([]byte, protocol.MarkBytes)
		_, err := page.ReadAt(b, 0)
		require.NoError(t, err)
		at := func(offset int) uint64 { return binary.NativeEndian.Uint64(b[offset:]) }
		return at(protocol.MarkVersion), at(protocol.MarkBegun), at(protocol.MarkEnded)
	}
	p := startWith(t, []*os.File{page}, protocol.EnvMarkFD+"=3")
	h := p.open(t)
	h.run(taskOf("hello.greet", "a"), taskOf("hello.nope", "b"), taskOf("hello.wait", "c"), taskOf("hello.greet", "d"))
	h.waitForLog("waiting")
	version, begun, ended := read()
	require.Equal(t, []uint64{1, 3, 2}, []uint64{version, begun, ended})
	h.send(&pluginpb.HostMessage{Recall: true, Cancel: &pluginpb.Cancel{Id: "c"}})
	require.NoError(t, h.stream.CloseSend())
	h.result()
	require.Equal(t, exitGraceful, p.exitCode(t))
	version, begun, ended = read()
	require.Equal(t, []uint64{1, 3, 3}, []uint64{version, begun, ended}, "the recalled task has not begun")
}

// memoryMark is a mark that no host looks at.
func memoryMark() *mark { return &mark{mem: make([]byte, protocol.MarkBytes)} }

// kept reads a shelf as the host does.
func (m *mark) kept(t *testing.T, shelf int) (serial uint64, ids map[uint64]string) {
	b := m.mem[protocol.MarkKept+shelf*protocol.ShelfBytes:][:protocol.ShelfBytes]
	used := binary.NativeEndian.Uint64(b[protocol.ShelfUsed:])
	ids = map[uint64]string{}
	for at := uint64(protocol.ShelfResults); at < used; {
		seq, size := binary.NativeEndian.Uint64(b[at:]), uint64(binary.NativeEndian.Uint32(b[at+8:]))
		at += protocol.KeptHeader
		r := &pluginpb.Result{}
		require.NoError(t, proto.Unmarshal(b[at:at+size], r))
		ids[seq] = r.Id
		at += size
	}
	return binary.NativeEndian.Uint64(b[protocol.ShelfSerial:]), ids
}

// Results are kept until the host has them.
func TestMarkKeepsResults(t *testing.T) {
	t.Parallel()
	m := memoryMark()
	run := func(id string) bool {
		m.begun()
		ok := m.keep(&pluginpb.Result{Id: id, ReturnCode: 1})
		m.ended()
		return ok
	}
	received := func(n uint64) { *m.at(protocol.MarkReceived) = n }
	require.True(t, run("a"))
	require.True(t, run("b"))
	m.turn()
	require.True(t, run("c"))
	serial, ids := m.kept(t, 1)
	require.Equal(t, uint64(1), serial)
	require.Equal(t, map[uint64]string{1: "a", 2: "b"}, ids)
	serial, ids = m.kept(t, 0)
	require.Equal(t, uint64(2), serial)
	require.Equal(t, map[uint64]string{3: "c"}, ids)

	m.turn()
	received(1)
	m.turn()
	require.True(t, run("d"))
	_, ids = m.kept(t, 1)
	require.Len(t, ids, 2, "the host does not have b yet")
	_, ids = m.kept(t, 0)
	require.Equal(t, map[uint64]string{3: "c", 4: "d"}, ids)
	received(2)
	m.turn()
	m.turn()
	serial, ids = m.kept(t, 1)
	require.Equal(t, uint64(3), serial)
	require.Empty(t, ids)

	n := 0
	for run("e") {
		n++
	}
	require.Greater(t, n, 1000, "what fits")
	_, ids = m.kept(t, 1)
	require.Len(t, ids, n)
	require.False(t, m.keep(&pluginpb.Result{}), "results are read in order: a hole would hide which are whose")
	m.turn()
	require.False(t, run("f"), "the host does not have c and d yet")
	received(4)
	m.turn()
	require.True(t, run("g"))

	received(1 << 40)
	m.turn()
	require.False(t, m.keep(&pluginpb.Result{Meta: make([]byte, protocol.ShelfBytes)}))
	require.False(t, run("h"))
	m.turn()
	require.True(t, run("i"), "what was too large is on its way")

	var none *mark
	require.False(t, none.keep(&pluginpb.Result{}))
	none.turn()
}

// A host of before gave less memory.
func TestSmallMark(t *testing.T) {
	page, err := os.Create(filepath.Join(t.TempDir(), "mark"))
	require.NoError(t, err)
	require.NoError(t, page.Truncate(4096))
	fd, err := syscall.Dup(int(page.Fd()))
	require.NoError(t, err)
	require.NoError(t, page.Close())
	t.Setenv(protocol.EnvMarkFD, strconv.Itoa(fd))
	require.Nil(t, openMark())
}

func TestNoMark(t *testing.T) {
	for _, fd := range []string{"", "nonsense", "1", "9999"} {
		t.Setenv(protocol.EnvMarkFD, fd)
		m := openMark()
		require.Nil(t, m, "fd %q", fd)
		m.begun()
		m.ended()
	}
}

// What it costs to keep a result is in docs/adr/0010-results-kept-in-the-mark.md.
func BenchmarkKeep(b *testing.B) {
	m := memoryMark()
	r := &pluginpb.Result{Id: "01a208b9-f618-7eb6-924f-2c43d604632a", ReturnCode: 1, Started: 1795447779107494000, Duration: 1000}
	*m.at(protocol.MarkReceived) = 1 << 40
	for b.Loop() {
		m.begun()
		if !m.keep(r) {
			m.turn()
		}
	}
}
