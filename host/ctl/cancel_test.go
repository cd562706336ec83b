package ctl

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/task"
)

func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	b := s.broker("urgent")
	require.NoError(t, b.Push(t.Context(), []task.Task{
		{ID: "now", Type: "mailer.send", At: past}, {ID: "later", Type: "mailer.send", At: time.Now().Add(time.Hour)}, {ID: "stays", Type: "mailer.send", At: past}}))
	require.Equal(t, "now: removed from broker \"urgent\", where it waited\nlater: removed from broker \"urgent\", where it waited\n",
		s.ok("cancel", "now", "later", "-reason", "not wanted"))
	_, err := b.Find(t.Context(), "now")
	require.ErrorIs(t, err, brokers.ErrNotFound)
	_, err = b.Find(t.Context(), "stays")
	require.NoError(t, err)
	r := object(t, s.ok("task", "now", "-json"))
	require.EqualValues(t, 3, r["status"])
	require.EqualValues(t, 3, r["retC"])
	run := r["leptir"].(map[string]any)
	require.Equal(t, "cancelled by operator: not wanted", run["error"])
	require.Equal(t, "cancelled", run["exit"].(map[string]any)["reason"])

	require.Equal(t, map[string]any{"_id": "stays", "outcome": "removed", "broker": "urgent"}, object(t, s.ok("cancel", "stays", "-json")))
}

func TestCancelRunning(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	b := s.broker("bulk")
	require.NoError(t, b.Push(t.Context(), []task.Task{{ID: "x", Type: "mailer.send", At: past}}))
	ds := lease(t, b, 1)
	require.Equal(t, "x: a host has it and stops it within about a second, with a grace of 10s\n", s.ok("cancel", "x"))
	require.Equal(t, "x: a host has it and stops it within about a second, with a grace of 0s\n", s.ok("cancel", "-grace", "0", "x"))
	marks, err := b.(brokers.Canceller).Cancelled(t.Context(), ds)
	require.NoError(t, err)
	require.Zero(t, marks["x"].Grace)
	require.Equal(t, cancel.DefaultReason, marks["x"].Reason)
}

func TestCancelInVain(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers)
	bury(t, s.broker("urgent"), task.Task{ID: "dead", Type: "mailer.send", At: past}, "no such address")
	ended := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	rec := task.Record{ID: "done", Type: "mailer.send", Status: task.Completed, RetC: task.Success, Run: task.Run{Attempt: 1, Ended: ended}}
	gone := task.Record{ID: "gone", Type: "mailer.send", Status: task.Completed, Run: task.Run{Attempt: 1}}
	cancel.Conclude(&gone, brokers.Cancellation{}, ended)
	lost := task.Record{ID: "lost", Type: "mailer.send", Status: task.InProgress}
	require.NoError(t, s.store("records").Put(t.Context(), []task.Record{rec, gone, lost}))
	for id, want := range map[string]string{
		"nobody": "leptirctl: there is no task nobody: no broker has it, and no meta storage has a record of it\n",
		"done":   "leptirctl: task done has ended already, at 2026-03-04T05:06:07Z: success\n",
		"gone":   "leptirctl: task gone has ended already, at 2026-03-04T05:06:07Z: it was cancelled\n",
		"lost":   "leptirctl: no broker has task lost any more, though its record does not say that it has ended (status 2)\n",
		"dead":   "leptirctl: task dead has ended already: it is a dead letter of broker \"urgent\"; leptirctl dead delete dead deletes it\n",
	} {
		require.Equal(t, result{1, "", want}, s.ctl("cancel", id), id)
	}
	require.Equal(t, 1, s.ctl("cancel", "nobody", "done").code)
	for _, args := range [][]string{{}, {"a b"}, {"x", "-grace", "-1"}, {"x", "-grace", "48h"}, {"x", "-reason", ""}} {
		require.Equal(t, exitUsage, s.ctl(append([]string{"cancel"}, args...)...).code, args)
	}
}

// One of several ids that is not there does not keep the others from being cancelled, nor
// does a broker that is down.
func TestCancelSome(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoBrokers+`
broker "redis" "down" {
  priority = 99
  connection {
    port = 1
  }
}
`)
	require.NoError(t, s.broker("urgent").Push(t.Context(), []task.Task{{ID: "here", Type: "mailer.send", At: past}}))
	r := s.ctl("cancel", "nobody", "here")
	require.Equal(t, 1, r.code)
	require.Equal(t, "here: removed from broker \"urgent\", where it waited\n", r.stdout)
	require.Contains(t, r.stderr, "task nobody was not found where it could be looked for")
	require.Contains(t, r.stderr, `broker "down"`)
}

// plain hides the optional abilities of a broker, as SQS has few.
type plain struct{ brokers.Broker }

// Where a broker cannot say, the wish is left in the meta storages, for this task and no
// earlier one of the same id.
func TestCancelUnseen(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	cfg := s.config()
	opened, err := cfg.OpenBroker(t.Context(), cfg.Brokers[0], nil)
	require.NoError(t, err)
	opened.Handle = plain{opened.Handle}
	c := newCanceller(cfg)
	c.brokers = []config.OpenBroker{opened}
	defer c.close()
	ahead := time.Now().Add(5 * time.Minute).UTC() // its producer's clock
	store := s.store(cfg.MetaStorages[0].Name)
	require.NoError(t, store.Put(t.Context(), []task.Record{{ID: "fast", Type: "a.b", Status: task.InProgress, Run: task.Run{Delivery: task.DeliveryOrder(ahead, 1)}}}))
	for id, pushed := range map[task.ID]time.Time{"fast": ahead, "unknown": time.Now().Add(-time.Minute)} {
		wish := brokers.Cancellation{At: time.Now().UTC(), Grace: time.Second, Reason: "no"}
		done, err := c.cancel(context.Background(), id, wish)
		require.NoError(t, err)
		require.Equal(t, "noted", done.Outcome)
		require.Contains(t, done.text, "broker \"default\" cannot say")
		recs, err := store.Get(t.Context(), []task.ID{cancel.WishID(id)})
		require.NoError(t, err)
		require.Len(t, recs, 1)
		got, ok := cancel.Wished(recs[0], &task.Task{ID: id, PushedAt: pushed})
		require.True(t, ok, id)
		require.Equal(t, time.Second, got.Grace)
		_, ok = cancel.Wished(recs[0], &task.Task{ID: id, PushedAt: time.Now().Add(time.Hour)})
		require.False(t, ok, "the id's next life")
	}
}
