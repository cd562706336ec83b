package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

const (
	// exitGraceful is the exit code of a process that had no task under way.
	exitGraceful = 0
	// exitMisuse is that of a plugin that cannot serve, as a rule by its author's mistake.
	exitMisuse = 1
	// exitCut is that of a process that ended in the middle of a task, because its host
	// is gone.
	exitCut = 3

	// lingerTime is how long a process whose work is done waits for its host to read the
	// last results and hang up.
	lingerTime = time.Second
)

// Serve serves p to the host that has started the process, for as long as that wants it,
// and ends the process. It is all that main has to do. Run by hand, the binary says what
// it is (-describe: as JSON).
//
// The process ends when the host says so or is gone, be it in the middle of a task.
// SIGTERM, SIGINT and SIGHUP do not end it: when they go to the whole process group, it is
// for the host to let the tasks finish.
func Serve(p Plugin) {
	if err := p.check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitMisuse)
	}
	if os.Getenv(protocol.CookieKey) != protocol.CookieValue {
		os.Exit(runByHand(&p, os.Args, os.Stdout, os.Stderr))
	}
	ignoreSignals()
	os.Exit(serveHost(&p))
}

// serveHost serves the host and returns the exit code.
func serveHost(p *Plugin) int {
	var server grpcServer
	s := newService(p, func(graceful bool) {
		if !graceful {
			os.Exit(exitCut)
		}
		server.linger()
	})
	s.in.mark = openMark()
	stdout, stderr := os.Stdout, os.Stderr
	if watchLifeline(func() {
		if s.in.idle() {
			os.Exit(exitGraceful)
		}
		os.Exit(exitCut)
	}) {
		// plugin.Serve is about to send what is printed to the host by gRPC, where the last
		// of it is lost when the process ends. A host with a lifeline reads the pipes
		// themselves to their end.
		s.called = sync.OnceFunc(func() { os.Stdout, os.Stderr = stdout, stderr })
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  protocol.Version,
			MagicCookieKey:   protocol.CookieKey,
			MagicCookieValue: protocol.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{
			protocol.Version: {protocol.ServiceName: &taskPlugin{service: s}},
		},
		GRPCServer: server.make,
		Logger:     hclog.New(&hclog.LoggerOptions{Name: "plugin", Level: hclog.Error, Output: os.Stderr}),
	})
	switch {
	case !server.made():
		return exitMisuse // go-plugin has logged why it cannot serve
	case !s.in.idle():
		return exitCut
	}
	return exitGraceful
}

// grpcServer makes the server that go-plugin serves on, and ends it.
type grpcServer struct {
	mu     sync.Mutex
	server *grpc.Server
}

func (g *grpcServer) make(opts []grpc.ServerOption) *grpc.Server {
	if creds := peerCredentials(os.Getenv(protocol.EnvHostPID)); creds != nil && len(opts) == 0 {
		// With options, go-plugin has set up TLS, by which host and plugin know each other.
		opts = append(opts, grpc.Creds(creds))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = grpc.NewServer(append(opts, serverOptions()...)...)
	return g.server
}

// made reports whether it came to a server.
func (g *grpcServer) made() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.server != nil
}

// serverOptions returns the options of the server that are not about who may connect.
func serverOptions() []grpc.ServerOption {
	const window = 4 << 20 // bytes under way without an acknowledgement
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(protocol.MaxMessageBytes),
		grpc.MaxSendMsgSize(protocol.MaxMessageBytes),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
	}
}

// linger ends the process once the host has hung up, or a while later.
func (g *grpcServer) linger() {
	g.mu.Lock()
	defer g.mu.Unlock()
	time.AfterFunc(lingerTime, func() { os.Exit(exitGraceful) })
	// Returns when the connections are closed, whereupon plugin.Serve returns.
	go g.server.GracefulStop()
}

// taskPlugin ties the service to go-plugin.
type taskPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	service *service
}

func (p *taskPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pluginpb.RegisterTaskPluginServer(s, p.service)
	if r := p.service.plugin.ErrorReporter; r != nil {
		pluginpb.RegisterErrorReporterServer(s, &reporterService{reporter: r, called: p.service.called})
	}
	return nil
}

func (p *taskPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}

// ignoreSignals lets the signals by which supervisors and terminals end a whole process
// group pass by. Other than signal.Ignore this does not reach what a task starts.
func ignoreSignals() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// watchLifeline calls cut when the host's end of stdin is closed, that is at the latest
// when the host is dead. It reports whether there is such a lifeline: where stdin is not a
// pipe or socket the host has given none. The tasks see an empty stdin.
func watchLifeline(cut func()) bool {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return false
	}
	lifeline := os.Stdin
	if empty, err := os.Open(os.DevNull); err == nil {
		os.Stdin = empty
	}
	go func() {
		buf := make([]byte, 512)
		for {
			if _, err := lifeline.Read(buf); err != nil {
				cut()
				return
			}
		}
	}()
	return true
}
