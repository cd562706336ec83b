package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("connection is closed")

// closeGrace is how long Close waits for calls that are under way before it cuts them.
const closeGrace = time.Second

// Client is an open connection pool. It is safe for concurrent use.
type Client struct {
	// Redis is go-redis' own client. Calls go through Do, which bounds them.
	Redis redis.UniversalClient
	// Cluster says that keys lie on several servers.
	Cluster bool

	where   string
	timeout time.Duration

	mu       sync.Mutex
	closed   bool
	dialFail error // why the latest try to connect failed; nil if it did not
	calls    sync.WaitGroup
}

// dialHook notes why connecting fails: the error of a call that tried until its time was over
// would not tell.
type dialHook struct{ c *Client }

func (h dialHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		h.c.mu.Lock()
		defer h.c.mu.Unlock()
		if err == nil || ctx.Err() == nil { // else it is the time limit that we want the reason of
			h.c.dialFail = err
		}
		return conn, err
	}
}

func (dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// quiet keeps go-redis from writing to stderr by itself: what matters comes back as an
// error of the call that met it.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Open connects and makes sure that the server answers. ctx bounds the opening only. The
// caller closes the client.
func (s *Settings) Open(ctx context.Context) (*Client, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	quiet()
	r, err := s.client()
	if err != nil {
		return nil, err
	}
	c := &Client{Redis: r, Cluster: s.Cluster, where: s.String(), timeout: s.Timeout}
	r.AddHook(dialHook{c})
	_, err = Do(ctx, c, func(ctx context.Context) (string, error) { return r.Ping(ctx).Result() }, nil)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// client makes the go-redis client that the settings ask for. RESP2 is enough for leptir
// and understood by all servers and proxies.
func (s *Settings) client() (redis.UniversalClient, error) {
	tlsConfig, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	const (
		name     = "leptir"
		protocol = 2
		dials    = 1 // go-redis tries calls again by itself
	)
	part := s.Timeout / 2 // so that one try more fits in
	switch {
	case s.MasterName != "":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.MasterName, SentinelAddrs: s.Addresses,
			SentinelUsername: s.SentinelUsername, SentinelPassword: s.SentinelPassword.Reveal(),
			ClientName: name, Protocol: protocol, DisableIdentity: true,
			Username: s.Username, Password: s.Password.Reveal(), DB: s.Database, TLSConfig: tlsConfig,
			DialTimeout: part, DialerRetries: dials, ReadTimeout: part, WriteTimeout: part,
			ContextTimeoutEnabled: true, PoolSize: s.PoolSize,
		}), nil
	case s.Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs:      s.addresses(),
			ClientName: name, Protocol: protocol, DisableIdentity: true,
			Username: s.Username, Password: s.Password.Reveal(), TLSConfig: tlsConfig,
			DialTimeout: part, DialerRetries: dials, ReadTimeout: part, WriteTimeout: part,
			ContextTimeoutEnabled: true, PoolSize: s.PoolSize, MaxRedirects: 8, DisableRoutingPolicies: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}), nil
	}
	network, addr := "tcp", s.addresses()[0]
	if s.Scheme == "unix" {
		network, addr = "unix", string(s.Path)
	}
	return redis.NewClient(&redis.Options{
		Network: network, Addr: addr,
		ClientName: name, Protocol: protocol, DisableIdentity: true,
		Username: s.Username, Password: s.Password.Reveal(), DB: s.Database, TLSConfig: tlsConfig,
		DialTimeout: part, DialerRetries: dials, ReadTimeout: part, WriteTimeout: part,
		ContextTimeoutEnabled: true, PoolSize: s.PoolSize,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}), nil
}

// Do runs call, which talks to the server, and returns its result: at the latest when ctx
// or the time limit of the settings ends. A call that ctx leaves behind comes to its end in
// the background; if it succeeds there, abandoned (which may be nil) gets the result that
// nobody waits for any more, and may undo it. The call must touch nothing that its caller
// may change afterwards.
func Do[T any](ctx context.Context, c *Client, call func(context.Context) (T, error), abandoned func(context.Context, T)) (T, error) {
	var none T
	if !c.begin() {
		return none, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		c.calls.Done()
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	results := make(chan result) // unbuffered: either the caller takes the result or abandoned does
	go func() {
		defer c.calls.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		value, err := call(bounded)
		if err != nil {
			err = c.explain(err)
		}
		select {
		case results <- result{value, err}:
		case <-ctx.Done():
			if err == nil && abandoned != nil {
				again, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
				defer cancel()
				abandoned(again, value)
			}
		}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Usable returns the error with which a call would return at once: ErrClosed, or that of
// ctx.
func (c *Client) Usable(ctx context.Context) error {
	if !c.begin() {
		return ErrClosed
	}
	c.calls.Done()
	return ctx.Err()
}

// begin counts a call in, unless the client is closed.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.calls.Add(1)
	return true
}

// Close waits shortly for the calls that are under way, ends them and closes all
// connections. A second Close does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		c.calls.Wait()
		close(ended)
	}()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
	err := c.Redis.Close()
	<-ended
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
