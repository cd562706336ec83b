package sdktest

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
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// pipeGrace is how long the pipes of a dead process are still read. What has escaped from
// its process group may hold them open for ever.
const pipeGrace = time.Second

// process is a plugin process that can run tasks.
type process struct {
	path     string
	dir      string // private: its sockets and its working folder
	runner   *groupRunner
	goplugin *goplugin.Client
	client   pluginpb.TaskPluginClient
	output   *tail
	close    func() // kills the process and tidies up; may be called twice
}

// start starts the plugin at path.
func start(path string, env []string) (*process, error) {
	dir, err := privateDir()
	if err != nil {
		return nil, err
	}
	p := &process{path: path, dir: dir, output: &tail{}}
	p.runner = newGroupRunner(path, p.output)
	p.runner.cmd.Dir = filepath.Join(dir, "work")
	p.close = sync.OnceFunc(p.tidy)
	if err := os.Mkdir(p.runner.cmd.Dir, 0o700); err != nil {
		p.close()
		return nil, err
	}
	p.goplugin = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: protocol.Version,
			MagicCookieKey: protocol.CookieKey, MagicCookieValue: protocol.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{protocol.Version: {protocol.ServiceName: taskPlugin{}}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     startLimit,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: dir},
		Logger:           hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(protocol.MaxMessageBytes), grpc.MaxCallSendMsgSize(protocol.MaxMessageBytes))},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			p.runner.cmd.Env = slices.Concat(handedDown(), env, cmd.Env,
				[]string{protocol.EnvHostPID + "=" + strconv.Itoa(os.Getpid()), "TMPDIR=" + p.runner.cmd.Dir})
			return p.runner, nil
		},
	})
	rpc, err := p.goplugin.Client()
	if err == nil {
		var raw any
		raw, err = rpc.Dispense(protocol.ServiceName)
		p.client, _ = raw.(pluginpb.TaskPluginClient)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("start %s: %w\n%s", path, err, p.output)
	}
	return p, nil
}

// handedDown returns the variables of this process's environment that a plugin gets: those
// that a host hands down by default.
func handedDown() (env []string) {
	for _, name := range []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// privateDir makes a folder whose path is short enough for that of a socket, which may be
// 107 bytes long.
func privateDir() (string, error) {
	parent := os.TempDir()
	if len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "sdktest-")
	if err != nil {
		return "", fmt.Errorf("make a folder for sockets: %w", err)
	}
	return dir, nil
}

// tidy ends the process, gently where it has nothing to do, and removes what belonged to
// it.
func (p *process) tidy() {
	if p.client != nil {
		p.runner.hangUp()
	}
	p.runner.kill()
	p.runner.wait()
	if p.goplugin != nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.goplugin.Kill() // of a dead process: closes the connection
		}()
		timeout := time.NewTimer(endLimit)
		defer timeout.Stop()
		select {
		case <-done:
		case <-timeout.C:
		}
	}
	_ = os.RemoveAll(p.dir)
}

// groupRunner is go-plugin's runner of a process in a process group of its own, which it
// is killed with. go-plugin gets to see the handshake line of its output alone.
type groupRunner struct {
	cmd    *exec.Cmd
	output io.Writer

	hsRead  *io.PipeReader
	hsWrite *io.PipeWriter
	pipes   []*os.File // this side of stdin, stdout and stderr

	mu    sync.Mutex
	alive bool
	done  chan struct{} // closed when the process is reaped and its output read
}

var _ runner.Runner = (*groupRunner)(nil)

func newGroupRunner(path string, output io.Writer) *groupRunner {
	r := &groupRunner{cmd: exec.Command(path), output: output, done: make(chan struct{})}
	r.hsRead, r.hsWrite = io.Pipe()
	setGroup(r.cmd)
	return r
}

// Start implements runner.Runner.
func (r *groupRunner) Start(context.Context) error {
	var theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	for i := range 3 {
		rd, wr, err := os.Pipe()
		if err != nil {
			closeAll(append(theirs, r.pipes...))
			return fmt.Errorf("make pipes: %w", err)
		}
		if i == 0 { // the lifeline: its end tells the plugin that this process is gone
			rd, wr = wr, rd
		}
		r.pipes, theirs = append(r.pipes, rd), append(theirs, wr)
	}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	r.mu.Lock()
	err := r.cmd.Start()
	r.alive = err == nil
	r.mu.Unlock()
	closeAll(theirs)
	if err != nil {
		closeAll(r.pipes)
		return err
	}
	var readers sync.WaitGroup
	readers.Go(func() { r.readStdout(r.pipes[1]) })
	readers.Go(func() { _, _ = io.Copy(r.output, r.pipes[2]) })
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait()
		r.mu.Lock()
		r.alive = false
		killGroup(r.cmd) // those of it that are left; while there are some its id is theirs
		r.mu.Unlock()
		hang := time.AfterFunc(pipeGrace, func() { closeAll(r.pipes) })
		readers.Wait()
		hang.Stop()
		closeAll(r.pipes)
	}()
	return nil
}

// readStdout passes the first line that can be a handshake to go-plugin and the others on.
func (r *groupRunner) readStdout(stdout io.Reader) {
	defer r.hsWrite.Close()
	lines := bufio.NewReaderSize(stdout, 16<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err == nil && bytes.HasPrefix(line, []byte("1|")) {
			_, _ = r.hsWrite.Write(line)
			_ = r.hsWrite.Close()
			_, _ = io.Copy(r.output, lines)
			return
		}
		_, _ = r.output.Write(line)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// kill ends the process and its group at once.
func (r *groupRunner) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alive {
		killGroup(r.cmd)
	}
}

// hangUp closes the lifeline and waits a little for the process to end by itself.
func (r *groupRunner) hangUp() {
	_ = r.pipes[0].Close()
	timeout := time.NewTimer(endLimit)
	defer timeout.Stop()
	select {
	case <-r.done:
	case <-timeout.C:
	}
}

// wait waits until the process is gone, if there ever was one.
func (r *groupRunner) wait() {
	r.mu.Lock()
	started := r.cmd.Process != nil
	r.mu.Unlock()
	if started {
		<-r.done
	}
	_ = r.hsWrite.Close()
}

// exit says how the process ended.
func (r *groupRunner) exit() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.ProcessState.String()
}

// Wait implements runner.Runner.
func (r *groupRunner) Wait(context.Context) error {
	<-r.done
	return nil
}

// Kill implements runner.Runner.
func (r *groupRunner) Kill(context.Context) error {
	r.kill()
	return nil
}

// Stdout implements runner.Runner: it yields the handshake line, then ends.
func (r *groupRunner) Stdout() io.ReadCloser { return r.hsRead }

// Stderr implements runner.Runner: it is empty, stderr is read here.
func (r *groupRunner) Stderr() io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }

// Name implements runner.Runner.
func (r *groupRunner) Name() string { return r.cmd.Path }

// ID implements runner.Runner.
func (r *groupRunner) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(r.cmd.Process.Pid)
}

// Diagnose implements runner.Runner.
func (r *groupRunner) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (r *groupRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *groupRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// taskPlugin is the client side of the one service.
type taskPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer is never called on this side.
func (taskPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error { return errors.ErrUnsupported }

// GRPCClient implements goplugin.GRPCPlugin.
func (taskPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginpb.NewTaskPluginClient(conn), nil
}
