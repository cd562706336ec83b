// Command chaosplugin is a plugin for tests. It is written against the protocol without
// the SDK, so that it can misbehave: LEPTIR_TEST_MODE says how at its start, a task's type
// how while it runs one. It is built by package testbin, and never part of a release.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

func main() {
	mode, version, cookie := os.Getenv("LEPTIR_TEST_MODE"), protocol.Version, protocol.CookieValue
	if strainAtStart(mode) {
		return
	}
	switch mode {
	case "exit-at-start":
		fmt.Fprintln(os.Stderr, "cannot find the moon")
		os.Exit(7)
	case "killed-at-start":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "never-handshake":
		time.Sleep(time.Minute)
	case "wrong-version":
		fmt.Println("1|99|unix|/tmp/x|grpc|")
		time.Sleep(time.Minute)
	case "wrong-core":
		fmt.Println("9|1|unix|/tmp/x|grpc|")
		time.Sleep(time.Minute)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|")
		time.Sleep(time.Minute)
	case "wrong-cookie": // a plugin of another program's
		cookie = "another"
	case "netrpc":
		fmt.Println("1|1|unix|/tmp/x|netrpc|")
		time.Sleep(time.Minute)
	case "foreign-socket":
		fmt.Println("1|1|unix|" + os.Getenv("LEPTIR_TEST_SOCKET") + "|grpc|")
		time.Sleep(time.Minute)
	case "linked-socket":
		link := os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/s"
		_ = os.Symlink(os.Getenv("LEPTIR_TEST_SOCKET"), link)
		fmt.Println("1|1|unix|" + link + "|grpc|")
		time.Sleep(time.Minute)
	case "print-first":
		fmt.Println("hello before the handshake")
		fmt.Println(strings.Repeat("x", 300<<10))
	case "crash-when-idle":
		time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSEGV) })
	case "orphan": // a child of a child that ignores everything
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		time.Sleep(time.Minute)
		return
	}
	// Read stdin as the SDK does: its end means that the host is gone, or wants no more.
	if os.Getenv("LEPTIR_TEST_NO_LIFELINE") == "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	// go-plugin replaces os.Stdout and os.Stderr while it serves; these stay real.
	stdout, stderr := os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: uint(version), MagicCookieKey: protocol.CookieKey, MagicCookieValue: cookie},
		VersionedPlugins: map[int]goplugin.PluginSet{version: {protocol.ServiceName: &testServer{
			mode: mode, stdout: stdout, stderr: stderr}}},
		GRPCServer: goplugin.DefaultGRPCServer,
		Logger:     hclog.NewNullLogger(),
	})
}

type testServer struct {
	goplugin.NetRPCUnsupportedPlugin
	pluginpb.UnimplementedTaskPluginServer
	mode           string
	stdout, stderr *os.File
}

func (s *testServer) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	pluginpb.RegisterTaskPluginServer(g, s)
	return nil
}

func (s *testServer) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func (s *testServer) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	return describe()
}

