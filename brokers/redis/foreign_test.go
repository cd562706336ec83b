package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/task"
)

// zadd pushes a message as a producer of the original leptir does.
func zadd(t *testing.T, s *redis.Settings, at time.Time, message string) {
	t.Helper()
	z := goredis.Z{Score: float64(at.Unix()), Member: message}
	require.NoError(t, client(t, s).ZAdd(t.Context(), s.Connection.Key, z).Err())
}

// openWith opens the queue with aliases, and a log that is returned.
func openWith(t *testing.T, s *redis.Settings, aliases map[string]string) (*redis.Broker, *bytes.Buffer) {
	log := new(bytes.Buffer)
	b, err := s.Open(t.Context(), brokers.Env{Name: "default", Logger: slog.New(slog.NewTextHandler(log, nil)), Aliases: aliases})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b.(*redis.Broker), log
}

func original(id string) string {
	return `{"cn":"Leptir\\Task\\Test\\TestTask","pr":5,"tl":60,"toex":"","td":{"id":"` + id + `","parameters":{"n":7}}}`
}

func TestOriginalProducers(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b, log := openWith(t, s, map[string]string{`Leptir\Task\Test\TestTask`: "demo.test"})
	now := time.Now()
	zadd(t, s, now.Add(-30*time.Second), original("second"))
	zadd(t, s, now.Add(-60*time.Second), original("first"))
	own := task.Task{ID: "own", Type: "test.task", PushedAt: now.Add(-20 * time.Second)}
	require.NoError(t, b.Push(t.Context(), []task.Task{own}))
	zadd(t, s, now.Add(-10*time.Second), `{"v":1,"id":"today","type":"test.task"}`)
	zadd(t, s, now.Add(time.Hour), original("scheduled"))
	require.Equal(t, brokers.Stats{Ready: 4, Scheduled: 1}, stats(t, b))

	ds := lease(t, b, 10)
	require.Equal(t, []task.ID{"first", "second", "own", "today"}, leasedIDs(ds), "in order of their times")
	require.Equal(t, task.Task{ID: "first", Type: "demo.test", Params: []byte(`{"n":7}`), Priority: 5, TimeLimit: time.Minute}, ds[0].Task)
	settle(t, b, brokers.Release, ds[1])
	require.Equal(t, []task.ID{"second"}, leasedIDs(lease(t, b, 10)))
	settle(t, b, brokers.Bury, ds[0])

	// Operators see them as any other.
	it, err := b.Find(t.Context(), "first")
	require.NoError(t, err)
	require.Equal(t, brokers.StateDead, it.State)
	require.Equal(t, original("first"), string(it.Raw))
	it, err = b.Find(t.Context(), "scheduled")
	require.NoError(t, err)
	require.Equal(t, brokers.StateScheduled, it.State)
	require.Equal(t, "demo.test", it.Task.Type)
	require.Equal(t, now.Add(time.Hour).Unix(), it.Due.Unix())
	zadd(t, s, now.Add(2*time.Hour), original("also scheduled"))
	zadd(t, s, now.Add(3*time.Hour), original("again"))
	items, _, err := b.List(t.Context(), brokers.StateScheduled, "", 10)
	require.NoError(t, err)
	require.Len(t, items, 3)
	require.Error(t, task.ID("also scheduled").Validate())
	require.True(t, strings.HasPrefix(string(items[1].ID), "unreadable-"), "an id that cannot be one")
	require.Equal(t, original("also scheduled"), string(items[1].Raw))
	zadd(t, s, now.Add(3*time.Hour), original("unseen"))
	missing, err := b.Delete(t.Context(), []task.ID{"unseen", "again", "never heard of"})
	require.NoError(t, err)
	require.Equal(t, []task.ID{"never heard of"}, missing)

	// An id that is there already is pushed in vain, as by leptir itself.
	zadd(t, s, now, `{"v":1,"id":"today","type":"another.type"}`)
	require.Empty(t, lease(t, b, 10))
	require.Contains(t, log.String(), "task=today")
	require.Equal(t, brokers.Stats{Scheduled: 2, Leased: 3, Dead: 1}, stats(t, b))
}

// TestManyOriginalProducers leases and adopts while others go on pushing.
func TestManyOriginalProducers(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	c := client(t, s)
	const n = 2000
	pushed := make(chan error, 1)
	go func() {
		for i := range n {
			z := goredis.Z{Score: float64(time.Now().Unix() - int64(i%7)), Member: original(fmt.Sprint("php-", i))}
			if err := c.ZAdd(context.Background(), s.Connection.Key, z).Err(); err != nil {
				pushed <- err
				return
			}
		}
		pushed <- nil
	}()
	seen := map[task.ID]bool{}
	for end := time.Now().Add(patience); len(seen) < n; {
		require.True(t, time.Now().Before(end), "%d of %d", len(seen), n)
		ds := lease(t, b, 100)
		for _, d := range ds {
			require.False(t, seen[d.Task.ID])
			require.NoError(t, d.Unreadable)
			seen[d.Task.ID] = true
		}
		settle(t, b, brokers.Done, ds...)
	}
	require.NoError(t, <-pushed)
	require.Equal(t, brokers.Stats{}, stats(t, b))
}

// TestPollFindsOriginalProducers: nothing tells of their pushes.
func TestPollFindsOriginalProducers(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	s.PollInterval = 100 * time.Millisecond
	b := open(t, s)
	woken := make(chan error, 1)
	go func() { woken <- b.Wait(t.Context()) }()
	time.Sleep(150 * time.Millisecond) // let it wait
	select {
	case err := <-woken:
		require.NoError(t, err) // early for no reason: then once more
		go func() { woken <- b.Wait(t.Context()) }()
	default:
	}
	zadd(t, s, time.Now(), original("a"))
	select {
	case err := <-woken:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("no wake-up")
	}
}

