package sdk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// hello returns the path of the built plugin of testdata.
var hello = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "hello")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/hello").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func buildHello(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a plugin binary")
	}
	path, err := hello()
	require.NoError(t, err)
	return path
}

// clientPlugin is the host's side of the plugin for go-plugin's own client.
type clientPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (clientPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return errors.ErrUnsupported }

func (clientPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return pluginpb.NewTaskPluginClient(c), nil
}

// lockedBuffer is a buffer that go-plugin's goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestBinaryWithGoPlugin(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("AutoMTLS=%v", tls), func(t *testing.T) {
			var stderr lockedBuffer
			cmd := exec.Command(buildHello(t))
			// A host pid beside TLS: the peer check has to make way for it.
			cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", protocol.EnvHostPID, os.Getpid()))
			client := plugin.NewClient(&plugin.ClientConfig{
				HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: protocol.CookieKey, MagicCookieValue: protocol.CookieValue},
				VersionedPlugins: map[int]plugin.PluginSet{protocol.Version: {protocol.ServiceName: clientPlugin{}}},
				AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
				Cmd:              cmd,
				AutoMTLS:         tls,
				Logger:           hclog.NewNullLogger(),
				Stderr:           &stderr,
			})
			t.Cleanup(client.Kill)
			rpc, err := client.Client()
			require.NoError(t, err)
			raw, err := rpc.Dispense(protocol.ServiceName)
			require.NoError(t, err)
			h := &testHost{t: t, client: raw.(pluginpb.TaskPluginClient)}

			d, err := h.client.Describe(context.Background(), &pluginpb.DescribeRequest{})
			require.NoError(t, err)
			require.Equal(t, "hello", d.Name)
			require.Len(t, d.Tasks, 4)

			h.stream, err = h.client.Run(context.Background())
			require.NoError(t, err)
			greet := taskOf("hello.greet", "a")
			greet.Params = []byte(`{"name":"leptir"}`)
			h.run(greet, taskOf("hello.print", "b"), taskOf("hello.greet", "c"))
			for _, want := range []string{"hello leptir", "printed", "hello world"} {
				r, _ := h.result()
				require.Equal(t, []string{want}, r.Response)
			}
			require.NoError(t, h.stream.CloseSend())
			require.Nil(t, h.next())
			require.Eventually(t, client.Exited, 10*time.Second, 5*time.Millisecond, "the process ends by itself")
			require.Contains(t, stderr.String(), "plain print\n")
			require.Contains(t, stderr.String(), "plain print to stderr\n")
		})
	}
}

// process is a plugin process that the test has started without go-plugin's client.
type process struct {
	cmd      *exec.Cmd
	lifeline io.WriteCloser
	stderr   *lockedBuffer
	addr     string
}

// start starts the plugin and reads its handshake.
func start(t *testing.T, env ...string) *process {
	t.Helper()
	return startWith(t, nil, env...)
}

// startWith is start with files that are handed down, from descriptor 3 on.
func startWith(t *testing.T, files []*os.File, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(buildHello(t)), stderr: &lockedBuffer{}}
	p.cmd.ExtraFiles = files
	dir, err := os.MkdirTemp(buildDir, "run") // t.TempDir is too long for a socket
	require.NoError(t, err)
	p.cmd.Env = append(env, protocol.CookieKey+"="+protocol.CookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", plugin.EnvUnixSocketDir+"="+dir)
	p.cmd.Stderr = p.stderr
	p.lifeline, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "%s", p.stderr)
	parts := strings.Split(strings.TrimSpace(line), "|")
	require.Len(t, parts, 6)
	require.Equal(t, []string{"1", "1", "unix"}, parts[:3])
	p.addr = parts[3]
	return p
}

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// open opens the run stream.
func (p *process) open(t *testing.T) *testHost {
	t.Helper()
	conn, err := dial(p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	h := &testHost{t: t, client: pluginpb.NewTaskPluginClient(conn)}
	h.stream, err = h.client.Run(context.Background())
	require.NoError(t, err)
	return h
}

// exitCode waits for the end of the process.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	hang := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer hang.Stop()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil {
		require.ErrorAs(t, err, &exit)
	}
	return p.cmd.ProcessState.ExitCode() // -1 of a signal
}

