package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/task"
)

// defaultGrace is how long a running task may take to end by itself once it is cancelled.
const defaultGrace = 10 * time.Second

// cancelFlags are the flags of cancel.
type cancelFlags struct {
	grace  time.Duration
	reason string
	json   bool
}

func (p *program) cancelCommand() *cobra.Command {
	f := &cancelFlags{grace: defaultGrace}
	cmd := &cobra.Command{
		Use:   "cancel ID... [flags]",
		Short: "Take tasks out of their queues, and stop those that run.",
		Long: "Take tasks out of their queues, and stop those that run, on whatever host. A task that waits is removed. A running one's " +
			"context is cancelled within about a second; if it has not ended when the grace is over, its process is killed. Its record says so: " +
			"status 3, retC 3, leptir.error \"" + cancel.DefaultReason + "\", leptir.exit.reason \"cancelled\". It is not retried.\n\n" +
			"SQS can neither remove a certain task nor mark one that is running: the wish is left in the meta storages instead, and a " +
			"task that waits is discarded when it is received.",
		RunE: func(cmd *cobra.Command, args []string) error { return p.cancel(cmd.Context(), args, f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(newValue(&f.grace, "TIME", graceTime), "grace", "how long a running task may take to end by itself, 10s by default; 0 kills it at once")
	flags.Var(newValue(&f.reason, "TEXT", nonEmpty), "reason", "why, for the tasks' records")
	flags.BoolVar(&f.json, "json", false, "print JSON, an object a line")
	return cmd
}

func graceTime(s string) (time.Duration, error) {
	d, err := duration(s)
	if err == nil && d > brokers.MaxGrace {
		err = fmt.Errorf("must be at most %v, not %s", brokers.MaxGrace, shorten(s))
	}
	return d, err
}

// cancelled is what came of a cancellation.
type cancelled struct {
	ID      task.ID `json:"_id"`
	Outcome string  `json:"outcome"`          // "removed", "stopping", "noted"
	Broker  string  `json:"broker,omitempty"` // where it was
	text    string  // for people
}

func (p *program) cancel(ctx context.Context, args []string, f *cancelFlags) error {
	if len(args) == 0 {
		return usagef("cancel needs the IDs of tasks")
	}
	var ids []task.ID
	for _, arg := range args {
		id := task.ID(arg)
		if err := id.Validate(); err != nil {
			return usageError{err.Error()}
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	c := newCanceller(cfg)
	defer c.close()
	c.open(ctx)
	wish := brokers.Cancellation{At: time.Now().UTC(), Grace: f.grace, Reason: cancel.DefaultReason}
	if f.reason != "" {
		wish.Reason += ": " + f.reason
	}
	var failed []string
	for _, id := range ids {
		done, err := c.cancel(ctx, id, wish)
		if done.Outcome != "" {
			if f.json {
				err = errors.Join(err, p.out.json(done, true))
			} else if _, printErr := fmt.Fprintf(p.out, "%s: %s\n", id, done.text); printErr != nil {
				err = errors.Join(err, printErr)
			}
		}
		if err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "\n"))
	}
	return nil
}

// canceller cancels tasks through all brokers of a configuration.
type canceller struct {
	cfg     *config.Config
	brokers []config.OpenBroker // those that could be opened
	down    error               // why the others could not
	stores  *stores             // nil until they are needed
}

func newCanceller(cfg *config.Config) *canceller { return &canceller{cfg: cfg} }

func (c *canceller) open(ctx context.Context) {
	for _, block := range c.cfg.Brokers {
		opened, err := c.cfg.OpenBroker(ctx, block, nil)
		if err != nil {
			c.down = errors.Join(c.down, err)
			continue
		}
		c.brokers = append(c.brokers, opened)
	}
}

func (c *canceller) close() {
	for _, b := range c.brokers {
		_ = b.Handle.Close() // what it was asked for is done
	}
	if c.stores != nil {
		c.stores.close()
	}
}

// cancel cancels one task. done is empty if nothing was done.
func (c *canceller) cancel(ctx context.Context, id task.ID, wish brokers.Cancellation) (done cancelled, err error) {
	trouble := c.down
	var blind []string // brokers that cannot say whether they have the task
	for _, b := range c.brokers {
		can, ok := brokers.Ability[brokers.Canceller](b.Handle)
		if !ok {
			blind = append(blind, b.Name)
			continue
		}
		it, err := can.Cancel(ctx, id, wish)
		switch {
		case errors.Is(err, brokers.ErrNotFound):
			continue
		case err != nil:
			trouble = errors.Join(trouble, err)
			continue
		}
		done = cancelled{ID: id, Broker: b.Name}
		switch it.State {
		case brokers.StateDead:
			return cancelled{}, fmt.Errorf("task %s has ended already: it is a dead letter of broker %q; leptirctl dead delete %s deletes it", id, b.Name, id)
		case brokers.StateLeased:
			done.Outcome, done.text = "stopping", fmt.Sprintf("a host has it and stops it within about a second, with a grace of %v", wish.Grace)
			return done, nil
		}
		done.Outcome, done.text = "removed", fmt.Sprintf("removed from broker %q, where it waited", b.Name)
		if err := c.record(ctx, it, wish); err != nil {
			return done, fmt.Errorf("task %s was removed from broker %q, but its record could not be written: %w", id, b.Name, err)
		}
		return done, nil
	}
	return c.cancelUnseen(ctx, id, wish, blind, trouble)
}

// record writes the record of a task that was removed.
func (c *canceller) record(ctx context.Context, it brokers.Item, wish brokers.Cancellation) error {
	was, _, err := c.known(ctx, it.ID)
	if err != nil {
		return err
	}
	return c.stores.put(ctx, cancel.Removed(it, was, wish, time.Now()))
}

// known returns the record of a task.
func (c *canceller) known(ctx context.Context, id task.ID) (r task.Record, found bool, err error) {
	if c.stores == nil {
		if c.stores, err = openStores(ctx, c.cfg); err != nil {
			c.stores = nil
			return r, false, err
		}
	}
	records := map[task.ID]task.Record{}
	err = c.stores.get(ctx, []task.ID{id}, records)
	r, found = records[id]
	return r, found, err
}

// cancelUnseen does what can be done for a task that no broker has, as far as they can say.
func (c *canceller) cancelUnseen(ctx context.Context, id task.ID, wish brokers.Cancellation, blind []string, trouble error) (cancelled, error) {
	r, recorded, err := c.known(ctx, id)
	switch {
	case err != nil:
		return cancelled{}, fmt.Errorf("task %s cannot be cancelled: %w", id, errors.Join(trouble, err))
	case recorded && ended(r):
		how := r.RetC.String()
		if cancel.Was(r) {
			how = "it was cancelled"
		}
		return cancelled{}, fmt.Errorf("task %s has ended already, at %s: %s", id, stamp(r.Run.Ended), how)
	case len(blind) > 0:
		// The clock of its producer may be ahead: the wish is about this task, not an older one.
		if pushed := task.PushedBy(r.Run.Delivery); recorded && wish.At.Before(pushed) {
			wish.At = pushed
		}
		note, err := cancel.Wish(id, wish)
		if err == nil {
			err = c.stores.put(ctx, note)
		}
		if err != nil {
			return cancelled{}, fmt.Errorf("task %s cannot be cancelled: %w", id, err)
		}
		text := fmt.Sprintf("broker %s cannot say whether it has the task; the wish is noted in the meta storages: it is stopped within about a second if it runs, and discarded when it is received", quoted(blind))
		return cancelled{ID: id, Outcome: "noted", text: text}, trouble
	case trouble != nil:
		return cancelled{}, fmt.Errorf("task %s was not found where it could be looked for: %w", id, trouble)
	case recorded:
		return cancelled{}, fmt.Errorf("no broker has task %s any more, though its record does not say that it has ended (status %d)", id, r.Status)
	}
	return cancelled{}, fmt.Errorf("there is no task %s: no broker has it, and no meta storage has a record of it", id)
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, " and ")
}
