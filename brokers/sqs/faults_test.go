package sqs

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

func tasks(n int) []task.Task {
	ts := make([]task.Task, n)
	for i := range ts {
		ts[i] = task.Task{ID: task.ID("t" + strconv.Itoa(i)), Type: "a"}
	}
	return ts
}

// SQS delivers messages twice, in any order, loses answers and fails entries; producers
// push twice; hosts let leases end. No task is lost, none is held twice at the same time by
// one broker, and nothing is left in the queue.
func TestDuplicatesAndDisorder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BROKERTEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	inVirtualTime(t, func(t *testing.T, f *fake) {
		t.Logf("seed %d; BROKERTEST_SEED=%d repeats it", seed, seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		f.rng = rand.New(rand.NewPCG(seed, 1))
		f.disorder, f.duplicates = true, 0.2
		f.refuseEntry = func(string, map[string]any) (string, bool) {
			if f.rng.IntN(20) == 0 {
				return "InternalError", false
			}
			return "", false
		}
		f.deaf = func(op string) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return op != "GetQueueAttributes" && f.rng.IntN(40) == 0
		}
		hosts := []*Broker{f.open(t), f.open(t)}
		const n = 200
		done, buried := map[task.ID]bool{}, map[task.ID]bool{}
		push(t, hosts[0], tasks(n)...)
		push(t, hosts[1], tasks(n/4)...)

		type holding struct {
			d     brokers.Delivery
			until time.Time
		}
		held := []map[task.ID]holding{{}, {}}
		empty := 0
		for step := 0; empty < 60; step++ {
			require.Less(t, step, 20_000, "it never comes to an end")
			i := rng.IntN(len(hosts))
			b, mine := hosts[i], held[i]
			ds, err := b.Lease(t.Context(), 1+rng.IntN(20), 30*time.Second)
			require.NoError(t, err)
			empty++
			for _, d := range ds {
				empty = 0
				if h, twice := mine[d.Task.ID]; twice {
					require.False(t, time.Now().Before(h.until), "task %s is held twice", d.Task.ID)
				}
				require.NoError(t, d.Unreadable)
				require.True(t, d.Repeated)
				mine[d.Task.ID] = holding{d, d.Until}
			}
			for id, h := range mine {
				empty = 0
				s := brokers.Settlement{ID: id, Token: h.d.Token, Verdict: brokers.Done, Reason: "because"}
				switch r := rng.IntN(16); {
				case done[id] || buried[id]: // a host looks into its records, and acks
				case r < 3:
					s.Verdict = brokers.Retry
				case r < 5:
					s.Verdict = brokers.Release
				case r < 8 && h.d.Attempt > 1:
					s.Verdict = brokers.Bury
				case r < 9: // let it end
					delete(mine, id)
					continue
				case r < 11:
					continue
				}
				lost, err := b.Settle(t.Context(), []brokers.Settlement{s})
				if err != nil {
					continue // again, later
				}
				delete(mine, id)
				switch {
				case len(lost) > 0:
				case s.Verdict == brokers.Done:
					done[id] = true
				case s.Verdict == brokers.Bury:
					buried[id] = true
				}
			}
			time.Sleep(time.Duration(rng.IntN(10_000)) * time.Millisecond)
		}
		for _, tt := range tasks(n) {
			require.True(t, done[tt.ID] || buried[tt.ID], "task %s is lost", tt.ID)
		}
		require.Empty(t, f.left(fakeURL))
		letters := map[string]bool{}
		for _, m := range f.left(fakeDeadURL) {
			letters[m.body] = true
		}
		require.GreaterOrEqual(t, len(letters), len(buried), "more, where a settlement failed half-way")
		require.NotEmpty(t, buried)
		for _, b := range hosts {
			require.NoError(t, b.Close())
		}
	})
}

// The same message delivered twice to one host is one lease, which lives on by the newer
// receipt handle.
func TestSameMessageTwice(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a"})
		f.duplicates = 1
		d := lease1(t, b)
		f.duplicates = 0
		leaseNone(t, b) // received once more
		lost, err := b.Extend(t.Context(), 30*time.Second, []brokers.Delivery{d})
		require.NoError(t, err)
		require.Empty(t, lost)
		settle1(t, b, d, brokers.Done, time.Time{}, "")
		require.Empty(t, f.left(fakeURL), "deleted by the newer handle")
	})
}

