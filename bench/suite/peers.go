package suite

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/backplane/leptir/bench/peers"
	"github.com/backplane/leptir/bench/rig"
)

// The peers that are measured where somebody asks for them.
const (
	Celery = "celery"
	BullMQ = "bullmq"
)

// celeryThroughput measures how many tasks a second Celery's prefork pool of 4 ends, by the
// results that it keeps; with fresh it forks a child for each.
func celeryThroughput(fresh bool, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (Values, error) {
		n := e.Size(full, quick)
		dir, err := e.Folder("celery")
		if err != nil {
			return nil, err
		}
		if err := peers.Copy(Celery, dir); err != nil {
			return nil, err
		}
		url := func(db int) string { return fmt.Sprintf("redis://%s/%d", e.RedisAddr(), db) }
		env := []string{"BENCH_BROKER=" + url(rig.CeleryDB), "BENCH_RESULTS=" + url(rig.CeleryDB+1)}
		push := exec.CommandContext(ctx, peers.Python, "noop.py", strconv.Itoa(n))
		push.Dir = dir
		push.Env = append(push.Environ(), env...)
		if out, err := push.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("push to Celery: %w: %s", err, out)
		}
		args := []string{"-m", "celery", "-A", "noop", "worker", "--pool=prefork", "--concurrency=4", "--loglevel=ERROR",
			"--without-gossip", "--without-mingle"}
		if fresh {
			args = append(args, "--max-tasks-per-child=1")
		}
		return ended(ctx, e, n, rig.CeleryDB+1, "", dir, env, peers.Python, args...)
	}
}

// bullThroughput measures how many jobs a second BullMQ completes in 4 processes.
func bullThroughput(full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (Values, error) {
		n := e.Size(full, quick)
		dir, _, err := peers.BullMQ(ctx)
		if err != nil {
			return nil, err
		}
		args := []string{strconv.Itoa(e.RedisPort()), strconv.Itoa(rig.BullDB)}
		push := exec.CommandContext(ctx, "node", append(append([]string{"push.mjs"}, args...), strconv.Itoa(n))...)
		push.Dir = dir
		if out, err := push.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("push to BullMQ: %w: %s", err, out)
		}
		return ended(ctx, e, n, rig.BullDB, "bull:bench:completed", dir, nil, "node", append(append([]string{"worker.mjs"}, args...), "4")...)
	}
}

// ended runs a worker until it has ended n tasks, by the members of a sorted set, or, where
// that has no name, by the keys of the database. It returns the rate.
func ended(ctx context.Context, e *Env, n, db int, set, dir string, env []string, path string, args ...string) (v Values, err error) {
	c := e.Redis(db)
	defer c.Close()
	worker, err := rig.StartProcess(dir, env, path, args...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if serr := worker.Stop(15 * time.Second); err == nil {
			err = serr
		}
	}()
	perSecond, err := drain(ctx, n, func(ctx context.Context) (int64, error) {
		if set != "" {
			done, err := c.ZCard(ctx, set).Result()
			return int64(n) - done, err
		}
		done, err := c.DBSize(ctx).Result()
		return int64(n) - done, err
	})
	return Values{"rate": perSecond}, err
}