// TestPHP pushes with the extension that PHP producers use.
func TestPHP(t *testing.T) {
	t.Parallel()
	php, err := exec.LookPath("php")
	if err != nil {
		t.Skip("php is not in PATH: install php-cli and php-redis to push with a real PHP client")
	}
	if out, _ := exec.Command(php, "-m").Output(); !slices.Contains(strings.Fields(string(out)), "redis") {
		t.Skip("php has no redis extension: install php-redis to push with a real PHP client")
	}
	s := sharedSettings(t)
	queueOf(t, s)
	if s.Connection.Scheme != "tcp" {
		t.Skip("the PHP client of this test connects without TLS only")
	}
	const program = `
$r = new Redis();
$r->connect($argv[1], (int)$argv[2]);
if ($argv[5] !== '') { $r->auth($argv[4] !== '' ? [$argv[4], $argv[5]] : $argv[5]); }
$r->select((int)$argv[6]);
function task($id, $parameters, $at) {
    return json_encode(['cn' => 'Leptir\Task\Test\TestTask', 'pr' => 0, 'tl' => 90, 'toex' => $at,
        'td' => ['id' => $id, 'parameters' => $parameters]]);
}
$r->zAdd($argv[3], time() - 10, task('php-empty', [], ''));
$r->zAdd($argv[3], time() - 5, task('php-full', ['text' => "\u{436}\"/", 'n' => 3, 'list' => [1, 2], 'f' => 0.1], time() - 5));
$r->zAdd($argv[3], time() + 3600, task('php-later', ['a', 'b'], (string)(time() + 3600)));
`
	c := s.Connection
	out, err := exec.Command(php, "-r", program, "--", c.Host, strconv.Itoa(c.Port), c.Key, c.Username, c.Password.Reveal(), strconv.Itoa(c.Database)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))

	b, _ := openWith(t, s, map[string]string{`\Leptir\Task\Test\TestTask`: "demo.test"})
	ds := lease(t, b, 10)
	require.Equal(t, []task.ID{"php-empty", "php-full"}, leasedIDs(ds))
	for _, d := range ds {
		require.NoError(t, d.Unreadable)
		require.Equal(t, "demo.test", d.Task.Type)
		require.Equal(t, 90*time.Second, d.Task.TimeLimit)
	}
	require.Empty(t, ds[0].Task.Params)
	require.JSONEq(t, `{"text":"ж\"/","n":3,"list":[1,2],"f":0.1}`, string(ds[1].Task.Params))
	require.WithinDuration(t, time.Now(), ds[1].Task.At, time.Minute)
	it, err := b.Find(t.Context(), "php-later")
	require.NoError(t, err)
	require.Equal(t, brokers.StateScheduled, it.State)
	require.JSONEq(t, `{"0":"a","1":"b"}`, string(it.Task.Params))
	settle(t, b, brokers.Done, ds...)
}

// TestLargeTasks: a reply stays within bounds, whatever the batch that was asked for.
func TestLargeTasks(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	ts := tasks(12)
	for i := range ts {
		ts[i].Params = fmt.Appendf(nil, `{"x":"%s"}`, strings.Repeat("x", 1<<20-10))
	}
	require.NoError(t, b.Push(t.Context(), ts))
	ds := lease(t, b, 1000)
	require.Less(t, len(ds), 10)
	require.NotEmpty(t, ds)
	for len(ds) < 12 {
		more := lease(t, b, 1000)
		require.NotEmpty(t, more)
		ds = append(ds, more...)
	}
	settle(t, b, brokers.Done, ds...)
	require.Equal(t, brokers.Stats{}, stats(t, b))
}

// TestHostileMessages: what others put into the queue breaks nothing, and is all kept.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	s := sharedSettings(t)
	queueOf(t, s)
	b := open(t, s)
	c := client(t, s)
	messages := []string{"", " ", "\x00", "{", `{"due":1,"task":{}}`, `{"v":1}`, strings.Repeat("[", 100_000), `{"cn":{},"td":[]}`,
		strings.Repeat("x", task.MaxEnvelopeBytes+1), "- 1 1 1 1", `{"cn":"A","td":{"id":"'}}`, "a\nb"}
	for i, m := range messages {
		score := []float64{0, -1e18, 1e9, 1.5}[i%4]
		require.NoError(t, c.ZAdd(t.Context(), s.Connection.Key, goredis.Z{Score: score, Member: m}).Err())
	}
	require.NoError(t, c.Do(t.Context(), "ZADD", s.Connection.Key, "-inf", "always", "+inf", "never").Err())
	var raws []string
	ds := lease(t, b, 100)
	for _, d := range ds {
		require.Error(t, d.Unreadable)
		require.NoError(t, d.Task.ID.Validate())
		raws = append(raws, string(d.Raw))
	}
	require.ElementsMatch(t, append(messages, "always"), raws)
	settle(t, b, brokers.Release, ds...)
	again := lease(t, b, 100)
	require.Equal(t, leasedIDs(ds), leasedIDs(again), "released ones keep their place")
	settle(t, b, brokers.Bury, again...)
	items, _, err := b.List(t.Context(), brokers.StateScheduled, "", 10)
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, "never", string(items[0].Raw))
	require.Equal(t, brokers.Stats{Scheduled: 1, Dead: int64(len(messages) + 1)}, stats(t, b))
}
