package redisserver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/internal/testservers/redisserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redisserver.EndWith(m)) }

func TestStartKillRestart(t *testing.T) {
	t.Parallel()
	s := redisserver.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	require.Equal(t, "OK", s.Do("SET", "a", "1\r\n2"))
	s.Kill()
	s.Restart()
	require.Equal(t, "1\r\n2", s.Do("GET", "a"))
}

func TestSharedIsOne(t *testing.T) {
	t.Parallel()
	require.True(t, strings.HasPrefix(redisserver.URL(t), "redis"))
	require.Equal(t, redisserver.URL(t), redisserver.URL(t))
}

func TestClusterAndSentinel(t *testing.T) {
	t.Parallel()
	c := redisserver.StartCluster(t)
	require.Contains(t, c[2].Do("CLUSTER", "INFO"), "cluster_slots_ok:16384")
	master := redisserver.Start(t)
	sentinel := redisserver.StartSentinel(t, master)
	require.Eventually(t, func() bool {
		return strings.Contains(sentinel.Do("INFO", "sentinel"), "name=mymaster,status=ok")
	}, 20*time.Second, 20*time.Millisecond)
}
