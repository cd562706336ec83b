// Package process owns plugin processes, one at a time: it starts them, talks to them over
// their stream, kills them with all their children, and says why they ended. It is the
// only part of the host that knows go-plugin, and uses it for the handshake and the gRPC
// connection alone: killing, waiting and reading output are done here, because go-plugin
// can block for ever in each (docs/adr/0002-own-runner.md). It knows nothing of brokers,
// pools or records.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

const (
	// tidyTimeout is how long go-plugin's own clean-up of a dead process may take before
	// it is left to itself and reported.
	tidyTimeout = 10 * time.Second
	// describeTimeout bounds a Describe call where ctx has no deadline.
	describeTimeout = 10 * time.Second
	// DefaultStartTimeout is the most time from fork to an open stream.
	DefaultStartTimeout = 10 * time.Second
)

// Spec says what process to start. It is not changed by starting it.
type Spec struct {
	// Plugin is the plugin's name, for messages.
	Plugin string
	// Path is the binary, Args its arguments (without the program's name).
	Path string
	Args []string
	// Env is the whole environment, as NAME=value; nothing of the host's own is added
	// but what the protocol needs.
	Env []string
	// StartTimeout bounds fork, handshake and the opening of the stream; 0 means
	// DefaultStartTimeout.
	StartTimeout time.Duration
	// TLS turns on go-plugin's AutoMTLS, which makes a start several times dearer.
	TLS bool
	// NoTasks leaves the task stream closed: the process is only called, as error
	// reporters are.
	NoTasks bool
}

// Launcher starts processes and knows all that live. It is safe for concurrent use.
type Launcher struct {
	runDir *runDir
	logger *slog.Logger
	hclog  hclog.Logger
	lines  chan Line
	wg     sync.WaitGroup // tidying goroutines of all processes

	mu     sync.Mutex
	live   map[*Process]struct{}
	closed bool
	quit   chan struct{}
	sinkWG sync.WaitGroup
}

// NewLauncher returns a Launcher that keeps sockets and scratch folders in a new private
// folder below parent (below os.TempDir() where that path is too long for a socket), and passes
// what processes print to sink, one call at a time. gopluginLog gets go-plugin's own
// messages; its Named children must report level Off (see logging.HCLog).
func NewLauncher(parent string, logger *slog.Logger, gopluginLog hclog.Logger, sink func(Line)) (*Launcher, error) {
	// A socket's path may be 107 bytes long, of which go-plugin and we add up to 60.
	if len(parent) > 45 {
		parent = filepath.Join(os.TempDir(), fmt.Sprintf("leptir-%d", os.Geteuid()))
	}
	dir, err := newRunDir(parent)
	if err != nil {
		return nil, fmt.Errorf("make the folder for sockets: %w", err)
	}
	l := &Launcher{runDir: dir, logger: logger, hclog: gopluginLog, lines: make(chan Line, sinkQueue),
		live: map[*Process]struct{}{}, quit: make(chan struct{})}
	l.sinkWG.Go(func() {
		for {
			select {
			case line := <-l.lines:
				sink(line)
			case <-l.quit:
				for {
					select {
					case line := <-l.lines:
						sink(line)
					default:
						return
					}
				}
			}
		}
	})
	return l, nil
}

// Close kills every process that still lives, waits until all is tidied up (at most
// tidyTimeout longer than the processes take to die) and removes the Launcher's folder.
func (l *Launcher) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	live := make([]*Process, 0, len(l.live))
	for p := range l.live {
		live = append(live, p)
	}
	l.mu.Unlock()
	for _, p := range live {
		p.Kill(ReasonShutdown, "")
	}
	l.wg.Wait()
	close(l.quit)
	l.sinkWG.Wait()
	return l.runDir.remove()
}

// Live returns how many processes have been started and not been reaped.
func (l *Launcher) Live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live)
}

