package redis_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/metastoretest"
	"github.com/backplane/leptir/metastore/redis"
	"github.com/backplane/leptir/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redisserver.EndWith(m)) }

var env = metastore.Env{Name: "records", Logger: slog.New(slog.DiscardHandler)}

var harness = metastoretest.Harness{New: func(tb testing.TB) metastoretest.Place { return placeOf(tb, sharedSettings(tb)) }}

// sharedSettings returns the settings of a new place on the server that all tests share.
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

func settingsOf(tb testing.TB, addr string) *redis.Settings {
	s := redis.Defaults()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(tb, err)
	s.Connection.Host = host
	s.Connection.Port, err = strconv.Atoi(port)
	require.NoError(tb, err)
	s.KeyPrefix = "leptir-test:" + string(task.NewID()) + ":"
	s.ExpireAfter = 10 * time.Minute // nothing stays on a server of somebody else
	return s
}

func placeOf(_ testing.TB, s *redis.Settings) metastoretest.Place {
	return metastoretest.Place{Open: func(tb testing.TB) metastore.Store { return open(tb, s) }}
}

func open(tb testing.TB, s *redis.Settings) metastore.Store {
	store, err := s.Open(context.Background(), env)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	return store
}

func client(tb testing.TB, s *redis.Settings) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Connection.String(), Username: s.Connection.Username, Password: s.Connection.Password.Reveal(), DB: s.Connection.Database, Protocol: 2})
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

func TestConformance(t *testing.T) { metastoretest.Run(t, harness) }

func TestConformanceCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of three servers")
	}
	nodes := redisserver.StartCluster(t)
	metastoretest.Run(t, metastoretest.Harness{New: func(tb testing.TB) metastoretest.Place {
		s := settingsOf(tb, nodes[0].Addr())
		s.Connection.Cluster = true
		return placeOf(tb, s)
	}})
}

func BenchmarkStore(b *testing.B) { metastoretest.Bench(b, harness) }

var ended = time.Date(2026, 11, 22, 10, 0, 12, 0, time.UTC)

func record() task.Record {
	return task.Record{ID: "65a1f", Status: task.Completed, RetC: task.Success, ExTime: 12.5, RespM: "sent to 3", Type: "mailer.send",
		ExStart: ended.Add(-12 * time.Second), Run: task.Run{Attempt: 1, Delivery: 2, Ended: ended, Host: "h", Process: 7, Plugin: "mailer"}}
}

