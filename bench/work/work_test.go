package work

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, text := range []string{"noop", "sleep:1ms", "spin:1ms"} {
		do, err := Parse(text)
		require.NoError(t, err, text)
		begin := time.Now()
		do()
		if text != "noop" {
			require.GreaterOrEqual(t, time.Since(begin), time.Millisecond, text)
		}
	}
	for _, text := range []string{"", "dream:1ms", "sleep:soon", "sleep"} {
		_, err := Parse(text)
		require.Error(t, err, text)
	}
}

func TestStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenPacket("unixgram", path)
	require.NoError(t, err)
	defer conn.Close()
	t.Setenv(SocketVariable, path)
	at := Now()
	require.NoError(t, Stamp(at))
	buf := make([]byte, 64)
	n, _, err := conn.ReadFrom(buf)
	require.NoError(t, err)
	got, err := StampOf(buf[:n])
	require.NoError(t, err)
	require.Equal(t, at, got)
	_, err = StampOf(buf[:5])
	require.Error(t, err)
}

func TestText(t *testing.T) {
	require.Len(t, Text(1024), 1024)
	require.Len(t, Text(1), 1)
}
