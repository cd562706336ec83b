package redisserver

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Of two servers that were given the same port, the second one does not take the first one's
// answers for its own.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	first := Start(t)
	second := &Server{Host: first.Host, Port: first.Port, Dir: t.TempDir(), path: first.path}
	require.ErrorContains(t, second.run(), "ended")
	require.Equal(t, "PONG", first.Do("PING"))
}
