package mongodb_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
)

// streams stands between a broker and the built-in server and answers what that one cannot: it
// is a change stream with an event for every insertion that passes by. TestChangeStreams is the
// test of the real thing.
type streams struct {
	listener net.Listener
	server   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	open   int           // streams that are open
	news   chan struct{} // closed, and replaced, at an insertion
	broken bool          // streams fail
}

const streamID = int64(42)

func newStreams(t *testing.T) *streams {
	u, err := url.Parse(mongotest.URI(t))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &streams{listener: l, server: u.Host, news: make(chan struct{})}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *streams) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.server)
	if err != nil {
		return
	}
	defer server.Close()
	s.mu.Lock()
	s.conns = append(s.conns, client, server)
	s.mu.Unlock()
	for {
		m, err := message(client)
		if err != nil {
			return
		}
		var command bson.Raw
		if binary.LittleEndian.Uint32(m[12:]) == 2013 && m[20] == 0 { // OP_MSG, its body first
			command = bson.Raw(m[21:])
			command = command[:binary.LittleEndian.Uint32(command)]
		}
		reply := s.answer(command)
		if reply == nil {
			if _, err := server.Write(m); err != nil {
				return
			}
			r, err := message(server)
			if err != nil {
				return
			}
			if _, insert := command.Lookup("insert").StringValueOK(); insert {
				s.mu.Lock()
				close(s.news)
				s.news = make(chan struct{})
				s.mu.Unlock()
			}
			if _, err := client.Write(r); err != nil {
				return
			}
			continue
		}
		body, _ := bson.Marshal(reply)
		r := binary.LittleEndian.AppendUint32(nil, uint32(21+len(body)))
		r = binary.LittleEndian.AppendUint32(r, 1)
		r = append(r, m[4:8]...) // in response to
		r = binary.LittleEndian.AppendUint32(r, 2013)
		r = binary.LittleEndian.AppendUint32(r, 0)
		r = append(append(r, 0), body...)
		if _, err := client.Write(r); err != nil {
			return
		}
	}
}

// answer returns the reply to a command about change streams, and nil to others.
func (s *streams) answer(command bson.Raw) bson.M {
	s.mu.Lock()
	news, broken := s.news, s.broken
	s.mu.Unlock()
	if id, ok := command.Lookup("getMore").Int64OK(); ok && id == streamID {
		batch := bson.A{}
		select {
		case <-news:
			batch = append(batch, bson.M{"_id": bson.M{"_data": "1"}, "operationType": "insert"})
		case <-time.After(100 * time.Millisecond):
		}
		return bson.M{"ok": 1, "cursor": bson.M{"id": streamID, "ns": "db.tasks", "nextBatch": batch}}
	}
	if list, ok := command.Lookup("cursors").ArrayOK(); ok {
		if id, _ := list.Index(0).Int64OK(); id == streamID {
			s.mu.Lock()
			s.open--
			s.mu.Unlock()
			return bson.M{"ok": 1, "cursorsKilled": bson.A{streamID}}
		}
	}
	stages, ok := command.Lookup("pipeline").ArrayOK()
	if !ok {
		return nil
	}
	first, _ := stages.Index(0).DocumentOK()
	if first.Lookup("$changeStream").Type == 0 {
		return nil
	}
	if broken {
		return bson.M{"ok": 0, "code": 40573, "codeName": "Location40573", "errmsg": "The $changeStream stage is only supported on replica sets"}
	}
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	return bson.M{"ok": 1, "cursor": bson.M{"id": streamID, "ns": "db.tasks", "firstBatch": bson.A{}}}
}

// message reads one message of the wire protocol.
func message(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	m := make([]byte, binary.LittleEndian.Uint32(head))
	copy(m, head)
	_, err := io.ReadFull(r, m[4:])
	return m, err
}

func (s *streams) opened() int { s.mu.Lock(); defer s.mu.Unlock(); return s.open }

func TestWaitOnAStream(t *testing.T) {
	t.Parallel()
	if !mongotest.Builtin() {
		t.Skip("TestChangeStreams does it for real")
	}
	s := newStreams(t)
	database := mongotest.Database(t)
	through := func(c *mongodb.Settings) {
		c.Connection.URI = settings.Secret("mongodb://" + s.listener.Addr().String())
		c.PollInterval = time.Hour
	}
	a, b := open(t, database, through), open(t, database, through)
	defer b.Close()
	mongodb.HaveStreams(a)
	w := a.(brokers.Waiter)
	wait := func(ctx context.Context, once bool) <-chan error {
		done := make(chan error, 1)
		go func() {
			err := w.Wait(ctx)
			for err == nil && !once { // it may return early for no reason
				err = w.Wait(ctx)
			}
			done <- err
		}()
		require.Eventually(t, func() bool { return s.opened() == 1 }, 10*time.Second, time.Millisecond)
		return done
	}

	done := wait(t.Context(), true)
	require.NoError(t, b.Push(t.Context(), newTasks(1)))
	require.NoError(t, <-done, "an event ends it")
	ds, err := a.Lease(t.Context(), 1, time.Hour)
	require.NoError(t, err)
	require.Len(t, ds, 1)

	ctx, cancel := context.WithCancel(t.Context())
	done = wait(ctx, false)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, 1, s.opened(), "one stream serves all")

	mongodb.EndStream(a)
	require.Eventually(t, func() bool { return s.opened() == 0 }, 10*time.Second, time.Millisecond, "it ends when nobody waits")

	done = wait(t.Context(), false)
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-done, brokers.ErrClosed)
}

// TestStreamsFail has change streams fail where the server seemed to have them: the host looks
// for tasks by itself, and leaves the server in peace for a while.
func TestStreamsFail(t *testing.T) {
	t.Parallel()
	if !mongotest.Builtin() {
		t.Skip("there they work")
	}
	s := newStreams(t)
	s.broken = true
	b := open(t, mongotest.Database(t), func(c *mongodb.Settings) {
		c.Connection.URI = settings.Secret("mongodb://" + s.listener.Addr().String())
		c.PollInterval = 20 * time.Millisecond
	})
	defer b.Close()
	mongodb.HaveStreams(b)
	require.False(t, mongodb.StreamsRest(b))
	require.NoError(t, b.(brokers.Waiter).Wait(t.Context()))
	require.True(t, mongodb.StreamsRest(b))
	require.NoError(t, b.(brokers.Waiter).Wait(t.Context()))
}
