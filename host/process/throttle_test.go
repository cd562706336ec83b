package process

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// One that takes long to be stopped neither keeps others from being looked at for longer than that, nor makes
// theirs be looked at by a clock that has stood still.
func TestThrottleOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &Launcher{throttling: make(chan *throttled, throttleQueue), quit: make(chan struct{})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.throttleAll()
		}()
		over := make(chan struct{})
		slow := &throttled{done: over, look: func(time.Time) time.Duration {
			time.Sleep(time.Second)
			return 3 * time.Second
		}}
		last, looks := time.Now(), 0
		quick := &throttled{done: over, look: func(now time.Time) time.Duration {
			require.Equal(t, time.Now(), now)
			require.LessOrEqual(t, now.Sub(last), time.Second+50*time.Millisecond+throttleRest)
			last, looks = now, looks+1
			return 50 * time.Millisecond
		}}
		once := 0
		released := &throttled{done: over, look: func(time.Time) time.Duration {
			once++
			return 0
		}}
		l.throttling <- slow
		l.throttling <- released
		l.throttling <- quick
		time.Sleep(40 * time.Second)
		synctest.Wait()
		require.Greater(t, looks, 200, "10 seconds were lost")
		require.Equal(t, 1, once)
		close(over)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		seen := looks
		time.Sleep(5 * time.Second)
		require.Equal(t, seen, looks, "the dead are not looked at")
		close(l.quit)
		<-ended
	})
}
