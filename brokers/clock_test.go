package brokers_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func TestServerClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c brokers.ServerClock
		require.Zero(t, c.Skew(time.Now()), "nothing is known")
		c.Set(time.Now().Add(time.Minute))
		require.Equal(t, time.Minute, c.Skew(time.Now()))
		time.Sleep(time.Hour)
		require.Equal(t, time.Minute, c.Skew(time.Now()))
		require.Equal(t, -4*time.Minute, c.Skew(time.Now().Add(5*time.Minute)), "the machine's clock has jumped since")
		c.Set(time.Now().Add(1900 * time.Millisecond))
		require.Zero(t, c.Skew(time.Now()), "the way of an answer")
		require.Equal(t, 7*time.Minute+1900*time.Millisecond, c.Skew(time.Now().Add(-7*time.Minute)))
	})
}
