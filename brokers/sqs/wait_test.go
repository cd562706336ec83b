package sqs

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// An idle host asks SQS once for each wait_time, and nothing else.
func TestIdleRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		f.reset()
		leaseNone(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		t.Logf("requests of an idle hour: %d", f.total())
		require.Equal(t, f.total(), f.count("ReceiveMessage")+f.count("ListQueueTags"))
		require.LessOrEqual(t, f.total(), 1+180+1+1)
	})
}

// Work is done in batches of ten: what a hundred tasks cost.
func TestBusyRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		f.reset()
		push(t, b, tasks(100)...)
		require.Equal(t, 10, f.total())
		f.reset()
		ds, err := b.Lease(t.Context(), 100, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 100)
		require.Equal(t, 10+1, f.total(), "ten receives, and a look for a pause")
		f.reset()
		lost, err := b.Extend(t.Context(), time.Minute, ds)
		require.NoError(t, err)
		require.Empty(t, lost)
		require.Equal(t, 10, f.total())
		f.reset()
		var ss []brokers.Settlement
		for _, d := range ds {
			ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
		}
		_, err = b.Settle(t.Context(), ss)
		require.NoError(t, err)
		require.Equal(t, 10, f.total())
	})
}

// One task, pushed while the host waits: it is picked up at once and costs four requests in
// all, none of them a receive for nothing, and one to see whether the queue is paused.
func TestOneTaskRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		host, producer := f.open(t), f.open(t)
		defer host.Close()
		defer producer.Close()
		leaseNone(t, host)
		f.reset()
		var pushed time.Time
		time.AfterFunc(7*time.Second, func() {
			pushed = time.Now()
			push(t, producer, task.Task{ID: "t", Type: "a"})
		})
		require.NoError(t, host.Wait(t.Context()))
		require.Equal(t, pushed, time.Now())
		d := lease1(t, host)
		require.Equal(t, time.Now().Add(30*time.Second), d.Until)
		settle1(t, host, d, brokers.Done, time.Time{}, "")
		require.Equal(t, map[string]int{"SendMessageBatch": 1, "ReceiveMessage": 1, "ChangeMessageVisibilityBatch": 1, "DeleteMessageBatch": 1, "ListQueueTags": 1}, f.calls)
	})
}

// Stats costs a request, and one more for the dead letters every few seconds.
func TestStatsRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		f.reset()
		for range 10 {
			_, err := b.Stats(t.Context())
			require.NoError(t, err)
			time.Sleep(500 * time.Millisecond)
		}
		require.Equal(t, 11, f.total())
	})
}

// A host that is idle, and looks into the queue and counts it every half a
// second as well as waiting, costs little more than its long polls.
func TestIdleHostRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for b.Wait(ctx) == nil {
			}
		}()
		time.Sleep(time.Second)
		f.reset()
		for ctx.Err() == nil {
			leaseNone(t, b)
			st, err := b.Stats(t.Context())
			require.NoError(t, err)
			require.Zero(t, st)
			time.Sleep(470 * time.Millisecond)
		}
		<-done
		t.Logf("requests in ten idle minutes: %d long polls, %d counts", f.count("ReceiveMessage"), f.count("GetQueueAttributes"))
		require.LessOrEqual(t, f.count("ReceiveMessage"), 31)
		require.LessOrEqual(t, f.count("GetQueueAttributes"), 2*61)
		require.Equal(t, f.total(), f.count("ReceiveMessage")+f.count("GetQueueAttributes"))

		// Nothing is missed for it: a task is picked up at once.
		require.NoError(t, b.Close())
		b = f.open(t)
		defer b.Close()
		wctx, wcancel := context.WithTimeout(t.Context(), time.Minute)
		defer wcancel()
		go func() { time.Sleep(5 * time.Second); push(t, b, task.Task{ID: "t", Type: "a"}) }()
		began := time.Now()
		require.NoError(t, b.Wait(wctx))
		require.Equal(t, 5*time.Second, time.Since(began))
		lease1(t, b)
	})
}

// What a long poll has brought counts as ready until it is leased; where nobody leases it
// soon it goes back, uncharged.
func TestPolledTaskGoesBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		a, b := f.open(t), f.open(t)
		defer a.Close()
		defer b.Close()
		push(t, a, task.Task{ID: "t", Type: "a"})
		require.NoError(t, a.Wait(t.Context()))
		require.NoError(t, a.Wait(t.Context()), "it is still there")
		s, err := a.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, brokers.Stats{Ready: 1}, s)
		leaseNone(t, b)
		time.Sleep(holdTime + time.Second)
		d := lease1(t, b)
		require.Zero(t, d.Lost, "it was received, not leased")
		require.Equal(t, 1, d.Sequence)
		require.Equal(t, 1, d.Attempt)
		leaseNone(t, a)
	})
}

// The end of a Wait does not cut the long poll short, or it might take a message with it.
func TestWaitLeavesThePollAlone(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		push(t, b, task.Task{ID: "t", Type: "a"})
		time.Sleep(time.Millisecond) // the poll receives it
		require.Zero(t, lease1(t, b).Lost)
	})
}

// Close gives back what a long poll has brought.
func TestCloseGivesBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		a, b := f.open(t), f.open(t)
		defer b.Close()
		push(t, a, tasks(3)...)
		_, err := a.Lease(t.Context(), 0, time.Minute)
		require.NoError(t, err)
		a.asked = 5
		require.NoError(t, a.Wait(t.Context()))
		require.NoError(t, a.Close())
		ds, err := b.Lease(t.Context(), 5, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 3)
		for _, d := range ds {
			require.Zero(t, d.Lost)
		}
	})
}

// A long poll takes no more than the host asked for last.
func TestPollTakesNoMoreThanAsked(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		a, b := f.open(t), f.open(t)
		defer a.Close()
		defer b.Close()
		_, err := a.Lease(t.Context(), 2, time.Minute)
		require.NoError(t, err)
		push(t, b, tasks(9)...)
		require.NoError(t, a.Wait(t.Context()))
		ds, err := b.Lease(t.Context(), 20, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 7)
		ds, err = a.Lease(t.Context(), 20, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 2)
	})
}

// A long poll that fails ends the Wait with the reason, and the next Wait tries again.
func TestWaitFails(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		f.refuse = func(string) (int, string) { return http.StatusForbidden, "ExpiredToken" }
		require.ErrorContains(t, b.Wait(t.Context()), "renew them")
		f.refuse = nil
		push(t, b, task.Task{ID: "t", Type: "a"})
		require.NoError(t, b.Wait(t.Context()))
		lease1(t, b)
	})
}
