package process

// What go-plugin's client sees of a process, and how it is connected to it.

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Wait implements runner.Runner.
func (r *groupRunner) Wait(context.Context) error {
	<-r.done
	return nil
}

// Kill implements runner.Runner; go-plugin calls it when a start has failed. Mostly the
// process has just died then, and its own end tells more than a kill.
func (r *groupRunner) Kill(context.Context) error {
	select {
	case <-r.done:
	case <-time.After(pipeGrace):
	}
	r.kill(ReasonHandshake, "")
	return nil
}

// Stdout implements runner.Runner: it yields the handshake line, then ends.
func (r *groupRunner) Stdout() io.ReadCloser { return r.hsRead }

// Stderr implements runner.Runner: it is empty, stderr is read here.
func (r *groupRunner) Stderr() io.ReadCloser { return io.NopCloser(eof{}) }

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Name implements runner.Runner.
func (r *groupRunner) Name() string { return r.cmd.Path }

// ID implements runner.Runner.
func (r *groupRunner) ID() string {
	if pid := r.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Diagnose implements runner.Runner.
func (r *groupRunner) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner. It refuses every address but a socket in the
// process's own folder.
func (r *groupRunner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != r.socketDir {
		err := fmt.Errorf("its address %s %q is not a socket in its PLUGIN_UNIX_SOCKET_DIR", network, address)
		r.refuse(err)
		return "", "", err
	}
	r.mu.Lock()
	r.address = address
	r.mu.Unlock()
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *groupRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// spareCalls answers two calls by itself that go-plugin's client makes as soon as it is connected, of
// services that leptir's SDK does not offer: go-plugin's own copies of stdout and stderr, and its
// broker of further connections. A plugin that keeps its mark is known to be the SDK's; others
// may be made with go-plugin, which sends what they print by such a call.
func (r *groupRunner) spareCalls(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	call grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if (method == "/plugin.GRPCStdio/StreamStdio" || method == "/plugin.GRPCBroker/StartStream") && r.currentProgress().Kept {
		return nil, status.Error(codes.Unimplemented, method+" is not offered by leptir's SDK")
	}
	return call(ctx, desc, conn, method, options...)
}

// dial connects to the plugin's socket and checks that the process behind it belongs to
// this process's group: the path comes from the plugin and could be a link to another's.
func (r *groupRunner) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.address)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		cerr = err
	}
	if cerr == nil {
		var pgid int
		if pgid, cerr = unix.Getpgid(int(cred.Pid)); cerr == nil && pgid != r.pid() {
			cerr = fmt.Errorf("process %d answers there, which is not of this plugin's process group", cred.Pid)
		}
	}
	if cerr != nil {
		conn.Close()
		cerr = fmt.Errorf("its socket: %w", cerr)
		r.refuse(cerr)
		return nil, cerr
	}
	return conn, nil
}
