package sdk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backplane/leptir/internal/pluginpb"
)

// service answers the host: the two calls of plugin.proto.
type service struct {
	pluginpb.UnimplementedTaskPluginServer
	plugin *Plugin
	in     *inbox
	opened atomic.Bool
	// ended is called when the run is over: gracefully if no task has been cut short.
	ended func(graceful bool)
}

func newService(p *Plugin, ended func(graceful bool)) *service {
	return &service{plugin: p, in: newInbox(), ended: ended}
}

func (s *service) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	if err := s.plugin.checkParams(); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return s.plugin.describe(), nil
}

// Run receives on the caller's goroutine; one executor runs the tasks and one sender sends,
// so neither a task that never returns nor a host that does not read keeps the other two
// from their work.
func (s *service) Run(stream grpc.BidiStreamingServer[pluginpb.HostMessage, pluginpb.PluginMessage]) error {
	if s.opened.Swap(true) {
		return status.Error(codes.FailedPrecondition, "the run stream of this process was opened before")
	}
	out := newOutbox(s.in.mark)
	x := newExecutor(context.Background(), s.plugin.Tasks, s.in, out)
	go x.loop()
	sent := make(chan error, 1)
	go func() { sent <- out.sendAll(stream.Send) }()

	err := s.receive(stream, out)
	if errors.Is(err, io.EOF) {
		s.in.close()
		<-x.done
		out.close()
		err = <-sent
		s.ended(err == nil)
		return err
	}
	// The host is gone, or breaks the protocol: there is nobody to work for.
	idle := s.in.idle()
	s.in.abandon(fmt.Errorf("%w: the host is gone", ErrCancelled))
	out.breakOff()
	s.ended(idle)
	<-x.done
	<-sent
	return err
}

// receive takes the host's messages until its side of the stream ends.
func (s *service) receive(stream grpc.BidiStreamingServer[pluginpb.HostMessage, pluginpb.PluginMessage], out *outbox) error {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(msg.Tasks) > 0 {
			s.in.put(msg.Tasks)
		}
		for _, r := range msg.PushReplies {
			out.pushes.answer(r)
		}
		if msg.Recall {
			// Before a cancel, by whose end of a task the next one would begin.
			ids := s.in.recall()
			out.put(&pluginpb.Event{Kind: &pluginpb.Event_Recalled{Recalled: &pluginpb.Recalled{Ids: ids}}}, 64*len(ids))
		}
		if c := msg.Cancel; c != nil {
			if c.Dump {
				// Before the context ends, to show where the task hangs.
				d := &pluginpb.Dump{Id: c.Id, Text: stacks()}
				out.put(&pluginpb.Event{Kind: &pluginpb.Event_Dump{Dump: d}}, len(d.Text))
			}
			if !c.TimeLimit { // else the context's own deadline does it, and says why
				s.in.cancel(c.Id, c.Reason)
			}
		}
	}
}

// stacks returns the stacks of all goroutines, at most MaxDumpBytes of them: first that of
// the task, which is what somebody looks for, and last those of the plugin's own machinery.
func stacks() []byte {
	for size := 64 << 10; ; size *= 4 {
		size = min(size, MaxDumpBytes)
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size || size == MaxDumpBytes {
			return taskFirst(b[:n])
		}
	}
}

// taskFirst brings stacks, as runtime.Stack writes them, into the order in which they tell
// most about a task.
func taskFirst(dump []byte) []byte {
	all := bytes.Split(bytes.TrimRight(dump, "\n"), []byte("\n\n"))
	slices.SortStableFunc(all, func(a, b []byte) int { return cmp.Compare(distance(a), distance(b)) })
	return bytes.Join(all, []byte("\n\n"))
}

// distance is how far a goroutine is from the task: 0 the one that runs it, 1 those that it
// may have started, 2 those that serve the host.
func distance(stack []byte) int {
	if bytes.Contains(stack, []byte("/plugin-sdk.(*executor).loop(")) {
		return 0
	}
	_, creator, _ := bytes.Cut(stack, []byte("\ncreated by "))
	for _, of := range []string{"google.golang.org/grpc", "github.com/backplane/leptir/plugin-sdk.", "os/signal."} {
		if bytes.HasPrefix(creator, []byte(of)) {
			return 2
		}
	}
	if creator == nil { // main, which waits in Serve
		return 2
	}
	return 1
}
