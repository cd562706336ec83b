package sdk

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/internal/pluginpb"
)

// BenchmarkNoop measures what the plugin's side of the stream takes for a task that does
// nothing. The host's side sends messages that were encoded before, and of the answers
// only counts the events.
func BenchmarkNoop(b *testing.B) {
	for _, window := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("batch=%d", window), func(b *testing.B) {
			p := Plugin{Name: "bench", Tasks: []TaskType{Type[noop]("bench.noop", "")}}
			conn := serveInMemory(b, newService(&p, func(bool) {}))
			ctx, cancel := context.WithCancel(context.Background())
			b.Cleanup(cancel)
			stream, err := conn.NewStream(ctx, &pluginpb.TaskPlugin_ServiceDesc.Streams[0],
				pluginpb.TaskPlugin_Run_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
			require.NoError(b, err)

			msg := &pluginpb.HostMessage{}
			for i := range window {
				t := taskOf("bench.noop", fmt.Sprintf("0190d5f0-0000-7000-8000-%012d", i))
				t.Params = []byte(`{"to":"somebody@example.org"}`)
				msg.Tasks = append(msg.Tasks, t)
			}
			raw, err := proto.Marshal(msg)
			require.NoError(b, err)

			b.ReportAllocs()
			b.ResetTimer()
			var answer []byte
			for done := 0; done < b.N; done += window {
				if err := stream.SendMsg(&raw); err != nil {
					b.Fatal(err)
				}
				for left := window; left > 0; {
					if err := stream.RecvMsg(&answer); err != nil {
						b.Fatal(err)
					}
					for rest := answer; len(rest) > 0; left-- {
						_, _, n := protowire.ConsumeField(rest)
						rest = rest[n:]
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/task")
		})
	}
}

// rawCodec passes messages as the bytes they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
