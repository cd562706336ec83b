package sdk

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

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
	hosted := os.Getenv(protocol.CookieKey) == protocol.CookieValue
	err := p.check()
	if err == nil && !hosted { // a host is told when it asks what is served
		err = p.checkParams()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitMisuse)
	}
	if !hosted {
		os.Exit(runByHand(&p, os.Args, os.Stdout, os.Stderr))
	}
	ignoreSignals()
	os.Exit(serveHost(&p))
}

// serveHost serves the host and returns the exit code.
func serveHost(p *Plugin) int {
	e, err := newEndpoint()
	if err != nil {
		fmt.Fprintln(os.Stderr, "plugin "+p.Name+": "+err.Error())
		return exitMisuse
	}
	server := grpc.NewServer(append(e.options(), serverOptions()...)...)
	s := newService(p, func(graceful bool) {
		if !graceful {
			os.Exit(exitCut)
		}
		linger(server)
	})
	s.in.mark = openMark()
	ours := watchLifeline(func() {
		if s.in.idle() {
			os.Exit(exitGraceful)
		}
		os.Exit(exitCut)
	})
	registerOwn(server)
	pluginpb.RegisterTaskPluginServer(server, s)
	if p.ErrorReporter != nil {
		pluginpb.RegisterErrorReporterServer(server, &reporterService{reporter: p.ErrorReporter})
	}
	fmt.Print(e.handshake())
	if !ours {
		// go-plugin's own client stops reading stdout at the first long line, and whoever
		// prints would wait for ever. It reads stderr to the end.
		os.Stdout = os.Stderr
	}
	if err := server.Serve(e.listener); err != nil {
		fmt.Fprintln(os.Stderr, "plugin "+p.Name+": "+err.Error())
		return exitMisuse
	}
	if !s.in.idle() {
		return exitCut
	}
	return exitGraceful
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
func linger(server *grpc.Server) {
	time.AfterFunc(lingerTime, func() { os.Exit(exitGraceful) })
	// Returns when the connections are closed, whereupon Serve returns.
	go server.GracefulStop()
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
	stdin := os.Stdin
	lifeline := pollable(stdin)
	if empty, err := os.Open(os.DevNull); err == nil {
		os.Stdin = empty
	}
	go func() {
		defer runtime.KeepAlive(stdin) // else descriptor 0 is closed, and goes to the next file
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
