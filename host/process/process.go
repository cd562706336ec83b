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

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

const (
	// tidyTimeout is how long go-plugin's own clean-up of a dead process may take before
	// it is left to itself and reported.
	tidyTimeout = 10 * time.Second
	// describeTimeout bounds a Describe call where ctx has no deadline.
	describeTimeout = 10 * time.Second
	// stdinGrace is how long a process that is to end may take to heed the end of its stdin
	// before its stream ends, too.
	stdinGrace = 100 * time.Millisecond
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
	// Limits is what the process is held to, OutputMax the most bytes that it may write into
	// the log in its life; 0 is no bound.
	Limits    sandbox.Limits
	OutputMax int64
	// NoTasks leaves the task stream closed: the process is only called, as error
	// reporters are.
	NoTasks bool
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
		p.runner.leave()
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
		p.beWatched()
		return p, nil
	}
	<-p.runner.done
	if refused := p.runner.refusal(); refused != nil {
		err = fmt.Errorf("handshake: %w", refused)
	} else if e := p.runner.exit; e.Reason == ReasonMemory || e.Reason == ReasonLimit {
		err = fmt.Errorf("handshake: %s before it served", e.Detail)
	} else if p.runner.wasStarted() && e.Signal == 0 && e.Code >= 0 {
		err = fmt.Errorf("handshake: it exited with code %d before it served; is it a leptir plugin?", e.Code)
	} else if e.Reason == ReasonSignal {
		err = fmt.Errorf("handshake: it died of %s before it served", SignalName(e.Signal))
	}
	return nil, &StartError{Plugin: spec.Plugin, Err: err, Exit: p.runner.exit}
}

// beWatched has the process's limits looked at while it lives.
func (p *Process) beWatched() {
	s := p.runner.cell.Sampler()
	if s == nil {
		return
	}
	select {
	case p.launcher.watching <- &watched{Sampler: s, process: p}:
	case <-p.Done():
	}
}

// prepare makes everything that a start needs but the process itself.
func (p *Process) prepare() error {
	l, r, spec := p.launcher, p.runner, p.spec
	id := uuid.NewString()[:8]
	parent, err := l.folder(&spec)
	if err != nil {
		return err
	}
	dir := filepath.Join(parent, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	r.dir, r.cmd.Dir = dir, work
	cookie := l.sandbox.Cookie(id)
	r.cell, err = l.sandbox.Cell(sandbox.Place{Cookie: cookie, Home: dir, Work: work, Binary: spec.Path}, spec.Limits)
	if err != nil {
		return err
	}
	for _, gap := range r.cell.Gaps() {
		l.warnOnce("a limit is not enforced by the kernel", spec.Plugin, gap.String())
	}
	r.out = newOutput(spec.Plugin, r.pid, spec.OutputMax, l.lines)
	r.out.task = func() uint64 { return r.currentProgress().Begun }
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
			grpc.WithChainStreamInterceptor(r.spareCalls),
		},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error) {
			r.socketDir = socketDir
			if err := r.cell.Own(socketDir); err != nil {
				return nil, err
			}
			r.cmd.Env = slices.Concat(spec.Env, confinedEnv(&spec, r.cell), cmd.Env, []string{
				protocol.EnvProcessID + "=" + cookie,
				protocol.EnvHostPID + "=" + strconv.Itoa(os.Getpid()),
				"TMPDIR=" + work,
			})
			return r, nil
		},
	})
	return nil
}

// confinedEnv returns the variables that follow from a process's limits, but for those that
// its plugin's settings have.
func confinedEnv(spec *Spec, cell *sandbox.Cell) (env []string) {
	add := func(name, value string) {
		if value != "" && !slices.ContainsFunc(spec.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			env = append(env, name+"="+value)
		}
	}
	if most := spec.Limits.MemoryMax; most > 0 {
		add("GOMEMLIMIT", strconv.FormatInt(most/10*9, 10)) // Go collects garbage rather than be killed
	}
	if id := cell.Identity(); id != nil {
		add("HOME", id.Home)
		add("USER", id.Name)
		add("LOGNAME", id.Name)
	}
	return env
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

// Abort has a process of Go write down the stacks of its goroutines, for its Exit, and die;
// others mostly just die. It is for a process that is about to be killed for that reason, and
// does not wait: Kill is to follow.
func (p *Process) Abort(reason Reason, detail string) { p.runner.abort(reason, detail) }

// OutputSpent reports whether the process has written more than its OutputMax: what it still
// writes does not reach the log.
func (p *Process) OutputSpent() bool { return p.runner.out.spent() }

// Kill ends the process and all that it has started at once and does not wait. The reason
// of the first Kill is the one that Exit tells.
func (p *Process) Kill(reason Reason, detail string) { p.runner.kill(reason, detail) }

// Retire lets an idle process end by itself, one that has answered all that it was sent: its
// stdin ends, and so does its stream if that does not tell it enough. After grace it is killed.
// It does not wait. No Send and no call may follow.
func (p *Process) Retire(grace time.Duration) {
	p.runner.intend(ReasonRetired)
	_ = p.runner.lifeline.Close()
	p.launcher.wg.Add(1)
	go func() {
		defer p.launcher.wg.Done()
		timeout := time.NewTimer(grace)
		defer timeout.Stop()
		hint := time.NewTimer(min(stdinGrace, grace/2))
		defer hint.Stop()
		ended := p.streamEnded
		for {
			select {
			case <-p.runner.done:
				return
			case <-hint.C:
				if !p.spec.NoTasks {
					_ = p.stream.CloseSend()
				}
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

// Received tells the process that so many of its results have come: it need keep them no longer.
func (p *Process) Received(n uint64) { p.runner.withMark(func(m *mark) { m.received(n) }) }

// Kept returns the results that the process kept in its mark when it ended, in the order of
// their tasks, also those that it has sent. It must not be called before Done is closed.
func (p *Process) Kept() []Kept { return keptOf(p.runner.shelves) }

// PID returns the process's id, which is also its process group's.
func (p *Process) PID() int { return p.runner.pid() }

// Started returns when the start began.
func (p *Process) Started() time.Time { return p.started }

// RSS returns the resident memory of the process in bytes, 0 if it cannot be read.
func (p *Process) RSS() int64 {
	select {
	case <-p.Done():
		return 0 // its pid may be somebody else's
	default:
	}
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
