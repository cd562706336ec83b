package sqs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// inVirtualTime runs a test against the fake in the virtual time of testing/synctest.
func inVirtualTime(t *testing.T, run func(t *testing.T, f *fake)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { run(t, newFake()) })
}

// idle waits and leases as a host with nothing else to do, until a task comes. To save the
// test time it only looks now and then until the task is due within half an hour.
func idle(t *testing.T, b *Broker, due time.Time) brokers.Delivery {
	t.Helper()
	for time.Until(due) > 30*time.Minute {
		leaseNone(t, b)
		time.Sleep(10 * time.Minute)
	}
	return wait(t, b)
}

// wait waits and leases until a task comes, which must be within two hours.
func wait(t *testing.T, b *Broker) brokers.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	for {
		ds, err := b.Lease(ctx, 4, 30*time.Second)
		require.NoError(t, err)
		if len(ds) > 0 {
			require.Len(t, ds, 1)
			return ds[0]
		}
		require.NoError(t, b.Wait(ctx), "no task came")
	}
}

// lease1 leases exactly one task.
func lease1(t *testing.T, b *Broker) brokers.Delivery {
	t.Helper()
	ds, err := b.Lease(t.Context(), 1, 30*time.Second)
	require.NoError(t, err)
	require.Len(t, ds, 1)
	return ds[0]
}

func leaseNone(t *testing.T, b *Broker) {
	t.Helper()
	ds, err := b.Lease(t.Context(), 10, 30*time.Second)
	require.NoError(t, err)
	require.Empty(t, ds)
}

// settle1 ends one lease, which must not be lost.
func settle1(t *testing.T, b *Broker, d brokers.Delivery, v brokers.Verdict, at time.Time, reason string) {
	t.Helper()
	lost, err := b.Settle(t.Context(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: v, At: at, Reason: reason}})
	require.NoError(t, err)
	require.Empty(t, lost)
}

func push(t *testing.T, b *Broker, tasks ...task.Task) {
	t.Helper()
	require.NoError(t, b.Push(t.Context(), tasks))
}

// onTime checks that a task which was due at some time has just been delivered as if
// nothing had happened to it before.
func onTime(t *testing.T, d brokers.Delivery, due time.Time) {
	t.Helper()
	now := time.Now()
	require.False(t, now.Before(due), "%v too early", due.Sub(now))
	require.LessOrEqual(t, now.Sub(due), 2*time.Second)
	require.Equal(t, 1, d.Attempt)
	require.Equal(t, 1, d.Sequence, "receives before the task is due are no leases")
	require.Zero(t, d.Lost)
}

// A task is delivered on time and uncharged however far ahead it is due, whatever the queue
// is like, and for a bounded number of requests.
func TestFarSchedules(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name       string
		ahead      time.Duration
		attributes map[string]string
		most       int  // requests that put it away
		hides      bool // it is hidden, not only sent anew
	}{
		{"seconds", 7 * time.Second, nil, 0, false},
		{"fifteen minutes", 15 * time.Minute, nil, 0, false},
		{"sixteen minutes", 16 * time.Minute, nil, 2, false},
		{"an hour", time.Hour, nil, 3, true},
		{"a day", 24*time.Hour + 1500*time.Millisecond, nil, 5, true},
		{"a day, redrive after one receive", 24 * time.Hour, map[string]string{
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:dead","maxReceiveCount":"1"}`}, 2 * 24 * 4, false},
		{"two days, redrive after three receives", 48 * time.Hour, map[string]string{
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:dead","maxReceiveCount":3}`}, 12, true},
		{"six hours, kept for an hour only", 6 * time.Hour, map[string]string{"MessageRetentionPeriod": "3600"}, 2 * 6 * 4, true},
		{"ten minutes, kept for a minute only", 10 * time.Minute, map[string]string{"MessageRetentionPeriod": "60"}, 2 * 10 * 4, true},
		{"six hours, many in flight", 6 * time.Hour, map[string]string{"inFlight": "100000"}, 2 * 6 * 4, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				for k, v := range c.attributes {
					f.queues[fakeURL].attributes[k] = v
				}
				b := f.open(t)
				defer b.Close()
				at := time.Now().Add(c.ahead)
				push(t, b, task.Task{ID: "far", Type: "a", At: at})
				f.reset()
				d := idle(t, b, at)
				onTime(t, d, at)
				sent, hidden := f.count("SendMessageBatch"), f.count("ChangeMessageVisibilityBatch")-1 // one is Lease's
				require.LessOrEqual(t, sent+f.count("DeleteMessageBatch")+hidden, c.most)
				require.Equal(t, c.hides, hidden > 0, "hidden %d times, sent %d times", hidden, sent)
				settle1(t, b, d, brokers.Done, time.Time{}, "")
				require.Empty(t, f.left(fakeURL))
				require.Empty(t, f.left(fakeDeadURL))
			})
		})
	}
}

