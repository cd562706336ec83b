package sqlite

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/brokertest"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/task"
)

// clock is a clock that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// open opens the queue in a file.
func open(tb testing.TB, path string, now func() time.Time) *Broker {
	tb.Helper()
	s := Defaults()
	s.Path = settings.Path(path)
	b, err := s.Open(context.Background(), brokers.Env{Name: "test", Logger: slog.New(slog.DiscardHandler), Now: now})
	require.NoError(tb, err)
	return b.(*Broker)
}

var harness = brokertest.Harness{
	NewQueue: func(tb testing.TB) brokertest.Queue {
		c := &clock{now: time.Now()}
		path := filepath.Join(tb.TempDir(), "q.db")
		return brokertest.Queue{
			Open:      func(tb testing.TB) brokers.Broker { return open(tb, path, c.Now) },
			InjectRaw: func(tb testing.TB, raw []byte) { injectRaw(tb, path, string(task.NewID()), raw) },
			Now:       c.Now,
			Advance:   c.Advance,
		}
	},
}

// injectRaw puts a row into the table as another program would.
func injectRaw(tb testing.TB, path, id string, raw []byte) {
	tb.Helper()
	db, err := sqlitedb.Open(context.Background(), sqlitedb.Options{Path: path})
	require.NoError(tb, err)
	require.NoError(tb, db.Write(context.Background(), func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`INSERT INTO tasks(id,state,at,due,body) VALUES(?,0,0,0,?)`, id, raw)
		return err
	}))
	require.NoError(tb, db.Close())
}

func TestConformance(t *testing.T) { brokertest.Run(t, harness) }

func BenchmarkBroker(b *testing.B) {
	h := harness
	h.NewQueue = func(tb testing.TB) brokertest.Queue {
		path := filepath.Join(tb.TempDir(), "q.db")
		return brokertest.Queue{Open: func(tb testing.TB) brokers.Broker { return open(tb, path, nil) }}
	}
	brokertest.Bench(b, h)
}
