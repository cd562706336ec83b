package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/task"
)

// taskFlags are the flags of task.
type taskFlags struct {
	wait    bool
	timeout time.Duration
	json    bool
	table   bool
}

func (p *program) taskCommand() *cobra.Command {
	f := &taskFlags{}
	cmd := &cobra.Command{
		Use:   "task ID [flags]",
		Short: "Print what is known of a task.",
		Long: "Print the record of a task as a JSON object. status is 1 (pending), 2 (in progress) or 3 (completed); retC, once it has ended, " +
			"1 (success), 2 (warning), 3 (error), 4 (unknown) or 5 (time limit exceeded).\n\n" +
			"Of a task that is queued and has not begun, leptir.note says where it waits, and why; of one that runs, leptir.progress how far it is.",
		Args: arguments("the ID of the task"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := task.ID(args[0]).Validate(); err != nil {
				return usageError{err.Error()}
			}
			if f.json && f.table {
				return errJSONAndTable
			}
			return p.task(cmd.Context(), task.ID(args[0]), f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.wait, "wait", false, "wait until it has ended")
	addTimeout(flags, &f.timeout)
	flags.BoolVar(&f.json, "json", false, "print it on one line")
	flags.BoolVar(&f.table, "table", false, "print it as a table")
	return cmd
}

// task prints the record of a task.
func (p *program) task(ctx context.Context, id task.ID, f *taskFlags) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	st, err := openStores(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.close()
	r, stale, err := lookUp(ctx, cfg, st, id)
	if err != nil {
		return err
	}
	var waitErr error
	if f.wait && !ended(r) {
		w := &waiter{stores: st, cfg: cfg, timeout: f.timeout, stale: stale, found: map[task.ID]task.Record{}}
		if waitErr = w.wait(ctx, []task.ID{id}); waitErr == nil {
			r = w.found[id]
		} else if ctx.Err() == nil {
			// What is known now is newer than what was known before the wait.
			if now, _, err := lookUp(ctx, cfg, st, id); err == nil {
				r = now
			}
		}
	}
	if err := p.printRecord(r, f.table, f.json); err != nil {
		return err
	}
	return waitErr
}

// lookUp returns the record of a task, made from its queue where no store has one, or one
// of a run before it was queued again only. That one is in stale.
func lookUp(ctx context.Context, cfg *config.Config, st *stores, id task.ID) (r task.Record, stale map[task.ID]task.Record, err error) {
	found := map[task.ID]task.Record{}
	storeErr := st.get(ctx, []task.ID{id}, found)
	r, recorded := found[id]
	if recorded && !ended(r) {
		return r, nil, nil
	}
	brokerCtx := ctx
	if recorded {
		// An answer is there already, and most probably the right one.
		var cancel context.CancelFunc
		brokerCtx, cancel = context.WithTimeout(ctx, explainLimit)
		defer cancel()
	}
	it, queued, brokerErr := findInBrokers(brokerCtx, cfg, id)
	switch {
	case recorded && queued && it.queuedAgain(r):
		return it.record(), found, nil
	case recorded:
		return r, nil, nil
	case queued && storeErr == nil:
		return it.record(), nil, nil
	}
	if err := errors.Join(storeErr, st.trouble, brokerErr); storeErr != nil || st.trouble != nil || brokerErr != nil {
		return r, nil, fmt.Errorf("task %s: not found where it could be looked for: %w", id, err)
	}
	// It may have ended between the two looks: a host records before it settles.
	storeErr = st.get(ctx, []task.ID{id}, found)
	if r, recorded = found[id]; recorded {
		return r, nil, nil
	}
	if storeErr != nil {
		return r, nil, fmt.Errorf("task %s: not found where it could be looked for: %w", id, storeErr)
	}
	return r, nil, fmt.Errorf("there is no task %s: no broker has it, and no meta storage has a record of it", id)
}

// queued is a task in a broker.
type queued struct {
	brokers.Item
	broker string
}

// findInBrokers looks for a task in all brokers that can tell. An error of one counts only
// where no other has the task.
func findInBrokers(ctx context.Context, cfg *config.Config, id task.ID) (queued, bool, error) {
	var errs []error
	for _, block := range cfg.Brokers {
		it, err := findIn(ctx, cfg, block, id)
		if err == nil {
			return queued{it, block.Name}, true, nil
		}
		if !errors.Is(err, brokers.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return queued{}, false, errors.Join(errs...)
}

func findIn(ctx context.Context, cfg *config.Config, block config.Broker, id task.ID) (brokers.Item, error) {
	b, err := cfg.OpenBroker(ctx, block, nil)
	if err != nil {
		return brokers.Item{}, err
	}
	defer func() { _ = b.Handle.Close() }() // nothing was written
	inspector, ok := b.Handle.(brokers.Inspector)
	if !ok {
		return brokers.Item{}, brokers.ErrNotFound
	}
	return inspector.Find(ctx, id)
}

// queuedAgain reports whether a task waits for a run that comes after the one that the
// record is about, because somebody has put it back or pushed it again. A task whose host
// died between record and settlement is in its queue too, with a lost lease.
func (q queued) queuedAgain(r task.Record) bool {
	waits := q.State == brokers.StateReady || q.State == brokers.StateScheduled
	return waits && q.Lost == 0 && q.Attempt < r.Run.Attempt
}

// record makes the record of a task that has none.
func (q queued) record() task.Record {
	return task.Record{ID: q.ID, Status: task.Pending, Type: q.Task.Type, Run: task.Run{Attempt: q.Attempt, Note: q.describe()}}
}

// describe says where a task stands.
func (q queued) describe() string {
	text := string(q.State)
	switch q.State {
	case brokers.StateScheduled:
		text = "scheduled for " + stamp(q.Due)
	case brokers.StateReady:
		text = "ready since " + stamp(q.Due)
	case brokers.StateLeased:
		text = "leased by a host until " + stamp(q.Until)
	case brokers.StateDead:
		text = "a dead letter"
	}
	text += fmt.Sprintf(" in broker %q", q.broker)
	switch {
	case q.Note != "":
		text += ": parked, " + q.Note
	case q.State == brokers.StateDead && len(q.History) > 0:
		text += ": " + q.History[len(q.History)-1].Reason
	case q.Task.Type == "":
		text += ": its message cannot be read"
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
