package sqs

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// A busy host learns of a pause within pauseAge, an idle one before it hands a task out, and
// none of the tasks counts as lost for it.
func TestPauseIsSeenInTime(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		busy, operator := f.open(t), f.open(t)
		defer busy.Close()
		defer operator.Close()
		push(t, operator, tasks(100)...)
		settle1(t, busy, lease1(t, busy), brokers.Done, time.Time{}, "")
		require.NoError(t, operator.Pause(t.Context()))
		time.Sleep(pauseAge + time.Millisecond)
		leaseNone(t, busy)

		idle := f.open(t)
		defer idle.Close()
		require.NoError(t, idle.Wait(t.Context()), "it does not know of the pause yet, and is brought a task")
		leaseNone(t, idle)
		waited := make(chan error, 1)
		go func() { waited <- idle.Wait(t.Context()) }()
		time.Sleep(time.Minute)
		require.Empty(t, waited, "it waits as long as the queue is paused")
		require.NoError(t, operator.Resume(t.Context()))
		require.NoError(t, <-waited)
		for range 99 {
			d := lease1(t, idle)
			require.Zero(t, d.Lost)
			require.Equal(t, 1, d.Attempt)
		}
	})
}

// Where the tags cannot be looked at, work goes on, one line in the log says so, and pausing
// says what is missing.
func TestTagsAreForbidden(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		f.refuse = func(op string) (int, string) {
			if strings.Contains(op, "Tag") {
				return 400, "AccessDenied"
			}
			return 0, ""
		}
		var log strings.Builder
		b := f.openWith(t, f.settings(), slog.NewTextHandler(&log, nil))
		defer b.Close()
		push(t, b, tasks(20)...)
		for range 20 {
			settle1(t, b, lease1(t, b), brokers.Done, time.Time{}, "")
			time.Sleep(time.Minute)
		}
		require.Equal(t, 1, strings.Count(log.String(), "sqs:ListQueueTags"), log.String())
		require.LessOrEqual(t, f.count("ListQueueTags"), 6)
		require.ErrorContains(t, b.Pause(t.Context()), "AccessDenied")
		_, err := b.Paused(t.Context())
		require.ErrorContains(t, err, "tags")
	})
}

// A pause that is in force stays so while SQS does not answer.
func TestPauseOutlivesFaults(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, tasks(1)...)
		require.NoError(t, b.Pause(t.Context()))
		f.refuse = func(op string) (int, string) {
			if op == "ListQueueTags" {
				return 503, "ServiceUnavailable"
			}
			return 0, ""
		}
		for range 10 {
			time.Sleep(pauseAge)
			leaseNone(t, b)
		}
		f.refuse = nil
		require.NoError(t, b.Resume(t.Context()))
		lease1(t, b)
	})
}

// A host whose clock is wrong by minutes delays its retries no more than others do.
func TestSkewedHostRetries(t *testing.T) {
	for _, skew := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				f.skew = skew
				b := f.open(t)
				defer b.Close()
				push(t, b, task.Task{ID: "t", Type: "a"})
				d := lease1(t, b)
				require.InDelta(t, skew.Seconds(), b.Skew().Seconds(), 2)
				settle1(t, b, d, brokers.Retry, time.Now().Add(10*time.Second).Add(b.Skew()), "later")
				began := time.Now()
				d = wait(t, b)
				require.Equal(t, 2, d.Attempt)
				require.WithinRange(t, time.Now(), began.Add(8*time.Second), began.Add(14*time.Second))
			})
		})
	}
}
