package mongodb_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
)

// gate stands between a broker and the server, and can be shut: then connections are cut, and
// new ones are ended at once.
type gate struct {
	listener net.Listener
	server   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
}

func newGate(t *testing.T, server string) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{listener: l, server: server, conns: map[net.Conn]bool{}}
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close(); g.close(); g.wg.Wait() })
	return g
}

func (g *gate) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer out.Close()
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return
	}
	g.conns[in], g.conns[out] = true, true
	g.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(out, in); out.Close() })
	_, _ = io.Copy(in, out)
	in.Close()
	wg.Wait()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		c.Close()
	}
}

func (g *gate) open() { g.mu.Lock(); defer g.mu.Unlock(); g.shut = false }

// TestConnectionCut cuts the connection to the server: calls say so within their time limit,
// also where the caller has set none, and all goes on by itself afterwards.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	if !mongotest.Builtin() {
		t.Skip("a replica set would be reached around the gate")
	}
	u, err := url.Parse(mongotest.URI(t))
	require.NoError(t, err)
	g := newGate(t, u.Host)
	const limit = 500 * time.Millisecond
	b := open(t, mongotest.Database(t), func(s *mongodb.Settings) {
		s.Connection.URI = settings.Secret("mongodb://" + g.listener.Addr().String())
		s.Connection.Timeout = 10 * time.Second
	})
	defer b.Close()
	impatient := open(t, mongotest.Database(t), func(s *mongodb.Settings) {
		s.Connection.URI = settings.Secret("mongodb://" + g.listener.Addr().String())
		s.Connection.Timeout = limit
	})
	defer impatient.Close()
	ts := newTasks(3)
	require.NoError(t, b.Push(t.Context(), ts[:2]))
	ds, err := b.Lease(t.Context(), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 1)

	g.close()
	for range 2 { // the first call may find a connection that has just died, the second finds none
		_, err = impatient.Stats(context.Background())
		require.ErrorContains(t, err, `broker "test": count tasks: `)
	}
	require.ErrorContains(t, err, "no answer within 500ms")
	start := time.Now()
	require.NoError(t, impatient.(brokers.Waiter).Wait(context.Background()), "an idle host does not end")
	require.Greater(t, time.Since(start), 400*time.Millisecond, "and does not spin")

	g.open()
	// What was cut short is done again by whoever did it; the broker needs no help.
	require.Eventually(t, func() bool { return b.Push(t.Context(), ts) == nil }, 20*time.Second, 10*time.Millisecond)
	lost, err := b.Extend(t.Context(), time.Minute, ds)
	require.NoError(t, err)
	require.Empty(t, lost)
	settle(t, b, brokers.Done, ds[0])
	left := map[string]bool{}
	for len(left) < 3 {
		more, err := b.Lease(t.Context(), 10, time.Minute)
		require.NoError(t, err)
		for _, d := range more {
			left[string(d.Task.ID)] = true
		}
		if len(more) == 0 {
			break
		}
	}
	require.Len(t, left, 2, "nothing is lost, and what was leased is not leased again")
}

func TestReadPreference(t *testing.T) {
	t.Parallel()
	b := open(t, mongotest.Database(t), func(s *mongodb.Settings) {
		s.Connection.Options = map[string]string{"readPreference": "secondaryPreferred"}
	})
	defer b.Close()
	require.NoError(t, b.Push(t.Context(), newTasks(2)))
	ds, err := b.Lease(t.Context(), 2, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, 2, "leases are read from the primary")
	st, err := b.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, brokers.Stats{Leased: 2}, st)
}

// TestChangeStreams has an idle host told of a task by the server.
func TestChangeStreams(t *testing.T) {
	t.Parallel()
	mongotest.NeedReal(t, "the built-in server has no change streams")
	database := mongotest.Database(t)
	slow := func(s *mongodb.Settings) { s.PollInterval = time.Minute }
	a, b := open(t, database, slow), open(t, database, slow)
	defer a.Close()
	defer b.Close()
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- a.(brokers.Waiter).Wait(t.Context()) }()
	time.Sleep(300 * time.Millisecond) // let it wait
	require.NoError(t, b.Push(t.Context(), newTasks(1)))
	require.NoError(t, <-done)
	require.Less(t, time.Since(start), 3*time.Second, "is the server a replica set?")
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	l.Close()
	s := mongodb.Defaults()
	s.Connection.URI = settings.Secret("mongodb://ana:verysecret@" + address)
	s.Connection.Timeout = 300 * time.Millisecond
	_, err = s.Open(context.Background(), brokers.Env{Name: "default", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, `broker "default": connect to MongoDB at `+address+"/leptir: no answer within 300ms")
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), "verysecret")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, mongodb.Defaults().Validate())
	for want, change := range map[string]func(*mongodb.Settings){
		"collection is empty": func(s *mongodb.Settings) { s.Connection.Collection = "" },
		"poll_interval is 0s": func(s *mongodb.Settings) { s.PollInterval = 0 },
		"connection: port":    func(s *mongodb.Settings) { s.Connection.Port = 0 },
		"connection: options": func(s *mongodb.Settings) { s.Connection.Options = map[string]string{"x": "y"} },
	} {
		s := mongodb.Defaults()
		change(s)
		require.ErrorContains(t, s.Validate(), want)
		_, err := s.Open(t.Context(), brokers.Env{Name: "default"})
		require.ErrorContains(t, err, want)
	}
}
