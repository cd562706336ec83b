package report_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/task"
)

// collector is a reporter that keeps what it gets; its function says what happens first.
type collector struct {
	before func(ctx context.Context, batch []report.Report) (int, error)

	mu      sync.Mutex
	got     []report.Report
	batches int
	closed  int
}

func (c *collector) Report(ctx context.Context, batch []report.Report) (int, error) {
	lost, err := 0, error(nil)
	if c.before != nil {
		lost, err = c.before(ctx, batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches++
	if lost == 0 {
		c.got = append(c.got, batch...)
	}
	return lost, err
}

func (c *collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func (c *collector) messages() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.got {
		all = append(all, r.Message)
	}
	return all
}

// output is a log that can be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) lines(text string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Count(o.buf.String(), text)
}

func newHub(members ...report.Member) (*report.Hub, *output) {
	out := &output{}
	return report.NewHub("here", slog.New(slog.NewTextHandler(out, nil)), members...), out
}

func closeHub(t *testing.T, h *report.Hub) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	h.Close(ctx)
}

func TestEveryReportReachesAllReporters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := &collector{}, &collector{}
		h, _ := newHub(report.Member{Name: "a", Reporter: a}, report.Member{Name: "b", Reporter: b, HideParams: true})
		params := []byte(`{"to":"ann"}`)
		h.Report(report.Report{Message: "one", Task: &report.Task{ID: "t", Params: params}})
		h.Report(report.Report{Message: "two"})
		synctest.Wait()
		require.Equal(t, []string{"one", "two"}, a.messages())
		require.Equal(t, []string{"one", "two"}, b.messages())
		require.Equal(t, a.got[0].ID, b.got[0].ID)
		require.NotEmpty(t, a.got[0].ID)
		require.NotEqual(t, a.got[0].ID, a.got[1].ID)
		require.Equal(t, "here", a.got[0].Host)
		require.False(t, a.got[0].Time.IsZero())
		require.JSONEq(t, `{"to":"ann"}`, string(a.got[0].Task.Params))
		require.Nil(t, b.got[0].Task.Params)
		require.Equal(t, `{"to":"ann"}`, string(params))
		for _, s := range h.Stats() {
			require.EqualValues(t, 2, s.Sent)
			require.Zero(t, s.Failed+s.Dropped)
		}
		closeHub(t, h)
		require.Equal(t, 1, a.closed)
		h.Report(report.Report{Message: "late"})
		require.EqualValues(t, 1, h.Stats()[0].Dropped, "what comes too late is counted")
		closeHub(t, h) // does nothing
		require.Equal(t, 1, a.closed)
	})
}

// A reporter that hangs, even one that does not look at its context, delays neither who
// reports nor the other reporters, and what it loses is counted and told.
func TestHangingReporterDelaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hanging := &collector{before: func(context.Context, []report.Report) (int, error) { <-release; return 0, nil }}
		fine := &collector{}
		h, out := newHub(report.Member{Name: "slow", Kind: "test", Queue: 10, Timeout: time.Second, Reporter: hanging},
			report.Member{Name: "fine", Reporter: fine})
		begin := time.Now()
		h.Report(report.Report{Message: "first"})
		synctest.Wait()
		for i := range 500 {
			h.Report(report.Report{Message: fmt.Sprint(i)})
		}
		require.Zero(t, time.Since(begin), "by the bubble's clock nothing has waited")
		synctest.Wait()
		require.Len(t, fine.messages(), 501)
		s := h.Stats()[0]
		require.Equal(t, 11, s.Waiting)
		require.EqualValues(t, 490, s.Dropped)
		require.Equal(t, 1, out.lines("error reports are lost"))

		// Once a minute, no more.
		for range 100 {
			h.Report(report.Report{Message: "more"})
			synctest.Wait()
		}
		require.Equal(t, 1, out.lines("error reports are lost"))
		time.Sleep(61 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, out.lines("error reports are lost"))
		require.Equal(t, 1, out.lines("since_start=590"), out.buf.String())

		begin = time.Now()
		closeHub(t, h)
		require.LessOrEqual(t, time.Since(begin), 8*time.Second, "the end of the host is bounded")
		require.Equal(t, 1, out.lines("does not return; left behind with what it had"))
		require.Equal(t, 1, out.lines("reports=11"))
		close(release)
		synctest.Wait()
	})
}

func TestFailuresAreCountedAndTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		c := &collector{before: func(_ context.Context, batch []report.Report) (int, error) {
			if down {
				return len(batch), errors.New("connection refused")
			}
			return 0, nil
		}}
		h, out := newHub(report.Member{Name: "web", Kind: "webhook", Reporter: c})
		for range 3 {
			h.Report(report.Report{Message: "x"})
			synctest.Wait()
		}
		s := h.Stats()[0]
		require.EqualValues(t, 3, s.Failed)
		require.Equal(t, "connection refused", s.Problem)
		require.Equal(t, 1, out.lines("not_delivered=1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, out.lines("not_delivered=2"), out.buf.String())
		down = false
		h.Report(report.Report{Message: "y"})
		synctest.Wait()
		require.EqualValues(t, 1, h.Stats()[0].Sent)
		require.Empty(t, h.Stats()[0].Problem)
		closeHub(t, h)
	})
}

func TestPanickingReporter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{before: func(context.Context, []report.Report) (int, error) { panic("no paper") }}
		h, _ := newHub(report.Member{Name: "p", Reporter: c})
		h.Report(report.Report{Message: "x"})
		synctest.Wait()
		require.EqualValues(t, 1, h.Stats()[0].Failed)
		require.Contains(t, h.Stats()[0].Problem, "it panicked: no paper")
		closeHub(t, h)
		require.Equal(t, 1, c.closed)
	})
}

// The end of the host delivers what waits, as far as that goes within its time.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &collector{before: func(ctx context.Context, batch []report.Report) (int, error) {
			select {
			case <-time.After(2 * time.Second):
				return 0, nil
			case <-ctx.Done():
				return len(batch), context.Cause(ctx)
			}
		}}
		quick := &collector{}
		h, out := newHub(report.Member{Name: "slow", Queue: 2000, Reporter: slow}, report.Member{Name: "quick", Queue: 2000, Reporter: quick})
		for range 1000 {
			h.Report(report.Report{Message: "x"})
		}
		begin := time.Now()
		closeHub(t, h)
		require.LessOrEqual(t, time.Since(begin), 5*time.Second)
		require.Len(t, quick.messages(), 1000)
		s := h.Stats()[0]
		require.Positive(t, s.Sent)
		require.Positive(t, s.Failed+s.Dropped)
		require.EqualValues(t, 1000, s.Sent+s.Failed+s.Dropped, "nothing is lost silently")
		require.Positive(t, out.lines("error reports are lost"))
		require.Equal(t, 1, slow.closed)
	})
}

func TestDeliveryHasATimeLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{before: func(ctx context.Context, batch []report.Report) (int, error) {
			<-ctx.Done()
			return len(batch), context.Cause(ctx)
		}}
		h, _ := newHub(report.Member{Name: "x", Timeout: 3 * time.Second, Reporter: c})
		begin := time.Now()
		h.Report(report.Report{Message: "x"})
		synctest.Wait()
		for h.Stats()[0].Failed == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		require.InDelta(t, 3, time.Since(begin).Seconds(), 0.2)
		require.Equal(t, "no end after 3s", h.Stats()[0].Problem)
		closeHub(t, h)
	})
}

// What waits is bounded in bytes, too.
func TestLargeReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &collector{before: func(context.Context, []report.Report) (int, error) { <-release; return 0, nil }}
		h, _ := newHub(report.Member{Name: "x", Reporter: c})
		big := []byte(`{"x":"` + strings.Repeat("y", 1<<20-10) + `"}`)
		for range 100 {
			h.Report(report.Report{Task: &report.Task{ID: task.ID("t"), Params: big}})
		}
		synctest.Wait()
		require.Greater(t, h.Stats()[0].Dropped, uint64(50))
		close(release)
		synctest.Wait()
		require.Less(t, len(c.got[0].Task.Params), 20<<10, "and what is delivered is small")
		closeHub(t, h)
	})
}
