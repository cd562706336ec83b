package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The watchdog is fed only while there is proof that the host works. This test is not
// parallel: it sets the environment.
func TestWatchdogWantsProof(t *testing.T) {
	dir, err := os.MkdirTemp("", "watch") // t.TempDir can be too long for a socket
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000")
	var log strings.Builder
	n := newNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	var stuck atomic.Bool
	asked := make(chan struct{}, 1000)
	n.watch(func(ctx context.Context) error {
		asked <- struct{}{}
		if stuck.Load() {
			<-ctx.Done()
			return errors.Join(errors.New("the feeding of tasks does not answer"), ctx.Err())
		}
		return nil
	})
	fed := func(within time.Duration) bool {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
		b := make([]byte, 100)
		k, err := conn.Read(b)
		if err == nil {
			require.Equal(t, "WATCHDOG=1", string(b[:k]))
		}
		return err == nil
	}
	for range 3 {
		require.True(t, fed(30*time.Second))
	}
	stuck.Store(true)
	for fed(500 * time.Millisecond) { // what was on its way
	}
	for len(asked) > 0 {
		<-asked
	}
	<-asked
	<-asked
	require.False(t, fed(200*time.Millisecond), "it is asked, does not answer, and is not fed")
	stuck.Store(false)
	require.True(t, fed(30*time.Second), "until it answers again")
	n.close()
	require.Equal(t, 1, strings.Count(log.String(), "the host does not answer"), log.String())
}

func TestNoServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	var log strings.Builder
	n := newNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	n.watch(func(context.Context) error { panic("nobody asks") })
	n.ready("x")
	n.reloading()
	n.close()
	require.Empty(t, log.String())
}
