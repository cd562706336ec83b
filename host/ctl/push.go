package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// maxNumber is the most tasks that one call pushes.
	maxNumber = 1_000_000
	// pushChunk is after how many tasks their ids are printed.
	pushChunk = 1000
	// pastGrace is how far -at may lie in the past: unix seconds have no fractions, so
	// that "now" is in the past when it arrives.
	pastGrace = 2 * time.Second
)

// pushFlags are the flags of push.
type pushFlags struct {
	single    params
	params    string
	priority  int
	delay     time.Duration
	at        time.Time
	timeLimit time.Duration
	attempts  int
	number    int
	id        string
	force     bool
	wait      bool
	timeout   time.Duration
	json      bool
}

func (p *program) pushCommand() *cobra.Command {
	f := &pushFlags{number: 1}
	cmd := &cobra.Command{
		Use:   "push TYPE [flags]",
		Short: "Push tasks and print their ids.",
		Long: "Push a task of the given type to the broker of its priority, and print its id on a line of its own. It is safely queued then.\n\n" +
			"Where the plugins are on this machine too, a type that none of them serves, and parameters that are not what the type's plugin wants, are refused.\n\n" +
			"With -wait its record is printed too once it has ended, after all attempts; the exit code is 1 if it failed or ran out of time.",
		Example: `  leptirctl push mailer.send -p to=ann@example.com -p copies=2
  leptirctl push report.make -params @report.json -at "2030-01-31 08:00"
  id=$(leptirctl push demo.noop)`,
		Args:              arguments("the TYPE of the task"),
		ValidArgsFunction: p.completeType,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("delay") && cmd.Flags().Changed("at") {
				return usagef("-delay and -at exclude each other")
			}
			if cmd.Flags().Changed("id") && f.number > 1 {
				return usagef("-id names one task, and -number asks for %d", f.number)
			}
			t, err := p.newTask(cmd.Context(), args[0], f)
			if err != nil {
				return err
			}
			return p.push(cmd.Context(), t, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	addParams(flags, &f.single, &f.params)
	flags.Var(newValue(&f.priority, "N", between(math.MinInt32, math.MaxInt32)), "priority", "the priority, 0 by default; a lower number is more urgent. The task goes to the first broker, by ascending number, whose number is not below it, else to the last")
	flags.Var(newValue(&f.delay, "DURATION", duration), "delay", "do not run it before so long from now: seconds, or a text like 1m30s")
	flags.Var(newValue(&f.at, "TIME", moment), "at", `do not run it before that time: 2030-01-31T08:00:00Z, "2030-01-31 08:00" (local time) or unix seconds`)
	flags.Var(newValue(&f.timeLimit, "DURATION", timeLimit), "time-limit", "the most time that it may run; by default what the host says; none is no limit")
	flags.Var(newValue(&f.attempts, "N", between(1, task.MostAttempts)), "max-attempts", "how often it is attempted if it fails; by default what its plugin or the host says")
	flags.Var(newValue(&f.number, "N", between(1, maxNumber)), "number", "push so many of it, 1 by default")
	flags.Var(newValue(&f.id, "ID", taskID), "id", "the task's id; a task with this id that is queued already is not queued twice. By default it gets a new one")
	flags.BoolVar(&f.force, "force", false, "push it although no plugin of this machine serves its type, or its parameters are not what the plugin wants")
	flags.BoolVar(&f.wait, "wait", false, "wait until it has ended and print its record")
	addTimeout(flags, &f.timeout)
	flags.BoolVar(&f.json, "json", false, `print JSON, an object a line: {"_id":ID}, or with -wait the record`)
	return cmd
}

func taskID(s string) (string, error) {
	if err := task.ID(s).Validate(); err != nil {
		return "", fmt.Errorf("cannot be used: %w", err)
	}
	return s, nil
}

// newTask makes the task that the command line describes.
func (p *program) newTask(ctx context.Context, typ string, f *pushFlags) (task.Task, error) {
	if err := task.ValidateType(typ); err != nil {
		return task.Task{}, usageError{err.Error()}
	}
	now := time.Now().UTC()
	t := task.Task{ID: task.ID(f.id), Type: typ, Priority: f.priority, TimeLimit: f.timeLimit, MaxAttempts: f.attempts, At: f.at}
	if !f.at.IsZero() && f.at.Before(now.Add(-pastGrace)) {
		return task.Task{}, usagef("-at is in the past: %s", stamp(f.at))
	}
	if f.delay > 0 {
		t.At = now.Add(f.delay)
	}
	var err error
	t.Params, err = p.readParams(ctx, f.params, f.single)
	return t, err
}

// push pushes the task as often as asked for.
func (p *program) push(ctx context.Context, t task.Task, f *pushFlags, stderr io.Writer) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	if !f.force {
		if err := checkTask(ctx, cfg, &t, f.single, stderr); err != nil {
			return err
		}
	}
	var w *waiter
	if f.wait {
		// Before the push: what cannot be waited for should not be pushed.
		st, err := openStores(ctx, cfg)
		if err != nil {
			return fmt.Errorf("nothing was pushed, as its record cannot be waited for: %w", err)
		}
		defer st.close()
		w = &waiter{stores: st, cfg: cfg, timeout: f.timeout, found: map[task.ID]task.Record{}}
		if t.ID != "" {
			if w.stale, err = w.oldRecords(ctx, t.ID); err != nil {
				return fmt.Errorf("nothing was pushed, as its record cannot be waited for: %w", err)
			}
		}
	}
	set, err := openForPush(ctx, cfg, t.Priority)
	if err != nil {
		return err
	}
	defer func() { _ = set.Close() }()
	if w != nil {
		if err := refuseDead(ctx, set, t); err != nil {
			return err
		}
	}
	ids, err := p.pushAll(ctx, set, t, f)
	if err != nil || w == nil {
		return err
	}
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return p.waitForAll(ctx, w, ids, f.json)
}

// pushAll pushes the task f.number times, each time with an id of its own, and prints the
// ids. With -wait and -json the record of a task says its id.
func (p *program) pushAll(ctx context.Context, set *brokers.Set, t task.Task, f *pushFlags) (all []task.ID, err error) {
	for pushed := 0; pushed < f.number; {
		tasks := make([]task.Task, min(pushChunk, f.number-pushed))
		for i := range tasks {
			tasks[i] = t
		}
		ids, err := set.Push(ctx, tasks)
		pushed += len(ids)
		if f.wait {
			all = append(all, ids...)
		}
		if !f.wait || !f.json {
			if printErr := p.printIDs(ids, f.json); err == nil {
				err = printErr
			}
		}
		if err != nil {
			if f.number > 1 {
				err = fmt.Errorf("%w (%d of %d tasks were pushed)", err, pushed, f.number)
			}
			return all, err
		}
	}
	return all, nil
}

// printIDs prints ids, each on a line of its own.
func (p *program) printIDs(ids []task.ID, asJSON bool) (err error) {
	for _, id := range ids {
		if asJSON {
			err = p.out.json(map[string]task.ID{"_id": id}, true)
		} else {
			_, err = fmt.Fprintln(p.out, id)
		}
		if err != nil {
			return err
		}
	}
	return p.out.Flush()
}

// refuseDead refuses to push a task under an id that is among the dead letters: it would be left
// there, and waiting for it would be in vain. After the push one could not tell it from a task
// that has run meanwhile and failed for good.
func refuseDead(ctx context.Context, set *brokers.Set, t task.Task) error {
	member := set.For(t.Priority)
	inspector, ok := member.Broker.(brokers.Inspector)
	if t.ID == "" || !ok {
		return nil
	}
	it, err := inspector.Find(ctx, t.ID)
	if err == nil && it.State == brokers.StateDead {
		return fmt.Errorf("task %s is among the dead letters of broker %q, where it stays; put it back with: leptirctl dead retry %s", t.ID, member.Name, t.ID)
	}
	if err != nil && !errors.Is(err, brokers.ErrNotFound) {
		return err
	}
	return nil
}

// waitForAll waits for the records of tasks and prints them.
func (p *program) waitForAll(ctx context.Context, w *waiter, ids []task.ID, asJSON bool) error {
	waitErr := w.wait(ctx, ids)
	failed := 0
	rows := [][]string{{"ID", "TYPE", "RESULT", "TIME", "RESPONSE"}}
	for _, id := range ids {
		r, ok := w.found[id]
		if !ok {
			continue
		}
		if r.RetC.Failed() {
			failed++
		}
		if asJSON {
			if err := p.out.json(r, true); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{string(r.ID), r.Type, r.RetC.String(), fmt.Sprintf("%.3f s", r.ExTime), r.RespM})
	}
	if len(rows) > 1 {
		if err := p.out.table(rows); err != nil {
			return err
		}
	}
	switch {
	case waitErr != nil:
		return waitErr
	case failed == 1 && len(ids) == 1:
		return fmt.Errorf("task %s failed: %s", ids[0], w.found[ids[0]].RetC)
	case failed > 0:
		return fmt.Errorf("%d of %s failed", failed, count(len(ids), "task", "tasks"))
	}
	return nil
}
