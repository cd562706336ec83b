package sqs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

// mortal is the network of a host that can die: SQS goes on with what it has been asked, and
// nobody hears the answer.
type mortal struct {
	*fake
	dead atomic.Bool
}

var errDead = errors.New("the host is dead")

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	out, err := m.fake.RoundTrip(r)
	if m.dead.Load() {
		return nil, errDead
	}
	return out, err
}

// openMortal opens a broker that dies when the function is called.
func (f *fake) openMortal(t *testing.T) (b *Broker, die func()) {
	m := &mortal{fake: f}
	s := f.settings()
	s.roundTripper = m
	return f.openWith(t, s, slog.DiscardHandler), func() { m.dead.Store(true) }
}

// A host dies with a long poll under way, in the worst moment: its leases are about to be
// renewed, and the poll has just begun. What it held is there for others as soon as the
// leases end, and the dead poll has not counted as one more.
func TestDeadHostsPollFindsNothing(t *testing.T) {
	for _, lease := range []time.Duration{3 * time.Second, 4 * time.Second, 10 * time.Second, 30 * time.Second, 5 * time.Minute} {
		t.Run(lease.String(), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				b := f.open(t)
				defer b.Close()
				a, die := f.openMortal(t)
				defer a.Close()
				push(t, b, tasks(1)...)
				ds, err := a.Lease(t.Context(), 1, lease)
				require.NoError(t, err)
				require.Len(t, ds, 1)
				began := time.Now()

				time.Sleep(lease/2 - time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				require.ErrorIs(t, a.Wait(ctx), context.DeadlineExceeded)
				die()

				time.Sleep(time.Until(began.Add(lease))) // nobody but the dead one's poll looks until then
				time.Sleep(time.Millisecond)
				d := lease1(t, b)
				require.Equal(t, 1, d.Lost)
				require.Equal(t, 2, d.Sequence)
			})
		})
	}
}

// A new task that SQS gives to the poll of a dead host comes to another soon, no later than
// one that the host had held.
func TestDeadHostsPollGivesUpANewTask(t *testing.T) {
	for _, lease := range []time.Duration{3 * time.Second, 30 * time.Second} {
		t.Run(lease.String(), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				b := f.open(t)
				defer b.Close()
				a, die := f.openMortal(t)
				defer a.Close()
				_, err := a.Lease(t.Context(), 1, lease)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, a.Wait(ctx), context.DeadlineExceeded)
				die()
				push(t, b, tasks(1)...)
				pushed := time.Now()
				time.Sleep(time.Millisecond) // the dead one's poll takes it
				leaseNone(t, b)
				require.NoError(t, b.Wait(t.Context()))
				require.Equal(t, min(lease, pollHide), time.Since(pushed))
				lease1(t, b)
			})
		})
	}
}

// A poll is as long as wait_time says while nothing is held, however short leases are, and
// while something is held short enough to be over before a lease can be.
func TestPollsOfABusyHost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, tasks(1)...)
		hour := func(lease time.Duration, ds ...brokers.Delivery) int {
			for end := time.Now().Add(time.Hour); time.Now().Before(end); {
				got, err := b.Lease(t.Context(), 1, lease)
				require.NoError(t, err)
				require.Empty(t, got)
				lost, err := b.Extend(t.Context(), lease, ds)
				require.NoError(t, err)
				require.Empty(t, lost)
				ctx, cancel := context.WithTimeout(t.Context(), lease/3+7*time.Millisecond) // seldom when a poll ends
				require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
				cancel()
			}
			return f.count("ReceiveMessage")
		}
		d := lease1(t, b)
		f.reset()
		require.InDelta(t, 3600/14, hour(30*time.Second, d), 5)
		f.reset()
		require.InDelta(t, 3600/4, hour(10*time.Second, d), 15)
		settle1(t, b, d, brokers.Done, time.Time{}, "")
		f.reset()
		require.InDelta(t, 3600/20, hour(10*time.Second), 5)
		require.Empty(t, f.left(fakeURL))
	})
}

// A Lease that is under way when a poll begins may bring something that is held then.
func TestPollBesideALease(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		_, enough := b.takeBuffered(1, 30*time.Second)
		require.False(t, enough)
		b.mu.Lock()
		during := b.newPoll().wait
		b.mu.Unlock()
		b.leased()
		b.mu.Lock()
		after := b.newPoll().wait
		b.mu.Unlock()
		require.Equal(t, 14*time.Second, during)
		require.Equal(t, maxWait, after)
	})
}
