package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/redisserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redisserver.EndWith(m)) }

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Settings)
		want   string // "" is no error
		where  string
	}{
		{"defaults", func(*Settings) {}, "", "localhost:6379"},
		{"tls", func(s *Settings) { s.Scheme, s.TLS.ServerName = "tls", "x" }, "", "localhost:6379"},
		{"ipv6", func(s *Settings) { s.Host = "::1" }, "", "[::1]:6379"},
		{"unix", func(s *Settings) { s.Scheme, s.Path = "unix", "/run/redis.sock" }, "", "/run/redis.sock"},
		{"cluster by host", func(s *Settings) { s.Cluster = true }, "", "cluster [localhost:6379]"},
		{"cluster", func(s *Settings) { s.Cluster, s.Addresses = true, []string{"a:1", "b:2"} }, "", "cluster [a:1 b:2]"},
		{"sentinels", func(s *Settings) { s.MasterName, s.Addresses = "m", []string{"a:1"} }, "", `master "m" of sentinels [a:1]`},
		{"scheme", func(s *Settings) { s.Scheme = "http" }, `scheme is "http"; it can be "tcp", "tls" or "unix"`, ""},
		{"no path", func(s *Settings) { s.Scheme = "unix" }, `scheme "unix" needs path`, ""},
		{"path without unix", func(s *Settings) { s.Path = "/x" }, `path is the socket of scheme "unix", the scheme is "tcp"`, ""},
		{"unix cluster", func(s *Settings) { s.Scheme, s.Path, s.Cluster = "unix", "/x", true }, `scheme "unix" reaches one server`, ""},
		{"tls without tls", func(s *Settings) { s.TLS.SkipVerify = true }, `the tls block is for scheme "tls"`, ""},
		{"half a certificate", func(s *Settings) { s.Scheme, s.TLS.KeyFile = "tls", "k" }, "cert_file and key_file go together", ""},
		{"no host", func(s *Settings) { s.Host = "" }, "host must not be empty", ""},
		{"both", func(s *Settings) { s.Cluster, s.MasterName, s.Addresses = true, "m", []string{"a:1"} }, "exclude each other", ""},
		{"cluster database", func(s *Settings) { s.Cluster, s.Database = true, 2 }, "a cluster has only database 0, not 2", ""},
		{"no sentinels", func(s *Settings) { s.MasterName = "m" }, "master_name needs addresses", ""},
		{"addresses alone", func(s *Settings) { s.Addresses = []string{"a:1"} }, "addresses needs cluster = true, or master_name", ""},
		{"address", func(s *Settings) { s.Cluster, s.Addresses = true, []string{"a"} }, `"a" is not of the form "host:port"`, ""},
		{"timeout", func(s *Settings) { s.Timeout = 0 }, "timeout must be above 0", ""},
	} {
		s := Defaults()
		c.change(&s)
		if c.want != "" {
			require.ErrorContains(t, s.Validate(), c.want, c.name)
			_, err := s.Open(t.Context())
			require.ErrorContains(t, err, c.want, c.name)
			continue
		}
		require.NoError(t, s.Validate(), c.name)
		require.Equal(t, c.where, s.String(), c.name)
	}
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct {
		tls  TLS
		want string
	}{
		{TLS{CAFile: settings.Path(empty + ".gone")}, "ca_file: open " + empty + ".gone"},
		{TLS{CAFile: settings.Path(empty)}, "ca_file: " + empty + " holds no certificate"},
		{TLS{CertFile: settings.Path(empty), KeyFile: settings.Path(empty)}, "cert_file and key_file: "},
	} {
		s := Defaults()
		s.Scheme, s.TLS = "tls", c.tls
		_, err := s.Open(t.Context())
		require.ErrorContains(t, err, c.want)
	}
}

