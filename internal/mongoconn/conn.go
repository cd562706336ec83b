package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// closeLimit bounds how long Close takes to say goodbye to the server.
const closeLimit = 5 * time.Second

// Conn is an open connection: a pool of them, that the driver keeps alive by itself. It is
// safe for concurrent use.
type Conn struct {
	// DB is for whatever must see what was written last, and for writes: it reads from the
	// primary, and writes are acknowledged by a majority unless the settings say otherwise.
	DB *mongo.Database
	// Reports is for reads that may lag behind: it reads from where the settings'
	// readPreference says.
	Reports *mongo.Database

	client  *mongo.Client
	who     string
	closed  error
	timeout time.Duration

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	mu      sync.Mutex // held to begin a call, and to begin closing
	calls   sync.WaitGroup
}

// Open connects to the server. who names the user of the connection in errors (`broker
// "default"`), and closed is what they wrap after Close. ctx bounds the opening only.
func Open(ctx context.Context, s *Settings, who string, closed error) (*Conn, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	uri, err := s.uri()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	if err := check(uri); err != nil { // again: of mongodb+srv it is known only now
		return nil, fmt.Errorf("%s: %w", who, err)
	}
	o := options.Client().ApplyURI(uri)
	if o.AppName == nil {
		o.SetAppName("leptir")
	}
	if o.WriteConcern == nil {
		o.SetWriteConcern(writeconcern.Majority())
	}
	if o.ConnectTimeout == nil {
		o.SetConnectTimeout(s.Timeout)
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, fmt.Errorf("%s: MongoDB at %s: %w", who, s.Address(), reason(uri, err))
	}
	c := &Conn{
		DB:      client.Database(s.Database, options.Database().SetReadPreference(readpref.Primary())),
		Reports: client.Database(s.Database),
		client:  client, who: who, closed: closed, timeout: s.Timeout,
	}
	c.closing, c.close = context.WithCancel(context.Background())
	err = c.Do(ctx, "connect to MongoDB at "+s.Address(), func(ctx context.Context) error {
		return client.Ping(ctx, readpref.Primary())
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Closing returns a channel that is closed when Close begins.
func (c *Conn) Closing() <-chan struct{} { return c.closing.Done() }

// Closed returns the error of a call after Close, and nil before.
func (c *Conn) Closed() error {
	if c.closing.Err() == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.who, c.closed)
}

// Do makes a call to the server: f with a ctx that also ends at the settings' time limit and
// with Close. what says in errors what it was about.
func (c *Conn) Do(ctx context.Context, what string, f func(context.Context) error) error {
	return c.DoWithin(ctx, c.timeout, what, f)
}

// DoWithin is Do with another time limit; 0 is none.
func (c *Conn) DoWithin(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	c.mu.Lock()
	if err := c.Closed(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.calls.Add(1)
	c.mu.Unlock()
	defer c.calls.Done()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %s: %w", c.who, what, err)
	}

	limited, cancel := context.WithCancel(ctx)
	if limit > 0 {
		limited, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	err := f(limited)
	if err == nil {
		return nil
	}
	if err := c.Closed(); err != nil {
		return err
	}
	// The server is told the deadline and may be the first to notice it; the error is then
	// not ctx's, though it means the same.
	deadline, _ := ctx.Deadline()
	own, _ := limited.Deadline()
	switch {
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%s: %s: %w (%w)", c.who, what, ctx.Err(), err)
	case ctx.Err() == nil && mongo.IsTimeout(err) && own.Equal(deadline) && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %s: %w (%w)", c.who, what, context.DeadlineExceeded, err)
	case ctx.Err() == nil && limited.Err() != nil:
		return fmt.Errorf("%s: %s: no answer within %v: %w", c.who, what, limit, err)
	}
	return fmt.Errorf("%s: %s: %w", c.who, what, err)
}

// Close ends running calls and disconnects. A second Close does nothing.
func (c *Conn) Close() error {
	c.mu.Lock()
	first := c.closing.Err() == nil
	c.close()
	c.mu.Unlock()
	if !first {
		return nil
	}
	c.calls.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	if err := c.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("%s: disconnect: %w", c.who, err)
	}
	return nil
}

// Refused reports whether an error is the server's answer to a command that it understood but
// does not carry out, rather than a failure to reach it or to wait for it.
func Refused(err error) bool {
	_, answered := errors.AsType[mongo.CommandError](err)
	return answered && !mongo.IsNetworkError(err) && !mongo.IsTimeout(err)
}