// Another copy of a task that is held waits until the lease is over, and is not charged.
func TestTwinWaits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		push(t, b, task.Task{ID: "t", Type: "a"})
		push(t, b, task.Task{ID: "t", Type: "a"})
		ds, err := b.Lease(t.Context(), 10, 10*time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 1)
		for range 5 {
			time.Sleep(time.Minute)
			leaseNone(t, b)
		}
		settle1(t, b, ds[0], brokers.Done, time.Time{}, "")
		d := wait(t, b)
		require.Equal(t, task.ID("t"), d.Task.ID)
		require.Zero(t, d.Lost)
		require.Equal(t, 1, d.Attempt)
		settle1(t, b, d, brokers.Done, time.Time{}, "")
		require.Empty(t, f.left(fakeURL))
	})
}

// Throttled requests are sent again, with pauses.
func TestThrottling(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		n := 0
		var mu sync.Mutex
		f.refuse = func(op string) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%3 != 0 {
				return http.StatusBadRequest, "RequestThrottled"
			}
			return 0, ""
		}
		began := time.Now()
		push(t, b, tasks(10)...)
		require.Equal(t, 3, f.count("SendMessageBatch"))
		require.Positive(t, time.Since(began), "no pause between the attempts")
		ds, err := b.Lease(t.Context(), 10, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 10)

		f.refuse = func(string) (int, string) { return http.StatusBadRequest, "RequestThrottled" }
		f.reset()
		_, err = b.Settle(t.Context(), []brokers.Settlement{{ID: ds[0].Task.ID, Token: ds[0].Token, Verdict: brokers.Done}})
		require.ErrorContains(t, err, "RequestThrottled")
		require.Equal(t, maxAttempts, f.count("DeleteMessageBatch"))
		f.refuse = nil
		settle1(t, b, ds[0], brokers.Done, time.Time{}, "")
	})
}

// Errors that people cause say what to do about them, and no secret.
func TestMessages(t *testing.T) {
	cases := []struct{ code, want string }{
		{"ExpiredToken", "the AWS credentials have expired: renew them, or leave out sqs_key and sqs_secret so that AWS's default chain does"},
		{"InvalidClientTokenId", "AWS does not know this access key: check sqs_key, or what AWS's default chain finds"},
		{"SignatureDoesNotMatch", "the secret does not fit the access key: check sqs_secret, and this machine's clock"},
		{"AccessDenied", "the credentials do not allow this on " + fakeURL + "; docs/brokers/sqs.md lists the permissions that leptir needs"},
		{"QueueDoesNotExist", "there is no queue " + fakeURL + " there: check sqs_queue, region and endpoint"},
		{"OverLimit", "too many messages of this queue are in flight at once"},
	}
	for _, c := range cases {
		t.Run(c.code, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				b := f.open(t)
				defer b.Close()
				f.refuse = func(string) (int, string) { return http.StatusForbidden, c.code }
				_, lease := b.Lease(t.Context(), 1, time.Minute)
				_, stats := b.Stats(t.Context())
				_, open := f.settings().Open(t.Context(), brokers.Env{Name: "mail", Logger: slog.New(slog.DiscardHandler)})
				for _, err := range []error{lease, stats, open, b.Push(t.Context(), tasks(1)), b.Wait(t.Context())} {
					require.ErrorContains(t, err, c.want)
					require.ErrorContains(t, err, c.code)
					require.True(t, strings.HasPrefix(err.Error(), `broker "mail": `), err.Error())
					require.NotContains(t, err.Error(), fakeSecret)
				}
			})
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		inVirtualTime(t, func(t *testing.T, f *fake) {
			s := f.settings()
			s.Connection.Secret += "x"
			_, err := s.Open(t.Context(), brokers.Env{Name: "mail", Logger: slog.New(slog.DiscardHandler)})
			require.ErrorContains(t, err, "check sqs_secret")
			require.NotContains(t, err.Error(), fakeSecret)
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", s, s, s), fakeSecret)
		})
	})
}

