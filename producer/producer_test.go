package producer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/brokers/sqs"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/task"
)

// lease takes what is due from the broker of that priority.
func lease(t *testing.T, q *Queue, priority int) []brokers.Delivery {
	t.Helper()
	ds, err := q.set.For(priority).Broker.Lease(context.Background(), 10, time.Minute)
	require.NoError(t, err)
	return ds
}

func TestPush(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "leptir.hcl")
	require.NoError(t, os.WriteFile(file, []byte(`
broker "sqlite" "urgent" {
  path     = "urgent.db"
}
broker "sqlite" "bulk" {
  path     = "bulk.db"
  priority = 10
}
# What is for the host alone is no matter to a producer.
error_reporting "log" "errors" {}
`), 0o600))
	q, err := Open(ctx, file)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()

	id, err := q.Push(ctx, Task{Type: "a.b", Params: struct {
		N int `json:"n"`
	}{3}, TimeLimit: time.Minute})
	require.NoError(t, err)
	ids, err := q.PushAll(ctx, []Task{
		{Type: "a.c", Priority: 5, Params: json.RawMessage(`{"x":1}`), ID: "mine", TimeLimit: NoTimeLimit},
		{Type: "a.d", Priority: 5, At: time.Now().Add(time.Hour)},
	})
	require.NoError(t, err)
	require.Len(t, ids, 2)
	require.Equal(t, "mine", ids[0])

	urgent := lease(t, q, 0)
	require.Len(t, urgent, 1)
	require.Equal(t, task.ID(id), urgent[0].Task.ID)
	require.JSONEq(t, `{"n":3}`, string(urgent[0].Task.Params))
	require.Equal(t, time.Minute, urgent[0].Task.TimeLimit)
	bulk := lease(t, q, 5)
	require.Len(t, bulk, 1, "the other is not due")
	require.Equal(t, task.ID("mine"), bulk[0].Task.ID)
	require.Equal(t, task.NoTimeLimit, bulk[0].Task.TimeLimit)
	require.Equal(t, 5, bulk[0].Task.Priority)
}

func TestPushRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	q, err := Dial(ctx, "sqlite:"+filepath.Join(t.TempDir(), "q.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	for want, bad := range map[string]Task{
		`has a character other than`:          {Type: "a b"},
		`of type "a": json: unsupported`:      {Type: "a", Params: make(chan int)},
		`a number is no JSON object`:          {Type: "a", Params: 3},
		`a string is no JSON object`:          {Type: "a", Params: "x"},
		`error calling MarshalJSON`:           {Type: "a", Params: broken{}},
		`time limit of task`:                  {Type: "a", TimeLimit: -5 * time.Second},
		`parameters of task 1, of type "a": `: {Type: "a", Params: []int{}},
	} {
		_, err := q.PushAll(ctx, []Task{bad, {Type: "good.one"}})
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, lease(t, q, 0), "nothing is pushed beside a bad one")
	_, err = q.Push(ctx, Task{Type: "a", Params: (*struct{})(nil)})
	require.NoError(t, err, "null is no parameters")
}

// broken marshals to what is no JSON.
type broken struct{}

func (broken) MarshalJSON() ([]byte, error) { return []byte("{"), nil }

func TestOpenFails(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), filepath.Join(t.TempDir(), "nowhere.hcl"))
	require.ErrorContains(t, err, "nowhere.hcl: no such file")
	file := filepath.Join(t.TempDir(), "leptir.hcl")
	require.NoError(t, os.WriteFile(file, []byte("brokr \"x\" \"y\" {}\n"), 0o600))
	_, err = Open(t.Context(), file)
	require.ErrorContains(t, err, `did you mean "broker"?`)
}

func TestDialRedis(t *testing.T) {
	t.Parallel()
	address := redisserver.URL(t)
	key := "leptir:producer-" + string(task.NewID())
	q, err := Dial(t.Context(), address+"?key="+key)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	_, err = q.Push(t.Context(), Task{Type: "a.b"})
	require.NoError(t, err)
	require.Len(t, lease(t, q, 0), 1)
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	s, err := sourceOf("redis://ann:s3cret@cache:6380/2?key=q%3Atasks")
	require.NoError(t, err)
	c := s.Settings.(*redis.Settings).Connection
	require.Equal(t, []any{"tcp", "cache", 6380, "ann", "s3cret", 2, "q:tasks"}, []any{c.Scheme, c.Host, c.Port, c.Username, c.Password.Reveal(), c.Database, c.Key})
	s, err = sourceOf("rediss://")
	require.NoError(t, err)
	c = s.Settings.(*redis.Settings).Connection
	require.Equal(t, []any{"tls", "localhost", 6379, redis.DefaultKey}, []any{c.Scheme, c.Host, c.Port, c.Key})

	s, err = sourceOf("mongodb://ann:p%2Fw@db:27018/jobs?collection=queue&replicaSet=rs0")
	require.NoError(t, err)
	m := s.Settings.(*mongodb.Settings).Connection
	require.Equal(t, []any{"mongodb://ann:p%2Fw@db:27018/jobs?replicaSet=rs0", "jobs", "queue"}, []any{m.URI.Reveal(), m.Database, m.Collection})
	s, err = sourceOf("mongodb://db")
	require.NoError(t, err)
	m = s.Settings.(*mongodb.Settings).Connection
	require.Equal(t, []any{"leptir", "tasks"}, []any{m.Database, m.Collection})

	for address, path := range map[string]string{"sqlite:var/a.db": "var/a.db", "sqlite:///var/a.db": "/var/a.db", "sqlite:/var/a.db": "/var/a.db"} {
		s, err = sourceOf(address)
		require.NoError(t, err)
		require.EqualValues(t, path, s.Settings.(*sqlite.Settings).Path)
	}
	const queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"
	s, err = sourceOf(queue)
	require.NoError(t, err)
	require.Equal(t, queue, s.Settings.(*sqs.Settings).Connection.Queue)

	for address, want := range map[string]string{
		"":                             "it must begin with sqlite:",
		"leptir.db":                    "it must begin with sqlite:",
		"amqp://x":                     `there is no broker of scheme "amqp"`,
		"sqlite:":                      "path is empty",
		"sqlite://host/x":              "a path follows, as in sqlite:var/leptir.db",
		"redis://h:99999":              "port 99999 is not between",
		"redis://h/x":                  `the path is the number of the database, not "x"`,
		"redis://h?kye=x":              `there is no option "kye"`,
		"redis://h?key=":               "key must not be empty",
		"redis://ann:to/p@h":           "it is not a URL",
		"redis://ann:%zz@h":            "it is not a URL",
		"mongodb://h/?nonsense=1":      "options that MongoDB's driver does not know: nonsense",
		"mongodb://h/?collection=":     "collection is empty",
		"mongodb://h/a%zz":             "database: invalid URL escape",
		"https://example.com":          "it is the URI of a queue",
		"mongodb://ann:to@p@h/?x=%zz&": "scheme mongodb",
	} {
		_, err := Dial(t.Context(), address)
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "to/p")
		require.NotContains(t, err.Error(), "to@p")
		require.NotContains(t, err.Error(), "ann:")
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"redis://ann:s3cret@cache:6380/2?key=q", "mongodb://a:b@c/d?collection=e&f=g", "sqlite:x", "https://a/b/c", ":", "mongodb://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		s, err := sourceOf(address)
		if err == nil && s.Settings == nil {
			t.Fatal("neither settings nor an error")
		}
	})
}
