package mongoconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/backplane/leptir/internal/mongoconn"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
)

var errTestClosed = errors.New("it is closed")

func connect(t *testing.T) *mongoconn.Conn {
	s := mongoconn.Defaults()
	s.URI = settings.Secret(mongotest.URI(t))
	s.Database = mongotest.Database(t)
	c, err := mongoconn.Open(t.Context(), &s, `thing "x"`, errTestClosed)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestDo(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ping := func(ctx context.Context) error { return c.DB.RunCommand(ctx, bson.M{"ping": 1}).Err() }
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

	require.NoError(t, c.Do(t.Context(), "ping", ping))

	err := c.Do(t.Context(), "ask", func(ctx context.Context) error { return c.DB.RunCommand(ctx, bson.M{"nonsense": 1}).Err() })
	require.ErrorContains(t, err, `thing "x": ask: `)
	require.True(t, mongoconn.Refused(err))
	require.False(t, mongoconn.Refused(nil))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Do(ended, "ping", ping), context.Canceled)

	err = c.DoWithin(context.Background(), 20*time.Millisecond, "wait", hang)
	require.ErrorContains(t, err, `thing "x": wait: no answer within 20ms`)

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = c.Do(short, "wait", hang)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "no answer", "it is the caller's own limit")

	// A server that knows the deadline may be the first to say that it is over.
	long, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = c.Do(long, "wait", func(context.Context) error { return mongo.CommandError{Code: 50, Name: "MaxTimeMSExpired"} })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, mongoconn.Refused(err))
}

func TestClose(t *testing.T) {
	t.Parallel()
	c := connect(t)
	require.NoError(t, c.Closed())
	var wg sync.WaitGroup
	began := make(chan struct{})
	wg.Go(func() {
		err := c.DoWithin(context.Background(), 0, "wait", func(ctx context.Context) error {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, errTestClosed) {
			t.Errorf("a call that Close ends: %v", err)
		}
	})
	<-began
	require.NoError(t, c.Close())
	wg.Wait()
	<-c.Closing()
	require.EqualError(t, c.Closed(), `thing "x": it is closed`)
	require.ErrorIs(t, c.Do(t.Context(), "ping", nil), errTestClosed)
	require.NoError(t, c.Close(), "a second Close does nothing")
}

// TestSilentServer opens a connection to something that takes connections and says nothing.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer conn.Close(); _, _ = io.Copy(io.Discard, conn) })
		}
	})
	defer wg.Wait()
	defer l.Close()
	s := mongoconn.Defaults()
	s.URI = settings.Secret("mongodb://ana:verysecret@" + l.Addr().String() + "/")
	s.Timeout = 300 * time.Millisecond
	start := time.Now()
	_, err = mongoconn.Open(context.Background(), &s, `thing "x"`, errTestClosed)
	require.ErrorContains(t, err, "connect to MongoDB at "+l.Addr().String()+"/leptir: no answer within 300ms")
	require.NotContains(t, err.Error(), "verysecret")
	require.Less(t, time.Since(start), 10*time.Second)
}

// TestWrongPassword looks that the reason arrives, and the password does not.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	if !mongotest.Builtin() {
		t.Skip("a real server without users does not ask for one")
	}
	s := mongoconn.Defaults()
	s.URI = settings.Secret(mongotest.URI(t))
	s.Username, s.Password, s.Timeout = "ana", "verysecret", 3*time.Second
	_, err := mongoconn.Open(t.Context(), &s, `thing "x"`, errTestClosed)
	require.ErrorContains(t, err, "auth")
	require.NotContains(t, err.Error(), "verysecret")
}
