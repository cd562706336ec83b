package sdk

import (
	"context"
	"errors"
	"fmt"
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

	mu      sync.Mutex
	pending []*pluginpb.Event
}

// newTestHost serves the types and opens the stream.
func newTestHost(t testing.TB, types ...TaskType) *testHost {
	t.Helper()
	h := &testHost{t: t, ended: make(chan bool, 1)}
	p := Plugin{Name: "test", Version: "1", Tasks: types}
	require.NoError(t, p.check())
	service := newService(&p, func(graceful bool) { h.ended <- graceful })
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(serverOptions()...)
	pluginpb.RegisterTaskPluginServer(server, service)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///test",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(protocol.MaxMessageBytes), grpc.MaxCallSendMsgSize(protocol.MaxMessageBytes)),
	)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.client = pluginpb.NewTaskPluginClient(conn)
	h.stream, err = h.client.Run(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
		server.GracefulStop() // waits for Run, and with it for all goroutines of the service
		serving.Wait()
	})
	return h
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

func BenchmarkNoop(b *testing.B) {
	for _, window := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("batch=%d", window), func(b *testing.B) {
			h := newTestHost(b, Type[noop]("t.noop", ""))
			tasks := make([]*pluginpb.Task, window)
			for i := range tasks {
				tasks[i] = taskOf("t.noop", fmt.Sprintf("0190d5f0-0000-7000-8000-%012d", i))
				tasks[i].Params = []byte(`{"to":"somebody@example.org"}`)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += window {
				h.run(tasks...)
				for range window {
					h.result()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/task")
		})
	}
}

func TestSmoke(t *testing.T) {
	t.Parallel()
	h := newTestHost(t, Type[noop]("t.noop", ""))
	h.run(taskOf("t.noop", "a"), taskOf("t.nope", "b"))
	r, _ := h.result()
	require.Equal(t, int32(1), r.ReturnCode)
	r, _ = h.result()
	require.Equal(t, int32(3), r.ReturnCode)
	require.NoError(t, h.stream.CloseSend())
	require.Nil(t, h.next())
	require.True(t, <-h.ended)
}