// PIDs returns the ids of the processes that have been started and not been reaped, in no
// order.
func (l *Launcher) PIDs() []int {
	l.mu.Lock()
	live := make([]*Process, 0, len(l.live))
	for p := range l.live {
		live = append(live, p)
	}
	l.mu.Unlock()
	pids := make([]int, 0, len(live))
	for _, p := range live {
		if pid := p.PID(); pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Process is one plugin process whose stream is open, unless its Spec says NoTasks: then
// there is no Send and no Recv. Its methods are safe for concurrent use, but for Send and
// Recv: one goroutine at a time each.
type Process struct {
	launcher *Launcher
	spec     Spec
	runner   *groupRunner
	client   *goplugin.Client
	conn     *grpc.ClientConn
	pb       pluginpb.TaskPluginClient
	stream   pluginpb.TaskPlugin_RunClient
	cancel   context.CancelFunc // of the stream
	started  time.Time
	gone     chan struct{} // closed once all that belonged to it is tidied up

	streamEnded chan struct{} // closed once Recv has failed
	endStream   func()
}

// StartError is the error of a process that did not come to life.
type StartError struct {
	Plugin string
	Err    error
	// Exit is what became of the process; its zero value where none was started.
	Exit Exit
}

// Error says what happened, and what the process last printed.
func (e *StartError) Error() string {
	s := fmt.Sprintf("plugin %q: start: %v", e.Plugin, e.Err)
	if out := e.Exit.Output; len(out) > 0 {
		s += "; its last output: " + strings.Join(out[max(0, len(out)-5):], " | ")
	}
	return s
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Start starts a process and opens its stream. It fails with a *StartError within the
// spec's StartTimeout or as soon as ctx ends; the process is then gone.
func (l *Launcher) Start(ctx context.Context, spec Spec) (*Process, error) {
	if spec.StartTimeout <= 0 {
		spec.StartTimeout = DefaultStartTimeout
	}
	p := &Process{launcher: l, spec: spec, started: time.Now(), gone: make(chan struct{}), streamEnded: make(chan struct{})}
	p.endStream = sync.OnceFunc(func() { close(p.streamEnded) })
	if !l.register(p) {
		return nil, &StartError{Plugin: spec.Plugin, Err: errors.New("the host is shutting down")}
	}
	if err := p.prepare(); err != nil {
		l.forget(p)
		return nil, &StartError{Plugin: spec.Plugin, Err: err}
	}

	ctx, stop := context.WithTimeout(ctx, spec.StartTimeout)
	defer stop()
	streamCtx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	connected := make(chan error, 1)
	go func() { connected <- p.connect(streamCtx) }()
	var err error
	select {
	case err = <-connected:
	case <-ctx.Done():
		p.runner.kill(ReasonHandshake, "")
		cancel()
		<-connected // soon: the process is dead
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it did not come up within %v; it must print go-plugin's handshake line and serve leptir's protocol", spec.StartTimeout)
		}
	}
	if err != nil {
		p.runner.kill(ReasonHandshake, "")
		p.endStream()
	}
	go p.tidy()
	if err == nil {
		return p, nil
	}
	<-p.runner.done
	if refused := p.runner.refusal(); refused != nil {
		err = fmt.Errorf("handshake: %w", refused)
	} else if e := p.runner.exit; p.runner.wasStarted() && e.Signal == 0 && e.Code >= 0 {
		err = fmt.Errorf("handshake: it exited with code %d before it served; is it a leptir plugin?", e.Code)
	} else if e.Reason == ReasonSignal {
		err = fmt.Errorf("handshake: it died of %s before it served", SignalName(e.Signal))
	}
	return nil, &StartError{Plugin: spec.Plugin, Err: err, Exit: p.runner.exit}
}

// register counts p among the live, unless the Launcher is closed.
func (l *Launcher) register(p *Process) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	p.runner = newGroupRunner(p.spec.Path, p.spec.Args)
	l.live[p] = struct{}{}
	l.wg.Add(1)
	return true
}

func (l *Launcher) forget(p *Process) {
	l.mu.Lock()
	delete(l.live, p)
	l.mu.Unlock()
	l.wg.Done()
}

// prepare makes everything that a start needs but the process itself.
func (p *Process) prepare() error {
	l, r, spec := p.launcher, p.runner, p.spec
	id := uuid.NewString()
	dir := filepath.Join(l.runDir.path, id[:8])
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	r.dir, r.cmd.Dir = dir, work
	r.out = newOutput(spec.Plugin, r.pid, l.lines)
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: protocol.Version,
			MagicCookieKey: protocol.CookieKey, MagicCookieValue: protocol.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{protocol.Version: {protocol.ServiceName: taskPlugin{}}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         spec.TLS,
		SkipHostEnv:      true,
		StartTimeout:     2 * spec.StartTimeout, // Start's own comes first, and says more
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: dir},
		Logger:           l.hclog,
		SyncStdout:       r.out.writer("stdout"),
		SyncStderr:       r.out.writer("stderr"),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.dial(ctx) }),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(protocol.MaxMessageBytes),
				grpc.MaxCallSendMsgSize(protocol.MaxMessageBytes)),
			grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(2 << 20),
		},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error) {
			r.socketDir = socketDir
			r.cmd.Env = slices.Concat(spec.Env, cmd.Env, []string{
				protocol.EnvProcessID + "=" + id,
				protocol.EnvHostPID + "=" + strconv.Itoa(os.Getpid()),
				"TMPDIR=" + work,
			})
			return r, nil
		},
	})
	return nil
}