// A task that is due after SQS would have deleted its message lives on, with hosts that
// look after the queue only now and then.
func TestScheduleBeyondRetention(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		at := time.Now().AddDate(0, 0, 30)
		push(t, b, task.Task{ID: "far", Type: "a", At: at})
		for time.Now().Before(at) {
			leaseNone(t, b)
			time.Sleep(time.Hour)
		}
		d := lease1(t, b)
		require.Equal(t, 1, d.Sequence)
		require.Zero(t, d.Lost)
	})
}

// A retry that is due long after is not charged for the receives before.
func TestFarRetryAndRelease(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a"})
		d := lease1(t, b)
		at := time.Now().Add(20 * time.Hour)
		settle1(t, b, d, brokers.Retry, at, "it failed")
		d = idle(t, b, at)
		require.WithinRange(t, time.Now(), at, at.Add(2*time.Second))
		require.Equal(t, 2, d.Attempt)
		require.Equal(t, 2, d.Sequence)
		require.Zero(t, d.Lost)

		at = time.Now().Add(3 * time.Hour)
		settle1(t, b, d, brokers.Release, at, "no plugin serves a")
		d = idle(t, b, at)
		require.WithinRange(t, time.Now(), at, at.Add(2*time.Second))
		require.Equal(t, 2, d.Attempt)
		require.Equal(t, 3, d.Sequence)
		require.Zero(t, d.Lost)

		time.Sleep(31 * time.Second) // a lost lease counts again
		d = lease1(t, b)
		require.Equal(t, 1, d.Lost)
		require.Equal(t, 4, d.Sequence)
	})
}

// A producer of the original leptir leaves it to the consumer to wait until "toex". The
// attributes that a producer adds live on.
func TestForeignSchedule(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		at := time.Now().Add(40 * time.Minute).Truncate(time.Second)
		own := map[string]any{}
		for i := range 10 {
			own[fmt.Sprintf("trace-%d", i)] = map[string]any{"DataType": "String", "StringValue": fmt.Sprint("value ", i)}
		}
		f.send(fmt.Sprintf(`{"cn":"Shop\\Mail\\Send","pr":3,"tl":60,"toex":%d,"td":{"id":"old-1","parameters":{"to":"ana"}}}`, at.Unix()), own)
		d := idle(t, b, at)
		onTime(t, d, at)
		require.Equal(t, task.ID("old-1"), d.Task.ID)
		require.Equal(t, "shop.mail.send", d.Task.Type)
		settle1(t, b, d, brokers.Retry, time.Time{}, "again")
		left := f.left(fakeURL)
		require.Len(t, left, 1)
		require.Len(t, left[0].attributes, 10, "nine of the producer's and the state: SQS takes no more")
		require.Equal(t, "value 0", left[0].attributes["trace-0"].(map[string]any)["StringValue"])
		d = lease1(t, b)
		require.Equal(t, 2, d.Attempt)
	})
}

// An aliased class name becomes the task type that the configuration says.
func TestAliases(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		opened, err := f.settings().Open(t.Context(), brokers.Env{
			Name: "mail", Logger: slog.New(slog.DiscardHandler), Aliases: map[string]string{`Leptir\Task\Test\TestTask`: "demo.test"},
		})
		require.NoError(t, err)
		b := opened.(*Broker)
		defer b.Close()
		f.send(`{"cn":"Leptir\\Task\\Test\\TestTask","pr":0,"tl":0,"toex":"","td":{"id":"5.1","parameters":[]}}`, nil)
		d := lease1(t, b)
		require.NoError(t, d.Unreadable)
		require.Equal(t, "demo.test", d.Task.Type)
		require.Equal(t, task.ID("5.1"), d.Task.ID)
	})
}

// Delays are reckoned by SQS's clock: a producer whose own is wrong by minutes does no harm.
func TestSkewedClock(t *testing.T) {
	for _, skew := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				f.skew = skew
				b := f.open(t)
				defer b.Close()
				at := f.now().Add(10 * time.Minute)
				push(t, b, task.Task{ID: "t", Type: "a", At: at}, task.Task{ID: "u", Type: "a", At: at.Add(time.Hour)})
				d := wait(t, b)
				require.Equal(t, task.ID("t"), d.Task.ID)
				require.WithinRange(t, f.now(), at, at.Add(2*time.Second))
				settle1(t, b, d, brokers.Done, time.Time{}, "")
				d = wait(t, b)
				require.WithinRange(t, f.now(), at.Add(time.Hour), at.Add(time.Hour+2*time.Second))
				require.Zero(t, d.Lost)
			})
		})
	}
}

