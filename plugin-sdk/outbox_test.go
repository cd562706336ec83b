//go:build linux

package sdk

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// sent runs f in a bubble of time, with an outbox, and returns after how long which numbers of
// events were sent together.
func sent(t *testing.T, f func(o *outbox)) (batches []batch) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(memoryMark())
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = o.sendAll(func(m *pluginpb.PluginMessage) error {
				batches = append(batches, batch{time.Since(begin), len(m.Events)})
				return nil
			})
		}()
		synctest.Wait()
		f(o)
		o.close()
		<-done
	})
	return batches
}

type batch struct {
	at     time.Duration
	events int
}

func (o *outbox) result(more int) {
	e, r := newResult()
	o.putResult(e, resultSize(r), more)
	synctest.Wait()
}

// Results of short tasks leave together while the process has more to do, and none waits long.
func TestResultsLeaveTogether(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		do   func(o *outbox)
		want []batch
	}{
		"the first goes at once": {func(o *outbox) { o.result(100) }, []batch{{0, 1}}},
		"those that follow wait for each other, for a while": {func(o *outbox) {
			for range 45 {
				o.result(100)
				time.Sleep(ms)
			}
		}, []batch{{0, 1}, {30 * ms, 30}, {45 * ms, 14}}},
		"the beat is that of the clock": {func(o *outbox) {
			time.Sleep(27 * ms)
			for range 10 {
				o.result(100)
				time.Sleep(ms)
			}
		}, []batch{{27 * ms, 1}, {30 * ms, 3}, {37 * ms, 6}}},
		"what the mark has no room for goes at once": {func(o *outbox) {
			o.result(100)
			o.result(100)
			e, r := newResult()
			r.Meta = make([]byte, protocol.ShelfBytes)
			o.putResult(e, resultSize(r), 100)
			synctest.Wait()
			time.Sleep(ms)
			o.result(100)
			o.result(100)
		}, []batch{{0, 1}, {0, 2}, {ms, 2}}},
		"the last ones are not held back": {func(o *outbox) {
			for more := range 4 {
				o.result(3 - more)
			}
		}, []batch{{0, 1}, {0, 2}, {0, 1}}},
		"nor are more than the process has yet to do": {func(o *outbox) {
			for done := range 100 {
				o.result(99 - done)
			}
		}, []batch{{0, 1}, {0, 50}, {0, 25}, {0, 12}, {0, 6}, {0, 3}, {0, 2}, {0, 1}}},
		"a long task holds none back": {func(o *outbox) {
			o.result(100)
			time.Sleep(ms)
			o.result(100)
			time.Sleep(time.Minute)
		}, []batch{{0, 1}, {beat + afterBeat, 1}}},
		"whatever else is to be told takes them along": {func(o *outbox) {
			o.result(100)
			o.result(100)
			o.putLog(&pluginpb.Log{Id: "1", Message: "hello"})
			synctest.Wait()
			time.Sleep(ms)
			o.result(100)
			o.put(&pluginpb.Event{}, 1)
			synctest.Wait()
		}, []batch{{0, 1}, {0, 2}, {ms, 2}}},
		"the end takes them along": {func(o *outbox) {
			o.result(100)
			o.result(100)
		}, []batch{{0, 1}, {0, 1}}},
		"broken off": {func(o *outbox) {
			o.result(100)
			o.result(100)
			o.breakOff()
		}, []batch{{0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, sent(t, c.do))
		})
	}
}

// Without a mark nothing would be left of held results after a crash: none is held.
func TestNothingIsHeldWithoutAMark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(nil)
		sends := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = o.sendAll(func(m *pluginpb.PluginMessage) error { sends++; return nil })
		}()
		for range 5 {
			o.result(100)
		}
		require.Equal(t, 5, sends)
		o.close()
		<-done
	})
}

// Few results that are about to leave are worth waiting for, those of the shortest tasks not.
func TestFewResultsLeaveFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(memoryMark()) // nobody sends
		put := func(more int) bool {
			e, r := newResult()
			return o.putResult(e, resultSize(r), more)
		}
		require.True(t, put(100), "the first goes at once")
		o.take()
		require.False(t, put(100), "held back")
		require.True(t, put(1), "few are left to run")
		o.take()
		for range fewResults {
			require.False(t, put(100))
		}
		require.False(t, put(1), "too many to wait for")
	})
}

// When a result can be seen, its process is idle: the host may end it at once.
func TestIdleOnceAnswered(t *testing.T) {
	t.Parallel()
	in, out := newInbox(), newOutbox(nil)
	in.busy = true
	x := newExecutor(t.Context(), nil, in, out)
	x.job = job{msg: taskOf("t", "1"), refused: true, failure: &pluginpb.Failure{Message: "no"}}
	require.False(t, in.idle())
	x.send()
	require.True(t, in.idle())
	events, ok := out.take()
	require.True(t, ok)
	require.Len(t, events, 1)
}