// connect forks, waits for the handshake and opens the stream. It ends soon after the
// process does.
func (p *Process) connect(streamCtx context.Context) error {
	conn, err := p.client.Client()
	if err != nil {
		p.runner.abandon()
		return err
	}
	p.conn = conn.(*goplugin.GRPCClient).Conn
	raw, err := conn.Dispense(protocol.ServiceName)
	if err != nil {
		return err
	}
	p.pb = raw.(pluginpb.TaskPluginClient)
	if p.spec.NoTasks {
		p.endStream()
		return nil
	}
	p.stream, err = p.pb.Run(streamCtx)
	return err
}

// tidy waits for the end of the process and lets go of everything that belonged to it.
func (p *Process) tidy() {
	l := p.launcher
	defer close(p.gone)
	defer l.forget(p)
	<-p.runner.done
	// What the process had sent before its death is still to be read. The stream ends by
	// itself, unless somebody else holds the socket open.
	rest := time.NewTimer(pipeGrace)
	defer rest.Stop()
	select {
	case <-p.streamEnded:
	case <-rest.C:
	}
	p.cancel()
	tidied := make(chan struct{})
	go func() {
		defer close(tidied)
		p.client.Kill()
	}()
	timeout := time.NewTimer(tidyTimeout)
	defer timeout.Stop()
	select {
	case <-tidied:
	case <-timeout.C:
		l.logger.Error("go-plugin does not let go of a dead process; leaving it behind", "plugin", p.spec.Plugin, "pid", p.PID())
	}
	<-p.runner.drained
}

// Describe asks what the plugin serves.
func (p *Process) Describe(ctx context.Context) (*pluginpb.DescribeResponse, error) {
	ctx, stop := context.WithTimeout(ctx, describeTimeout)
	defer stop()
	d, err := p.pb.Describe(ctx, &pluginpb.DescribeRequest{})
	if err != nil {
		return nil, fmt.Errorf("plugin %q: describe: %w", p.spec.Plugin, err)
	}
	return d, nil
}

// Report makes calls of the plugin's error reporter, and returns what it answers. ctx must
// bound it: a plugin may hang.
func (p *Process) Report(ctx context.Context, calls []*pluginpb.ReportCall) (*pluginpb.ReportResponse, error) {
	return pluginpb.NewErrorReporterClient(p.conn).Report(ctx, &pluginpb.ReportRequest{Calls: calls})
}

// Send hands a message to the plugin. It blocks while the plugin does not read, until the
// process is gone.
func (p *Process) Send(m *pluginpb.HostMessage) error { return p.stream.Send(m) }

// Recv waits for the plugin's next message, until the plugin ends the stream, which is an
// error like any other, or the process has died and all that it sent has been read.
func (p *Process) Recv() (*pluginpb.PluginMessage, error) {
	m, err := p.stream.Recv()
	if err != nil {
		p.endStream()
	}
	return m, err
}

// Kill ends the process and all of its process group at once and does not wait. The reason
// of the first Kill is the one that Exit tells.
func (p *Process) Kill(reason Reason, detail string) { p.runner.kill(reason, detail) }

// Retire lets an idle process end by itself: no more tasks come, and after grace it is
// killed. It does not wait. No Send and no call may follow.
func (p *Process) Retire(grace time.Duration) {
	p.runner.intend(ReasonRetired)
	if p.spec.NoTasks {
		_ = p.runner.lifeline.Close() // the end of its stdin is its end
	} else {
		_ = p.stream.CloseSend()
	}
	p.launcher.wg.Add(1)
	go func() {
		defer p.launcher.wg.Done()
		timeout := time.NewTimer(grace)
		defer timeout.Stop()
		ended := p.streamEnded
		for {
			select {
			case <-p.runner.done:
				return
			case <-ended:
				// All results are here. Hanging up tells the plugin so.
				_ = p.conn.Close()
				ended = nil
			case <-timeout.C:
				p.runner.kill(ReasonRetired, "")
				return
			}
		}
	}()
}

// Done is closed once the process is dead and reaped, and all of its group killed.
func (p *Process) Done() <-chan struct{} { return p.runner.done }

// Gone is closed once its pipes, sockets and folders are gone too.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Exit returns how the process ended. It must not be called before Done is closed.
func (p *Process) Exit() Exit { return p.runner.exit }

// Progress returns what the process has noted in its mark, now or, after its end, last.
func (p *Process) Progress() Progress { return p.runner.currentProgress() }

// PID returns the process's id, which is also its process group's.
func (p *Process) PID() int { return p.runner.pid() }

// Started returns when the start began.
func (p *Process) Started() time.Time { return p.started }

// RSS returns the resident memory of the process in bytes, 0 if it cannot be read.
func (p *Process) RSS() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// taskPlugin is what go-plugin dispenses: the client side of the one service.
type taskPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer is never called on this side.
func (taskPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("a host serves nothing")
}

// GRPCClient implements goplugin.GRPCPlugin.
func (taskPlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginpb.NewTaskPluginClient(conn), nil
}
