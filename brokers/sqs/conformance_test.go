package sqs

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/sqstest"
	"github.com/backplane/leptir/task"
)

// testQueue makes a queue with a redrive policy, and its queue for dead letters.
func testQueue(tb testing.TB) (*sqstest.Server, *Settings) {
	server := sqstest.Start(tb)
	dead := server.NewQueue(tb, nil)
	url := server.NewQueue(tb, map[string]string{"RedrivePolicy": server.RedrivePolicy(tb, dead, 100)})
	return server, testSettings(server, url)
}

func testSettings(server *sqstest.Server, url string) *Settings {
	s := Defaults()
	s.Connection = Connection{
		Queue: url, Key: server.Key, Secret: settings.Secret(server.Secret), Region: server.Region, Endpoint: server.Endpoint,
	}
	return s
}

func open(tb testing.TB, s *Settings) *Broker {
	tb.Helper()
	b, err := s.Open(context.Background(), brokers.Env{Name: "test", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	return b.(*Broker)
}

// standard is the suite's harness for a standard queue.
var standard = brokertest.Harness{
	NewQueue: func(tb testing.TB) brokertest.Queue {
		server, s := testQueue(tb)
		return brokertest.Queue{
			Open: func(tb testing.TB) brokers.Broker { return open(tb, s) },
			InjectRaw: func(tb testing.TB, raw []byte) {
				if !utf8.Valid(raw) {
					tb.Skip("SQS takes only text")
				}
				server.Send(tb, s.Connection.Queue, string(raw))
			},
		}
	},
	Unit:             2 * time.Second, // SQS counts in whole seconds
	BestEffortOrder:  true,
	AlwaysRepeated:   true,
	PushTwice:        true,
	InspectsOnlyDead: true,
	MaxParams:        256<<10 - 2*stateRoom, // what older queues take; TestLargestMessages has more
	Skip:             func(name string) string { return standardSkips[name] },
}

const (
	noIdempotence = "an SQS standard queue cannot tell that an id is there already"
	noParked      = "SQS does not tell which of the messages that wait are parked"
	noLooking     = "SQS shows no tasks but dead letters"
)

var standardSkips = map[string]string{
	"push/idempotent while ready":                     noIdempotence,
	"push/idempotent while leased":                    noIdempotence,
	"push/idempotent while scheduled":                 noIdempotence,
	"push/idempotent while dead":                      noIdempotence,
	"cancel/push half-way":                            noIdempotence,
	"concurrency/one of many pushers of an id wins":   noIdempotence,
	"settle/parked ones are counted":                  noParked,
	"stats/a parked task that came due is not parked": noParked,
	"inspect/find in every state":                     noLooking,
	"inspect/list nothing":                            noLooking,
	"inspect/list in pages":                           noLooking,
	"inspect/list equal times in pages":               noLooking,
	"inspect/delete":                                  noLooking,
	"inspect/history keeps the newest 32":             noLooking,
}

const (
	noReuse = "a FIFO queue drops a push of the same id within five minutes, even if the task is done"
	noDelay = "a FIFO queue delays no single message: a scheduled one counts as ready until it is received, and as leased then"
)

var fifoSkips = map[string]string{
	"settle/parked ones are counted":                  noParked,
	"stats/a parked task that came due is not parked": noParked,
	"inspect/find in every state":                     noLooking,
	"inspect/list nothing":                            noLooking,
	"inspect/list in pages":                           noLooking,
	"inspect/list equal times in pages":               noLooking,
	"inspect/delete":                                  noLooking,
	"inspect/history keeps the newest 32":             noLooking,
	"push/an id can be used again after done":         noReuse,
	"lease/the token of another life of the id":       noReuse,
	"push/idempotent while scheduled":                 noDelay,
	"schedule/far future":                             noDelay,
	"schedule/due ones pass by":                       noDelay,
	"schedule/not before its time":                    noDelay,
	"stats/every state":                               noDelay,
	"settle/retry waits for its time":                 noDelay,
	"settle/mixed verdicts with some lost":            noDelay,
	"model/random operations":                         noDelay,
}

// fifo is the suite's harness for a FIFO queue.
var fifo = brokertest.Harness{
	NewQueue: func(tb testing.TB) brokertest.Queue {
		server := sqstest.Start(tb)
		dead := server.NewQueue(tb, map[string]string{"FifoQueue": "true"})
		s := testSettings(server, server.NewQueue(tb, map[string]string{
			"FifoQueue": "true", "RedrivePolicy": server.RedrivePolicy(tb, dead, 100),
		}))
		return brokertest.Queue{Open: func(tb testing.TB) brokers.Broker { return open(tb, s) }}
	},
	Unit:             2 * time.Second,
	BestEffortOrder:  true, // each task is a message group of its own, or one would block the others
	AlwaysRepeated:   true,
	InspectsOnlyDead: true,
	MaxParams:        256<<10 - 2*stateRoom,
	Skip: func(name string) string {
		area, name, _ := strings.Cut(name, "/")
		switch {
		case !slices.Contains([]string{"push", "lease", "extend", "settle", "schedule", "stats", "inspect", "wait"}, area),
			name == "a thousand at once":
			return "nothing in it depends on the sort of queue, and it has run on a standard one"
		}
		return fifoSkips[area+"/"+name]
	},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, standard)
}

func TestConformanceFIFO(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite has run on a standard queue")
	}
	t.Parallel()
	brokertest.Run(t, fifo)
}

// A FIFO queue cannot delay a message: a task that is not due is received, hidden and, when
// it is due, sent anew.
func TestFIFOSchedule(t *testing.T) {
	t.Parallel()
	server := sqstest.Start(t)
	b := open(t, testSettings(server, server.NewQueue(t, map[string]string{"FifoQueue": "true"})))
	defer b.Close()
	at := time.Now().Add(2500 * time.Millisecond).UTC()
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "t", Type: "a", At: at}}))
	ds, err := b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Empty(t, ds)
	require.NoError(t, b.Wait(t.Context()))
	ds, err = b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.False(t, time.Now().Before(at))
	require.Equal(t, 1, ds[0].Attempt)
	require.Equal(t, 1, ds[0].Sequence)
	require.Zero(t, ds[0].Lost)
}

// Lease does not wait, even where the queue's own default is to wait.
func TestLeaseDoesNotWait(t *testing.T) {
	t.Parallel()
	server := sqstest.Start(t)
	b := open(t, testSettings(server, server.NewQueue(t, map[string]string{"ReceiveMessageWaitTimeSeconds": "20"})))
	defer b.Close()
	began := time.Now()
	ds, err := b.Lease(t.Context(), 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, ds)
	require.Less(t, time.Since(began), 10*time.Second)
}

func BenchmarkBroker(b *testing.B) { brokertest.Bench(b, standard) }