// Of a batch that failed in part, the rest is carried out; what failed on SQS's side is
// sent again, alone.
func TestPartialFailures(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		faults := map[string]int{} // by operation: how often entries 3 and 7 still fail
		f.refuseEntry = func(op string, e map[string]any) (string, bool) {
			if id := e["Id"]; (id == "3" || id == "7") && faults[op] > 0 {
				faults[op]--
				return "InternalError", false
			}
			return "", false
		}
		faults["SendMessageBatch"] = 4
		push(t, b, tasks(10)...)
		require.Equal(t, 3, f.count("SendMessageBatch"))
		require.Len(t, f.left(fakeURL), 10)

		ds, err := b.Lease(t.Context(), 10, time.Minute)
		require.NoError(t, err)
		require.Len(t, ds, 10)
		faults["ChangeMessageVisibilityBatch"] = 2
		lost, err := b.Extend(t.Context(), time.Minute, ds)
		require.NoError(t, err)
		require.Empty(t, lost)
		require.Equal(t, 2, f.count("ChangeMessageVisibilityBatch"))

		// Two deletions fail for good: the others are through, and a second Settle does
		// what is missing.
		var ss []brokers.Settlement
		for _, d := range ds {
			ss = append(ss, brokers.Settlement{ID: d.Task.ID, Token: d.Token, Verdict: brokers.Done})
		}
		faults["DeleteMessageBatch"] = 1000
		_, err = b.Settle(t.Context(), ss)
		require.ErrorContains(t, err, "2 of 10 tasks were not settled")
		require.Len(t, f.left(fakeURL), 2)
		faults["DeleteMessageBatch"] = 0
		lost, err = b.Settle(t.Context(), ss)
		require.NoError(t, err)
		require.Len(t, lost, 8, "what was done is in lost")
		require.Empty(t, f.left(fakeURL))

		// One that SQS refuses as the sender's own fault is not sent again.
		f.refuseEntry = func(op string, e map[string]any) (string, bool) {
			return map[any]string{"4": "InvalidMessageContents"}[e["Id"]], true
		}
		f.reset()
		require.ErrorContains(t, b.Push(t.Context(), tasks(10)), "1 of 10 tasks were not pushed: send messages: InvalidMessageContents")
		require.Equal(t, 1, f.count("SendMessageBatch"))
		require.Len(t, f.left(fakeURL), 9)
	})
}

// A settlement whose copy is sent and whose deletion fails is not doubled: settled again it
// only deletes, and the old message is deleted when it comes back.
func TestCopySentDeletionFailed(t *testing.T) {
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprintf("settled again %v", again), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fake) {
				b := f.open(t)
				defer b.Close()
				push(t, b, task.Task{ID: "t", Type: "a"})
				d := lease1(t, b)
				f.refuse = func(op string) (int, string) {
					if op == "DeleteMessageBatch" {
						return http.StatusInternalServerError, "InternalError"
					}
					return 0, ""
				}
				s := []brokers.Settlement{{ID: "t", Token: d.Token, Verdict: brokers.Retry, At: time.Now().Add(10 * time.Minute), Reason: "x"}}
				_, err := b.Settle(t.Context(), s)
				require.ErrorContains(t, err, "InternalError")
				f.refuse = nil
				if again {
					lost, err := b.Settle(t.Context(), s)
					require.NoError(t, err)
					require.Empty(t, lost)
				} else {
					time.Sleep(time.Minute)
					leaseNone(t, b)
				}
				left := f.left(fakeURL)
				require.Len(t, left, 1)
				d = wait(t, b)
				require.Equal(t, 2, d.Attempt)
				require.Zero(t, d.Lost)
			})
		})
	}
}

// An answer that got lost on its way is not a lost task: what a receive took comes back.
func TestLostAnswers(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		defer b.Close()
		f.deaf = func(op string) bool { return true }
		require.ErrorContains(t, b.Push(t.Context(), tasks(1)), "connection reset")
		require.NotEmpty(t, f.left(fakeURL))
		_, err := b.Lease(t.Context(), 5, time.Minute)
		require.Error(t, err)
		f.deaf = nil
		leaseNone(t, b)
		time.Sleep(time.Minute)
		require.Equal(t, 1, lease1(t, b).Lost)
	})
}

// A lease that has ended by our own clock is lost without asking SQS: a host that was
// stopped for a while ends no other's lease.
func TestEndedLeaseIsLostAtOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		a, b := f.open(t), f.open(t)
		defer a.Close()
		defer b.Close()
		push(t, a, task.Task{ID: "t", Type: "a"})
		d := lease1(t, a)
		time.Sleep(31 * time.Second)
		holder := lease1(t, b)
		f.reset()
		lost, err := a.Settle(t.Context(), []brokers.Settlement{{ID: "t", Token: d.Token, Verdict: brokers.Done}})
		require.NoError(t, err)
		require.Equal(t, []task.ID{"t"}, lost)
		lost, err = a.Extend(t.Context(), time.Minute, []brokers.Delivery{d})
		require.NoError(t, err)
		require.Equal(t, []task.ID{"t"}, lost)
		require.Zero(t, f.total())
		settle1(t, b, holder, brokers.Done, time.Time{}, "")
	})
}

// A call that ends before SQS answers says so; one after Close says that.
func TestContexts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fake) {
		b := f.open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := b.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Wait(t.Context()), brokers.ErrClosed)
		require.EqualError(t, b.Push(t.Context(), tasks(1)), `broker "mail": broker is closed`)
	})
}
