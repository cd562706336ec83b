package redis_test

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/task"
)

// harness runs the suite on one server, each queue under a key of its own.
var harness = brokertest.Harness{
	NewQueue: func(tb testing.TB) brokertest.Queue { return queueOf(tb, sharedSettings(tb)) },
}

// sharedSettings returns the settings of a new queue on the server that all tests share.
func sharedSettings(tb testing.TB) *redis.Settings {
	o, err := goredis.ParseURL(redisserver.URL(tb))
	require.NoError(tb, err)
	s := settingsOf(tb, o.Addr)
	s.Connection.Username, s.Connection.Password, s.Connection.Database = o.Username, settings.Secret(o.Password), o.DB
	if o.TLSConfig != nil {
		s.Connection.Scheme = "tls"
	}
	return s
}

// settingsOf returns the settings of a new queue on a server.
func settingsOf(tb testing.TB, addr string) *redis.Settings {
	s := redis.Defaults()
	host, port, err := splitAddr(addr)
	require.NoError(tb, err)
	s.Connection.Host, s.Connection.Port = host, port
	s.Connection.Key = "leptir-test:" + string(task.NewID())
	s.PollInterval = time.Hour // what wakes a host must not be this
	return s
}

// queueOf returns the queue of the settings for the suite; its keys are gone after the test.
func queueOf(tb testing.TB, s *redis.Settings) brokertest.Queue {
	c := client(tb, s)
	tb.Cleanup(func() {
		for _, key := range keysOf(s) {
			require.NoError(tb, c.Del(context.Background(), key).Err())
		}
	})
	return brokertest.Queue{
		Open: func(tb testing.TB) brokers.Broker { return open(tb, s) },
		OpenAhead: func(tb testing.TB, ahead time.Duration) brokers.Broker {
			e := env
			e.Now = func() time.Time { return time.Now().Add(ahead) }
			b, err := s.Open(context.Background(), e)
			require.NoError(tb, err)
			return b
		},
		InjectRaw: func(tb testing.TB, raw []byte) {
			z := goredis.Z{Score: float64(time.Now().Unix()), Member: raw}
			require.NoError(tb, c.ZAdd(context.Background(), s.Connection.Key, z).Err())
		},
	}
}

// keysOf returns the keys of a queue, as docs/brokers/redis.md names them.
func keysOf(s *redis.Settings) []string {
	keys := []string{s.Connection.Key}
	for _, suffix := range []string{"tasks", "state", "leased", "dead", "parked", "history", "control"} {
		keys = append(keys, "{"+s.Connection.Key+"}:"+suffix)
	}
	return keys
}

func open(tb testing.TB, s *redis.Settings) *redis.Broker {
	tb.Helper()
	b, err := s.Open(context.Background(), env)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, b.Close()) })
	return b.(*redis.Broker)
}

// client returns a plain client of the queue's server.
func client(tb testing.TB, s *redis.Settings) goredis.UniversalClient {
	c := s.Connection
	o := &goredis.UniversalOptions{Addrs: []string{c.Host + ":" + strconv.Itoa(c.Port)}, Username: c.Username, Password: c.Password.Reveal(), DB: c.Database, Protocol: 2}
	if c.Cluster {
		o.Addrs, o.IsClusterMode = c.Addresses, true
	}
	r := goredis.NewUniversalClient(o)
	tb.Cleanup(func() { require.NoError(tb, r.Close()) })
	return r
}

func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, harness)
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a cluster of three servers")
	}
	var addresses []string
	for _, s := range redisserver.StartCluster(t) {
		addresses = append(addresses, s.Addr())
	}
	brokertest.Run(t, brokertest.Harness{NewQueue: func(tb testing.TB) brokertest.Queue {
		s := settingsOf(tb, addresses[0])
		s.Connection.Cluster, s.Connection.Addresses = true, addresses
		return queueOf(tb, s)
	}})
}

func BenchmarkBroker(b *testing.B) { brokertest.Bench(b, harness) }

func splitAddr(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	return host, port, err
}

func secret(s string) settings.Secret { return settings.Secret(s) }
