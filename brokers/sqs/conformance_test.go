package sqs

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/sqstest"
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
	Unit:             time.Second, // SQS counts in whole seconds
	BestEffortOrder:  true,
	AlwaysRepeated:   true,
	PushTwice:        true,
	InspectsOnlyDead: true,
	MaxParams:        1<<20 - 2*stateRoom,
	Skip: func(name string) string {
		switch {
		case strings.HasPrefix(name, "push/idempotent while"), name == "cancel/push half-way",
			name == "concurrency/one of many pushers of an id wins":
			return "an SQS standard queue cannot tell that an id is there already"
		case name == "settle/parked ones are counted", name == "stats/a parked task that came due is not parked":
			return "SQS does not tell which of the delayed messages are parked"
		case name == "inspect/find in every state", name == "inspect/list nothing", name == "inspect/list in pages",
			name == "inspect/list equal times in pages", name == "inspect/delete",
			name == "inspect/history keeps the newest 32":
			return "SQS shows no tasks but dead letters"
		}
		return ""
	},
}

func TestConformance(t *testing.T) { brokertest.Run(t, standard) }

func BenchmarkBroker(b *testing.B) { brokertest.Bench(b, standard) }