func TestLifeline(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		p := start(t)
		require.NoError(t, p.lifeline.Close())
		require.Equal(t, exitGraceful, p.exitCode(t))
	})
	t.Run("in a task", func(t *testing.T) {
		t.Parallel()
		p := start(t)
		h := p.open(t)
		h.run(taskOf("hello.wait", "a"))
		h.waitForLog("waiting")
		require.NoError(t, p.lifeline.Close())
		require.Equal(t, exitCut, p.exitCode(t))
	})
	t.Run("hung up in a task", func(t *testing.T) {
		t.Parallel()
		p := start(t)
		conn, err := dial(p.addr)
		require.NoError(t, err)
		h := &testHost{t: t}
		h.stream, err = pluginpb.NewTaskPluginClient(conn).Run(context.Background())
		require.NoError(t, err)
		h.run(taskOf("hello.wait", "a"))
		h.waitForLog("waiting")
		require.NoError(t, conn.Close())
		require.Equal(t, exitCut, p.exitCode(t))
	})
	t.Run("after the work", func(t *testing.T) {
		t.Parallel()
		p := start(t)
		h := p.open(t)
		h.run(taskOf("hello.greet", "a"), taskOf("hello.stdin", "b"))
		require.NoError(t, h.stream.CloseSend())
		for _, want := range []string{"hello world", "0 bytes of stdin"} {
			r, _ := h.result()
			require.Equal(t, []string{want}, r.Response)
		}
		require.Nil(t, h.next())
		require.Equal(t, exitGraceful, p.exitCode(t))
	})
}

func TestSignalsAreTheHostsAffair(t *testing.T) {
	t.Parallel()
	p := start(t)
	h := p.open(t)
	h.run(taskOf("hello.wait", "a"))
	h.waitForLog("waiting")
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		require.NoError(t, p.cmd.Process.Signal(s))
	}
	h.send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: "a"}, Tasks: []*pluginpb.Task{taskOf("hello.greet", "b")}})
	r, _ := h.result()
	require.Equal(t, "context canceled: the task was cancelled", r.Failure.Message)
	r, _ = h.result()
	require.Equal(t, []string{"hello world"}, r.Response)
}

func TestByHandAndMistakes(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(buildHello(t), "-describe")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), `"hello.greet"`)
	out, err = exec.Command(buildHello(t)).Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "hello is a plugin for leptir (hello 1.0.0)")
}

// dialEnv makes the test binary a stranger that connects to a plugin.
const dialEnv = "LEPTIR_TEST_DIAL"

// stranger asks the plugin at addr who it is and prints the answer.
func stranger(addr string) {
	conn, err := dial(addr)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var d *pluginpb.DescribeResponse
		if d, err = pluginpb.NewTaskPluginClient(conn).Describe(ctx, &pluginpb.DescribeRequest{}); err == nil {
			fmt.Println("connected to", d.Name)
			return
		}
	}
	fmt.Println("refused:", err)
}

func TestOnlyTheHostMayConnect(t *testing.T) {
	t.Parallel()
	askAsStranger := func(addr string) string {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), dialEnv+"="+addr)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	open := start(t)
	require.Contains(t, askAsStranger(open.addr), "connected to hello", "without a host's pid anybody of the user may")

	p := start(t, fmt.Sprintf("%s=%d", protocol.EnvHostPID, os.Getpid()))
	require.Contains(t, askAsStranger(p.addr), "refused:")
	h := p.open(t)
	h.run(taskOf("hello.greet", "a"))
	r, _ := h.result()
	require.Equal(t, []string{"hello world"}, r.Response)

	bad := start(t, protocol.EnvHostPID+"=nonsense")
	conn, err := dial(bad.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = pluginpb.NewTaskPluginClient(conn).Describe(context.Background(), &pluginpb.DescribeRequest{})
	require.Error(t, err, "a pid that is none lets nobody in")
}
