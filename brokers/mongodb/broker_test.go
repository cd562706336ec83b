package mongodb_test

import (
	"log/slog"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
)

// open opens the queue in a database of the test server. The handle is the caller's to close.
func open(tb testing.TB, database string, change ...func(*mongodb.Settings)) brokers.Broker {
	tb.Helper()
	return openAt(tb, database, nil, change...)
}

// openAt opens the queue as a host with the given clock.
func openAt(tb testing.TB, database string, now func() time.Time, change ...func(*mongodb.Settings)) brokers.Broker {
	tb.Helper()
	s := mongodb.Defaults()
	s.Connection.URI = settings.Secret(mongotest.URI(tb))
	s.Connection.Database = database
	s.Connection.Timeout = time.Minute
	for _, c := range change {
		c(s)
	}
	b, err := s.Open(tb.Context(), brokers.Env{
		Name: "test", Logger: slog.New(slog.DiscardHandler), Now: now, Aliases: map[string]string{`Leptir\Task\Test\TestTask`: "demo.test"},
	})
	require.NoError(tb, err)
	return b
}

var harness = brokertest.Harness{
	Unit: 300 * time.Millisecond, // the test server takes some milliseconds for a call, and more on a busy machine
	NewQueue: func(tb testing.TB) brokertest.Queue {
		database := mongotest.Database(tb)
		return brokertest.Queue{
			Open: func(tb testing.TB) brokers.Broker { return open(tb, database) },
			OpenAhead: func(tb testing.TB, ahead time.Duration) brokers.Broker {
				return openAt(tb, database, func() time.Time { return time.Now().Add(ahead) })
			},
			InjectRaw: func(tb testing.TB, raw []byte) {
				var message any = raw
				if utf8.Valid(raw) {
					message = string(raw)
				}
				_, err := mongotest.Client(tb).Database(database).Collection("tasks").InsertOne(tb.Context(), bson.M{"task": message})
				require.NoError(tb, err)
			},
		}
	},
}

func TestConformance(t *testing.T) { brokertest.Run(t, harness) }

func BenchmarkBroker(b *testing.B) { brokertest.Bench(b, harness) }
