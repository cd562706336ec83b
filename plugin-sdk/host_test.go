package sdk

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// testHost is the host's side of a run stream, over real gRPC in memory.
type testHost struct {
	t      testing.TB
	client pluginpb.TaskPluginClient
	stream grpc.BidiStreamingClient[pluginpb.HostMessage, pluginpb.PluginMessage]
	cancel context.CancelFunc
	ended  chan bool // what the service says at its end: gracefully?

	pending []*pluginpb.Event
}

// newTestHost serves the types and opens the stream.
func newTestHost(t testing.TB, types ...TaskType) *testHost {
	t.Helper()
	h := &testHost{t: t, ended: make(chan bool, 1)}
	p := Plugin{Name: "test", Version: "1", Tasks: types}
	require.NoError(t, p.check())
	conn := serveInMemory(t, newService(&p, func(graceful bool) { h.ended <- graceful }))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	h.cancel = cancel
	h.client = pluginpb.NewTaskPluginClient(conn)
	var err error
	h.stream, err = h.client.Run(ctx)
	require.NoError(t, err)
	return h
}

// serveInMemory serves s over gRPC in memory and returns a connection to it.
func serveInMemory(t testing.TB, s *service) *grpc.ClientConn {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(serverOptions()...)
	pluginpb.RegisterTaskPluginServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(protocol.MaxMessageBytes), grpc.MaxCallSendMsgSize(protocol.MaxMessageBytes)),
	)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		server.GracefulStop() // waits for Run, and with it for all goroutines of the service
		serving.Wait()
	})
	return conn
}

func (h *testHost) send(m *pluginpb.HostMessage) {
	h.t.Helper()
	require.NoError(h.t, h.stream.Send(m))
}

func (h *testHost) run(tasks ...*pluginpb.Task) {
	h.t.Helper()
	h.send(&pluginpb.HostMessage{Tasks: tasks})
}

// next returns the next event; nil at the end of the stream.
func (h *testHost) next() *pluginpb.Event {
	h.t.Helper()
	for len(h.pending) == 0 {
		m, err := h.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		require.NoError(h.t, err)
		h.pending = m.Events
	}
	e := h.pending[0]
	h.pending = h.pending[1:]
	return e
}

// result returns the next result and the events before it.
func (h *testHost) result() (*pluginpb.Result, []*pluginpb.Event) {
	h.t.Helper()
	var before []*pluginpb.Event
	for {
		e := h.next()
		require.NotNil(h.t, e, "the stream has ended without a result")
		if r := e.GetResult(); r != nil {
			return r, before
		}
		before = append(before, e)
	}
}

func taskOf(typ, id string) *pluginpb.Task { return &pluginpb.Task{Id: id, Type: typ, Attempt: 1} }

type noop struct{ BaseTask }

func (*noop) DoJob(context.Context) (ReturnCode, error) { return Success, nil }
