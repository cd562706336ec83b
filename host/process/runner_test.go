package process

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backplane/leptir/internal/protocol"
)

// What leptir's SDK does not offer is not asked of it, but of a plugin made with go-plugin.
func TestSpareCalls(t *testing.T) {
	t.Parallel()
	asked := errors.New("asked")
	call := func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
		return nil, asked
	}
	m, err := newMark()
	require.NoError(t, err)
	defer m.close()
	r := &groupRunner{done: make(chan struct{}), mark: m}
	for _, method := range []string{"/plugin.GRPCStdio/StreamStdio", "/plugin.GRPCBroker/StartStream"} {
		m.mem[protocol.MarkVersion] = 0
		_, err := r.spareCalls(t.Context(), nil, nil, method, call)
		require.ErrorIs(t, err, asked, method)
		m.mem[protocol.MarkVersion] = 1
		_, err = r.spareCalls(t.Context(), nil, nil, method, call)
		require.Equal(t, codes.Unimplemented, status.Code(err), method)
	}
	_, err = r.spareCalls(t.Context(), nil, nil, "/leptir.plugin.v1.TaskPlugin/Run", call)
	require.ErrorIs(t, err, asked)
}

func TestRemoveFolder(t *testing.T) {
	t.Parallel()
	// home is a process's folder as it is when the process has died.
	home := func(t *testing.T) *groupRunner {
		dir := filepath.Join(t.TempDir(), "home")
		r := &groupRunner{dir: dir, socketDir: filepath.Join(dir, "plugin-dir1"), cmd: &exec.Cmd{Dir: filepath.Join(dir, "work")}}
		r.address = filepath.Join(r.socketDir, "plugin1")
		require.NoError(t, os.MkdirAll(r.socketDir, 0o700))
		require.NoError(t, os.Mkdir(r.cmd.Dir, 0o700))
		l, err := net.Listen("unix", r.address)
		require.NoError(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
		return r
	}
	for name, more := range map[string]func(t *testing.T, r *groupRunner){
		"nothing else in it": func(*testing.T, *groupRunner) {},
		"files everywhere": func(t *testing.T, r *groupRunner) {
			for _, dir := range []string{r.dir, r.socketDir, r.cmd.Dir} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
			}
		},
		"no handshake":  func(_ *testing.T, r *groupRunner) { r.address = "" },
		"no start":      func(_ *testing.T, r *groupRunner) { r.address, r.socketDir = "", "" },
		"gone already":  func(t *testing.T, r *groupRunner) { require.NoError(t, os.RemoveAll(r.dir)) },
		"never made":    func(_ *testing.T, r *groupRunner) { *r = groupRunner{cmd: &exec.Cmd{}} },
		"a work folder": func(t *testing.T, r *groupRunner) { require.NoError(t, os.RemoveAll(r.socketDir)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := home(t)
			dir := r.dir
			more(t, r)
			require.NoError(t, r.removeFolder())
			if r.dir != "" {
				require.NoDirExists(t, dir)
			}
		})
	}
	// Its folder is the process's own if it runs as another user.
	t.Run("a link in the place of the socket's folder", func(t *testing.T) {
		t.Parallel()
		r := home(t)
		others := filepath.Join(t.TempDir(), "others")
		require.NoError(t, os.Mkdir(others, 0o700))
		file := filepath.Join(others, filepath.Base(r.address))
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.RemoveAll(r.socketDir))
		require.NoError(t, os.Symlink(others, r.socketDir))
		require.NoError(t, r.removeFolder())
		require.NoDirExists(t, r.dir)
		require.FileExists(t, file)
	})
}