// TestWhatOthersRead is the record as any client of Redis reads it.
func TestWhatOthersRead(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	store, c := open(t, s), client(t, s)
	r := record()
	require.NoError(t, store.Put(t.Context(), []task.Record{r}))
	const run = `"leptir":{"attempt":1,"delivery":2,"ended":"2026-11-22T10:00:12Z","host":"h","process":7,"plugin":"mailer"}}`
	require.Equal(t, `{"id":"65a1f","status":3,"retC":1,"exTime":12.5,"respM":"sent to 3","type":"mailer.send","exStart":"2026-11-22T10:00:00Z",`+run,
		c.Get(t.Context(), s.KeyPrefix+"65a1f").Val())
	r.Meta = map[string]any{"respM": "mine", "a": []int{1}, "id": "forged", "_id": "forged", "leptir": "forged"}
	require.NoError(t, store.Put(t.Context(), []task.Record{r}))
	require.Equal(t, `{"id":"65a1f","a":[1],"exStart":"2026-11-22T10:00:00Z","exTime":12.5,"respM":"mine","retC":1,"status":3,"type":"mailer.send",`+run,
		c.Get(t.Context(), s.KeyPrefix+"65a1f").Val())
	require.InDelta(t, 600, c.TTL(t.Context(), s.KeyPrefix+"65a1f").Val().Seconds(), 60)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := redis.Defaults()
	require.NoError(t, s.Validate())
	require.Equal(t, "leptir:taskinfo:", s.KeyPrefix)
	require.Equal(t, 86400*time.Second, s.ExpireAfter)
	require.Equal(t, "redis", redis.Kind.Name)
	require.Equal(t, s, redis.Kind.New())
	s.KeyPrefix, s.ExpireAfter, s.Connection.Port = "", -1, 1
	s.Connection.Scheme = "x"
	err := s.Validate()
	for _, want := range []string{"key_prefix must not be empty", "expire_after_seconds is negative", "connection: scheme is"} {
		require.ErrorContains(t, err, want)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	s.ExpireAfter = 300 * time.Millisecond // a second, as Redis counts here
	store := open(t, s)
	require.NoError(t, store.Put(t.Context(), []task.Record{record()}))
	require.Eventually(t, func() bool {
		rs, err := store.Get(t.Context(), []task.ID{"65a1f"})
		require.NoError(t, err)
		return len(rs) == 0
	}, 10*time.Second, 50*time.Millisecond)
	s.ExpireAfter = 0
	c := client(t, s)
	require.NoError(t, open(t, s).Put(t.Context(), []task.Record{record()}))
	require.EqualValues(t, -1, c.TTL(t.Context(), s.KeyPrefix+"65a1f").Val())
	require.NoError(t, c.Del(t.Context(), s.KeyPrefix+"65a1f").Err())
}

// TestRecordsOfOthers are those of the original leptir, and those that a tool has rewritten.
func TestRecordsOfOthers(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	store, c := open(t, s), client(t, s)
	put := func(text string) {
		require.NoError(t, c.Set(t.Context(), s.KeyPrefix+"a", text, time.Minute).Err())
	}
	get := func() task.Record {
		rs, err := store.Get(t.Context(), []task.ID{"a", "a"})
		require.NoError(t, err)
		require.Len(t, rs, 1)
		return rs[0]
	}
	put(`{"status":3, "retC":2, "exTime":0.25, "respM":"x y", "type":"Leptir\\Test", "exStart":1795341600, "id":"a", "customer":"z"}`)
	got := get()
	require.Equal(t, task.Record{ID: "a", Status: task.Completed, RetC: task.Warning, ExTime: 0.25, RespM: "x y", Type: `Leptir\Test`,
		Meta: map[string]any{"exStart": 1795341600.0, "customer": "z"}}, got)
	require.NoError(t, store.Put(t.Context(), []task.Record{{ID: "a", RespM: "ours"}}))
	require.Equal(t, "ours", get().RespM)

	for _, text := range []string{
		`{"id":"a","leptir": {"delivery": 5}}`,
		`{"leptir" : {"attempt" : 2, "delivery" : 5}, "id":"a"}`,
		`{"id":"a","mine":{"leptir":{"delivery":9}},"leptir":{"attempt":1,"delivery":5}}`,
		`{"id":"a","respM":"\"leptir\":{\"delivery\":9}","leptir":{"attempt":1,"delivery":5}}`,
	} {
		for _, step := range []struct {
			delivery int
			replaced bool
		}{{4, false}, {5, true}} {
			put(text)
			require.NoError(t, store.Put(t.Context(), []task.Record{{ID: "a", RespM: "new", Run: task.Run{Attempt: 1, Delivery: step.delivery}}}))
			require.Equal(t, step.replaced, get().RespM == "new", "%s after delivery %d", text, step.delivery)
		}
	}
	for _, text := range []string{"", "rubbish", "[]", `{"id":7}`, `{"id":"b"}`, `{}`} {
		put(text)
		_, err := store.Get(t.Context(), []task.ID{"a"})
		require.ErrorContains(t, err, `meta storage "records": get: the record of task a cannot be read`, text)
		require.NoError(t, store.Put(t.Context(), []task.Record{{ID: "a", RespM: "new"}}), "it is replaced")
		require.Equal(t, "new", get().RespM)
	}
	require.NoError(t, c.Del(t.Context(), s.KeyPrefix+"a").Err())
}

func TestFailures(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--requirepass", "right-secret")
	s := settingsOf(t, server.Addr())
	_, err := s.Open(t.Context(), env)
	require.ErrorContains(t, err, `meta storage "records": open: redis at `+server.Addr()+": the server wants a password")
	s.Connection.Password = "wrong-secret"
	_, err = s.Open(t.Context(), env)
	require.ErrorContains(t, err, "the username or the password is wrong")
	require.NotContains(t, err.Error(), "secret")
	s.Connection.Password, s.Connection.Timeout = "right-secret", 2*time.Second
	store, c := open(t, s), client(t, s)
	r := record()
	put := func() error { return store.Put(t.Context(), []task.Record{r}) }
	require.NoError(t, put())

	require.NoError(t, c.ScriptFlush(t.Context()).Err())
	require.NoError(t, put())
	require.NoError(t, c.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err())
	require.NoError(t, put())

	server.Kill()
	require.ErrorContains(t, put(), "connection refused")
	server.Restart()
	got, err := store.Get(t.Context(), []task.ID{r.ID})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.NoError(t, put())

	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.ErrorContains(t, put(), "the server's memory is full (maxmemory), nothing was written: make room or raise it")
	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())

	key := s.KeyPrefix + string(r.ID)
	require.NoError(t, c.Del(t.Context(), key).Err())
	require.NoError(t, c.LPush(t.Context(), key, "x").Err())
	require.ErrorContains(t, put(), `a key that begins with "`+s.KeyPrefix+`" is no record of leptir's`)
	require.NoError(t, c.Del(t.Context(), key).Err())
	require.NoError(t, put())

	server.Signal(syscall.SIGSTOP)
	start := time.Now()
	err = store.Put(context.Background(), []task.Record{r})
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 30*time.Second)
	server.Signal(syscall.SIGCONT)
	require.Eventually(t, func() bool { return put() == nil }, 15*time.Second, 10*time.Millisecond)
}

// TestLeastRights runs the store as a user that has no more rights than docs/metadata/redis.md
// says it needs.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	server.Do("ACL", "SETUSER", "leptir", "on", ">right-secret", "resetkeys", "~leptir:taskinfo:*", "resetchannels", "-@all", "+@read", "+@write", "+@scripting", "+@connection")
	s := settingsOf(t, server.Addr())
	s.KeyPrefix, s.Connection.Username, s.Connection.Password = redis.Defaults().KeyPrefix, "leptir", "right-secret"
	store := open(t, s)
	require.NoError(t, store.Put(t.Context(), []task.Record{record()}))
	got, err := store.Get(t.Context(), []task.ID{"65a1f"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	s.KeyPrefix = "forbidden:"
	require.ErrorContains(t, open(t, s).Put(t.Context(), []task.Record{record()}), "the user may not do this: its ACL must allow it")
}