func open(t *testing.T, timeout time.Duration) *Client {
	o, err := redis.ParseURL(redisserver.URL(t))
	require.NoError(t, err)
	s := Defaults()
	_, err = fmt.Sscanf(o.Addr, "127.0.0.1:%d", &s.Port)
	if err != nil {
		t.Skipf("these tests are of a server on 127.0.0.1, not %s", o.Addr)
	}
	s.Host, s.Username, s.Password, s.Timeout = "127.0.0.1", o.Username, settings.Secret(o.Password), timeout
	c, err := s.Open(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestDo(t *testing.T) {
	t.Parallel()
	c := open(t, 10*time.Second)
	v, err := Do(t.Context(), c, func(context.Context) (int, error) { return 7, nil }, nil)
	require.NoError(t, err)
	require.Equal(t, 7, v)

	// The caller goes, the call goes on, and its result is handed over.
	ctx, cancel := context.WithCancel(t.Context())
	handed, release := make(chan int, 1), make(chan struct{})
	_, err = Do(ctx, c, func(inner context.Context) (int, error) {
		cancel()
		<-release
		return 8, inner.Err()
	}, func(_ context.Context, v int) { handed <- v })
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	require.Equal(t, 8, <-handed)

	// A ctx that has ended starts nothing.
	_, err = Do(ctx, c, func(context.Context) (int, error) { panic("called") }, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.Usable(ctx), context.Canceled)
}

func TestDoHasALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	c := open(t, 200*time.Millisecond)
	_, err := Do(context.Background(), c, func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, nil)
	require.ErrorContains(t, err, "no answer within 200ms")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestCloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	c := open(t, 10*time.Second)
	begun := make(chan struct{})
	var ended atomic.Bool
	errs := make(chan error, 1)
	go func() {
		_, err := Do(context.Background(), c, func(ctx context.Context) (int, error) {
			close(begun)
			time.Sleep(50 * time.Millisecond)
			ended.Store(true)
			return 0, c.Redis.Ping(ctx).Err()
		}, nil)
		errs <- err
	}()
	<-begun
	require.NoError(t, c.Close())
	require.True(t, ended.Load())
	require.NoError(t, <-errs, "a call that was under way may end")
	_, err := Do(t.Context(), c, func(context.Context) (int, error) { panic("called") }, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, c.Usable(t.Context()), ErrClosed)
}

func TestScript(t *testing.T) {
	t.Parallel()
	c := open(t, 10*time.Second)
	s := NewScript(`return {KEYS[1], ARGV[1], false}`)
	require.False(t, s.once)
	require.True(t, s.Once().once)
	for range 2 {
		reply, err := s.Run(t.Context(), c, []string{"k"}, []any{5})
		require.NoError(t, err)
		require.Equal(t, []any{"k", "5", nil}, reply)
	}
	_, err := NewScript(`return redis.error_reply('oh no')`).Run(t.Context(), c, []string{"k"}, nil)
	require.ErrorContains(t, err, "oh no")
}

func TestExplain(t *testing.T) {
	t.Parallel()
	c := &Client{where: "h:1", timeout: time.Second}
	for in, want := range map[string]string{
		"WRONGPASS invalid username-password pair or user is disabled.":                                "redis at h:1: the username or the password is wrong: WRONGPASS",
		"NOAUTH Authentication required.":                                                              "set password",
		"OOM command not allowed when used memory > 'maxmemory'. script: 0f, on @user_script:1.":       "the server's memory is full (maxmemory), nothing was written",
		"ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write against it": "the server is a read-only replica",
		"LOADING Redis is loading the dataset in memory":                                               "the server is still loading its data",
		"MOVED 1 127.0.0.1:1":                   "set cluster = true",
		"ERR something that nobody has thought": "redis at h:1: ERR something that nobody has thought",
	} {
		got := c.explain(errors.New(in))
		require.ErrorContains(t, got, want)
		require.ErrorContains(t, got, in)
	}
	require.Equal(t, redis.Nil, c.explain(redis.Nil))
	require.Equal(t, ErrClosed, c.explain(fmt.Errorf("x: %w", redis.ErrClosed)))
	c.dialFail = errors.New("x509: certificate has expired")
	got := c.explain(context.DeadlineExceeded)
	require.EqualError(t, got, "redis at h:1: no connection within 1s: x509: certificate has expired")
	c.closed = true
	require.Equal(t, ErrClosed, c.explain(errors.New("use of closed network connection")))
}