// SQS lets nobody hold a message for longer than 12 hours: the lease ends then, is seen to
// end, and others may take the task.
func TestTwelveHours(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		var log strings.Builder
		b := f.openWith(t, f.settings(), slog.NewTextHandler(&log, nil))
		defer b.Close()
		push(t, b, task.Task{ID: "long", Type: "a", TimeLimit: task.NoTimeLimit})
		began := time.Now()
		d := lease1(t, b)
		for {
			lost, err := b.Extend(t.Context(), 5*time.Minute, []brokers.Delivery{d})
			require.NoError(t, err)
			if len(lost) > 0 {
				require.Equal(t, []task.ID{"long"}, lost)
				break
			}
			leaseNone(t, b)
			time.Sleep(2 * time.Minute)
		}
		held := time.Since(began)
		require.InDelta(t, 12*time.Hour, held, float64(5*time.Minute), "held for %v", held)
		require.Equal(t, 1, strings.Count(log.String(), "12 hours"), log.String())
		time.Sleep(time.Minute)
		d = lease1(t, b)
		require.Equal(t, 1, d.Lost)
		settle1(t, b, d, brokers.Done, time.Time{}, "")
		require.Empty(t, f.left(fakeURL))
	})
}

// What SQS cannot do is refused with the reason.
func TestRefusals(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		err := b.Push(t.Context(), []task.Task{{ID: "x", Type: "a", TimeLimit: 13 * time.Hour}})
		require.EqualError(t, err, `broker "mail": task x has a time limit of 13h0m0s: SQS lets nobody hold a message for longer than 12h0m0s, so that a task can run for 11h50m0s at most`)

		f.queues[fakeURL].attributes["MaximumMessageSize"] = "2048"
		small := f.open(t)
		defer small.Close()
		err = small.Push(t.Context(), []task.Task{{ID: "x", Type: "a", Params: []byte(`{"x":"` + strings.Repeat("y", 1500) + `"}`)}})
		require.ErrorIs(t, err, task.ErrTooLarge)
		require.ErrorContains(t, err, "this queue has room for 1024 (its MaximumMessageSize is 2048)")

		err = b.Push(t.Context(), []task.Task{{ID: "x", Type: "a", Params: []byte("{\"x\":\"\xff\"}")}})
		require.ErrorContains(t, err, "not valid UTF-8")
		_, err = b.Lease(t.Context(), 1, 13*time.Hour)
		require.ErrorContains(t, err, "a lease of 13h0m0s: SQS hides a message for 12h0m0s at most")

		// The two characters that JSON allows and SQS does not.
		push(t, b, task.Task{ID: "x\uFFFE", Type: "a", Params: []byte("{\"x\":\"\uFFFF\"}")})
		d := lease1(t, b)
		require.NoError(t, d.Unreadable)
		require.Equal(t, task.ID("x\uFFFE"), d.Task.ID)
		require.JSONEq(t, "{\"x\":\"\uFFFF\"}", string(d.Task.Params))
		settle1(t, b, d, brokers.Retry, time.Time{}, "reason \uFFFE\x00\xff")
		require.Equal(t, 2, lease1(t, b).Attempt)
	})
}

// A task that was put away, and that nobody looked for until long after it was due, is not
// charged for having been put away.
func TestHostsAwayWhenDue(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a", At: time.Now().Add(3 * time.Hour)})
		time.Sleep(20 * time.Minute)
		leaseNone(t, b)
		require.Equal(t, 1, f.count("ChangeMessageVisibilityBatch"))
		time.Sleep(24 * time.Hour)
		d := wait(t, b)
		require.Equal(t, 1, d.Sequence)
		require.Zero(t, d.Lost)
	})
}

// Messages as large as the queue takes go one by one, since a batch may not weigh more, and
// are settled like any other.
func TestLargestMessages(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		params := func(n int) []byte { return []byte(`{"x":"` + strings.Repeat("y", n-len(`{"x":""}`)) + `"}`) }
		var ts []task.Task
		for _, id := range []task.ID{"t1", "t2", "t3"} {
			x := task.Task{ID: id, Type: "a"}
			frame, err := task.Encode(&x)
			require.NoError(t, err)
			x.Params = params(1<<20 - stateRoom - len(frame) - len(`,"params":`))
			ts = append(ts, x)
		}
		push(t, b, ts...)
		require.Equal(t, 3, f.count("SendMessageBatch"))
		require.Len(t, f.left(fakeURL)[0].body, 1<<20-stateRoom)
		ds, err := b.Lease(t.Context(), 3, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 3)
		require.Equal(t, string(ts[0].Params), string(ds[0].Task.Params))
		long := strings.Repeat("reason ", 1000)
		settle1(t, b, ds[0], brokers.Retry, time.Time{}, long)
		settle1(t, b, ds[1], brokers.Bury, time.Time{}, long)
		settle1(t, b, ds[2], brokers.Release, time.Now().Add(time.Hour), long)
		require.Equal(t, 2, lease1(t, b).Attempt)
		it, err := b.Find(t.Context(), ds[1].Task.ID)
		require.NoError(t, err)
		require.Contains(t, it.History[0].Reason, "reason reason", "as much of it as there is room for")

		ts[0].Params = params(len(ts[0].Params) + 1)
		require.ErrorIs(t, b.Push(t.Context(), ts[:1]), task.ErrTooLarge)
	})
}
