package sdk

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

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

func TestNoMark(t *testing.T) {
	for _, fd := range []string{"", "nonsense", "1", "9999"} {
		t.Setenv(protocol.EnvMarkFD, fd)
		m := openMark()
		require.Nil(t, m, "fd %q", fd)
		m.begun()
		m.ended()
	}
}
