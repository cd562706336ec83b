package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/work"
	"github.com/backplane/leptir/task"
)

func pickUp() Case {
	arm := func(name, backend string, full, quick int) Arm {
		return Arm{Name: name, Size: fmt.Sprintf("%d pushes", full), Run: leptirPickUp(backend, full, quick)}
	}
	return Case{
		Name: "pick-up", Title: "Idle host: from before the push, in another process, to the first line of doJob", Ref: "asynq on Redis",
		Metrics: []Metric{{Name: "p50", Unit: "ms", Lower: true}, {Name: "p99", Unit: "ms", Lower: true}},
		Note: "A task is pushed 20 to 60 ms after the one before has begun. asynq has its default: an idle one looks once a second. " +
			"MongoDB is the server of the tests, without change streams: it is looked at every poll_interval (0.5 s).",
		Floors: []Floor{{Arm: "leptir on Redis", Metric: "p50", Absolute: true, Most: 3}, {Arm: "leptir on Redis", Metric: "p99", Absolute: true, Most: 15},
			{Arm: "leptir on SQLite", Metric: "p50", Absolute: true, Most: 3}, {Arm: "leptir on SQLite", Metric: "p99", Absolute: true, Most: 15}},
		Arms: []Arm{arm("leptir on Redis", rig.Redis, 200, 20), arm("leptir on SQLite", rig.SQLite, 200, 20),
			arm("leptir on MongoDB wire", rig.MongoDB, 20, 2),
			{Name: "asynq on Redis", Size: "15 pushes", Run: asynqPickUp(15, 1)}},
	}
}

// stamps is the socket that tasks tell their beginning to.
type stamps struct {
	path string
	conn net.PacketConn
}

func listen(e *Env) (*stamps, error) {
	dir, err := e.Folder("stamps")
	if err != nil {
		return nil, err
	}
	s := &stamps{path: filepath.Join(dir, "s")}
	s.conn, err = net.ListenPacket("unixgram", s.path)
	return s, err
}

// next waits for the next task to begin.
func (s *stamps) next() (time.Duration, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	buf := make([]byte, 64)
	n, _, err := s.conn.ReadFrom(buf)
	if err != nil {
		return 0, fmt.Errorf("wait for a task to begin: %w", err)
	}
	return work.StampOf(buf[:n])
}

// latencies pushes n tasks, each to an idle system, and returns how long they took to begin.
func (s *stamps) latencies(ctx context.Context, e *Env, n int, push func() error) (Values, error) {
	warm := min(5, n)
	var took []float64
	for i := range n + warm {
		if err := rig.Wait(ctx, 20*time.Millisecond+time.Duration(e.Rand.IntN(40000))*time.Microsecond); err != nil {
			return nil, err
		}
		pushed := work.Now()
		if err := push(); err != nil {
			return nil, err
		}
		began, err := s.next()
		if err != nil {
			return nil, err
		}
		if began < pushed {
			return nil, errors.New("a task began before it was pushed")
		}
		if i >= warm {
			took = append(took, float64(began-pushed)/1e6)
		}
	}
	slices.Sort(took)
	return Values{"p50": took[len(took)/2], "p99": took[min(len(took)-1, len(took)*99/100)]}, nil
}

func leptirPickUp(backend string, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		s, err := listen(e)
		if err != nil {
			return nil, err
		}
		defer s.conn.Close()
		h, err := started(ctx, e, rig.Setup{Backend: backend, Socket: s.path}, noop)
		if err != nil {
			return nil, err
		}
		defer closing(h, &err)
		return s.latencies(ctx, e, e.Size(full, quick), func() error {
			return h.Queue.Push(ctx, []task.Task{{ID: task.NewID(), Type: "bench.stamp", PushedAt: time.Now().UTC()}})
		})
	}
}

func asynqPickUp(full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (v Values, err error) {
		s, err := listen(e)
		if err != nil {
			return nil, err
		}
		defer s.conn.Close()
		a, err := startAsynq(ctx, e, 4, s.path)
		if err != nil {
			return nil, err
		}
		defer a.stopping(&err)
		return s.latencies(ctx, e, e.Size(full, quick), func() error {
			_, err := a.client.EnqueueContext(ctx, asynq.NewTask("bench.stamp", nil))
			return err
		})
	}
}