// Run does what each task's type says.
func (s *testServer) Run(stream pluginpb.TaskPlugin_RunServer) error {
	mem, err := syscall.Mmap(3, 0, protocol.MarkBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	mark := func(offset int, v uint64) { atomic.StoreUint64((*uint64)(unsafe.Pointer(&mem[offset])), v) }
	if os.Getenv("LEPTIR_TEST_NO_MARK") == "" {
		mark(protocol.MarkVersion, 1)
	}
	n := uint64(0)
	var late []*pluginpb.Event // results that go with the next one
	for {
		m, err := stream.Recv()
		if err != nil {
			if err == io.EOF {
				time.AfterFunc(10*time.Millisecond, func() { os.Exit(0) })
				return nil
			}
			return err
		}
		if s.mode == "exit-when-handed" && len(m.Tasks) > 0 {
			os.Exit(0)
		}
		if len(m.Tasks) > 1 && m.Tasks[0].Type == "backwards" {
			slices.Reverse(m.Tasks)
		}
		for _, t := range m.Tasks {
			n++
			mark(protocol.MarkBegun, n)
			response, is := s.malice(stream, t)
			if !is {
				s.do(t)
			}
			mark(protocol.MarkEnded, n)
			switch t.Type {
			case "log-flood":
				for i := range 20_000 { // 20 MiB, and as much that nobody wants
					for level := int32(-4); level <= 0; level += 4 {
						_ = stream.Send(&pluginpb.PluginMessage{Events: []*pluginpb.Event{{Kind: &pluginpb.Event_Log{
							Log: &pluginpb.Log{Id: t.Id, Level: level, Message: fmt.Sprintf("%d %s", i, strings.Repeat("l", 1024))}}}}})
					}
				}
			case "wrong-id":
				mark(protocol.MarkEnded, n-1)
				t.Id = "somebody-else"
			case "twice":
				_ = stream.Send(result(t.Id))
			case "unasked-recall":
				mark(protocol.MarkEnded, n-1)
				_ = stream.Send(&pluginpb.PluginMessage{Events: []*pluginpb.Event{{Kind: &pluginpb.Event_Recalled{Recalled: &pluginpb.Recalled{Ids: []string{t.Id}}}}}})
				time.Sleep(time.Hour)
			case "end-stream":
				mark(protocol.MarkEnded, n-1)
				return nil
			}
			r := result(t.Id)
			if response != "" {
				r.Events[0].GetResult().Response = []string{response}
			}
			if t.Type == "answer-later" {
				late = append(late, r.Events...)
				continue
			}
			r.Events, late = append(late, r.Events...), nil
			if err := stream.Send(r); err != nil {
				return err
			}
		}
	}
}

func result(id string) *pluginpb.PluginMessage {
	return &pluginpb.PluginMessage{Events: []*pluginpb.Event{{Kind: &pluginpb.Event_Result{
		Result: &pluginpb.Result{Id: id, ReturnCode: 1, Response: []string{fmt.Sprint(os.Getpid())}}}}}}
}

func (s *testServer) do(t *pluginpb.Task) {
	if s.strain(t.Type) {
		return
	}
	switch t.Type {
	case "ok":
	case "nap":
		time.Sleep(100 * time.Millisecond)
	case "exit":
		fmt.Fprintln(s.stderr, "last words")
		os.Exit(9)
	case "hang":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Hour) // this thread may run on for a moment
	case "fork": // a child that holds stderr and stdout, in the same group
		s.child(false)
		time.Sleep(time.Hour)
	case "setsid": // a child in a session of its own that holds stderr and stdout
		s.child(true)
		time.Sleep(time.Hour)
	case "long-line":
		_, _ = s.stdout.WriteString(strings.Repeat("y", 1<<20) + "\n")
		_, _ = s.stderr.WriteString(strings.Repeat("z", 1<<20) + "\n")
	case "panic-the-host":
		fmt.Fprintln(s.stderr, `{"@message":5}`)
		fmt.Fprintln(s.stderr, `{"@message":"x","@level":7,"@timestamp":[]}`)
		_, _ = s.stderr.Write([]byte{0, 1, 2, 0xff, 0xfe, '\n'})
	case "flood":
		line := []byte(strings.Repeat("f", 1023) + "\n")
		for range 100 << 10 { // 100 MiB
			_, _ = s.stderr.Write(line)
		}
	case "close-stdout":
		s.stdout.Close()
		_ = syscall.Close(2)
	case "stdio":
		fmt.Println("printed by a task")
	}
}

func (s *testServer) child(setsid bool) {
	self, _ := os.Executable()
	c := exec.Command(self)
	c.Env = append(os.Environ(), "LEPTIR_TEST_MODE=orphan")
	c.Stdout, c.Stderr = s.stdout, s.stderr
	if setsid {
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := c.Start(); err != nil {
		panic(err)
	}
	_ = os.WriteFile(os.Getenv("LEPTIR_TEST_PIDFILE"), []byte(fmt.Sprint(c.Process.Pid)), 0o600)
}
