package ctl

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/task"
)

const (
	// deadPage is how many dead letters are asked for, put back or deleted in one call.
	deadPage = 200
	// deadListed is how many dead letters are listed where nobody says otherwise.
	deadListed = 100
)

// deadFlags are the flags of the commands below dead.
type deadFlags struct {
	broker string
	deadFilter
	limit int
	json  bool
}

// deadFilter says which dead letters are meant; what is not set admits all.
type deadFilter struct {
	typ    string
	reason string        // a part of the reason, whatever its case
	older  time.Duration // at least so old
	newer  time.Duration // at most so old
}

func (f deadFilter) isSet() bool { return f != deadFilter{} }

// admits reports whether a dead letter is meant.
func (f deadFilter) admits(it brokers.Item, now time.Time) bool {
	died, reason := death(it)
	age := now.Sub(died)
	return (f.typ == "" || it.Task.Type == f.typ) &&
		(f.reason == "" || strings.Contains(strings.ToLower(reason), strings.ToLower(f.reason))) &&
		(f.older == 0 || !died.IsZero() && age >= f.older) &&
		(f.newer == 0 || !died.IsZero() && age <= f.newer)
}

// death returns when a dead letter died, and why.
func death(it brokers.Item) (at time.Time, reason string) {
	if n := len(it.History); n > 0 {
		return it.History[n-1].Time, it.History[n-1].Reason
	}
	return time.Time{}, ""
}

func (p *program) deadCommand() *cobra.Command {
	dead := &cobra.Command{
		Use:   "dead COMMAND [flags]",
		Short: "List dead letters, put them back or delete them.",
		Long: "Dead letters are tasks that have failed for good, and messages that cannot be read. They stay in their broker until " +
			"somebody puts them back (their attempts are counted from anew) or deletes them.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("say what to do: the commands are %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	dead.AddCommand(p.deadList(), p.deadShow(), p.deadRetry(), p.deadDelete(), p.deadPurge())
	return dead
}

// flags adds the flags that choose among dead letters.
func (f *deadFlags) flags(cmd *cobra.Command, byType bool) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(newValue(&f.broker, "NAME", nonEmpty), "broker", "only those of this broker")
	if byType {
		flags.Var(newValue(&f.typ, "TYPE", taskType), "type", "only those of this task type")
		flags.Var(newValue(&f.reason, "TEXT", nonEmpty), "reason", "only those whose reason contains this text, in whatever case")
		flags.Var(newValue(&f.older, "AGE", age), "older", "only those that died at least so long ago: seconds, or a text like 36h")
		flags.Var(newValue(&f.newer, "AGE", age), "newer", "only those that died at most so long ago")
	}
}

func age(s string) (time.Duration, error) {
	d, err := duration(s)
	if err == nil && d == 0 {
		err = errors.New("must be more than 0")
	}
	return d, err
}

func taskType(s string) (string, error) {
	if err := task.ValidateType(s); err != nil {
		return "", fmt.Errorf("cannot be used: %w", err)
	}
	return s, nil
}

func (p *program) deadList() *cobra.Command {
	f := &deadFlags{limit: deadListed}
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List dead letters, those that died first at the top.",
		Args:  arguments(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.listDead(cmd.Context(), f) },
	}
	f.flags(cmd, true)
	cmd.Flags().Var(newValue(&f.limit, "N", between(1, math.MaxInt32)), "limit", fmt.Sprintf("list at most so many, %d by default", deadListed))
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, an object a line")
	return cmd
}

func (p *program) deadShow() *cobra.Command {
	f := &deadFlags{}
	cmd := &cobra.Command{
		Use:   "show ID [flags]",
		Short: "Print a dead letter with its parameters and its history, as JSON.",
		Args:  arguments("the ID of the dead letter"),
		RunE:  func(cmd *cobra.Command, args []string) error { return p.showDead(cmd.Context(), task.ID(args[0]), f) },
	}
	f.flags(cmd, false)
	cmd.Flags().BoolVar(&f.json, "json", false, "print it on one line")
	return cmd
}

func (p *program) deadRetry() *cobra.Command {
	f := &deadFlags{}
	cmd := &cobra.Command{
		Use:   "retry ID... | FILTER [flags]",
		Short: "Put dead letters back into their queue, and print their ids.",
		Long: "Put dead letters back into their queue, and print the ids of those that are ready now. Their attempts are counted from anew.\n\n" +
			"Without an ID, all that the filters -type, -reason, -older and -newer admit are put back.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeDead(cmd, args, f, func(ctx context.Context, b deadBroker, ids []task.ID) ([]task.ID, error) {
				return b.Requeue(ctx, ids)
			})
		},
	}
	f.flags(cmd, true)
	return cmd
}

func (p *program) deadDelete() *cobra.Command {
	f := &deadFlags{}
	cmd := &cobra.Command{
		Use:   "delete ID... | FILTER [flags]",
		Short: "Delete dead letters for good, and print their ids.",
		Long: "Delete dead letters for good, and print the ids of those that are gone now.\n\n" +
			"Without an ID, all that the filters -type, -reason, -older and -newer admit are deleted.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeDead(cmd, args, f, deleteDead)
		},
	}
	f.flags(cmd, true)
	return cmd
}

func (p *program) deadPurge() *cobra.Command {
	f := &deadFlags{}
	cmd := &cobra.Command{
		Use:   "purge [flags]",
		Short: "Delete all dead letters for good, or those that the filters admit.",
		Args:  arguments(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.purgeDead(cmd.Context(), f) },
	}
	f.flags(cmd, true)
	cmd.Flags().BoolVar(&f.json, "json", false, `print {"deleted":NUMBER}`)
	return cmd
}

// deadBroker is an opened broker whose dead letters can be looked at.
type deadBroker struct {
	config.OpenBroker
	brokers.Inspector
}

// eachDeadBroker calls f for every broker that -broker admits. One that fails does not
// keep the others from their turn; the errors come joined, at the end.
func (p *program) eachDeadBroker(ctx context.Context, f *deadFlags, do func(deadBroker) error) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	if f.broker != "" {
		if !slices.ContainsFunc(cfg.Brokers, func(b config.Broker) bool { return b.Name == f.broker }) {
			return noBroker(cfg, f.broker)
		}
	}
	var errs []error
	for _, block := range cfg.Brokers {
		if f.broker != "" && f.broker != block.Name {
			continue
		}
		opened, err := cfg.OpenBroker(ctx, block, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if inspector, ok := opened.Handle.(brokers.Inspector); ok {
			errs = append(errs, do(deadBroker{opened, inspector}))
		} else {
			errs = append(errs, fmt.Errorf("broker %q: its kind %q cannot list tasks", block.Name, block.Kind))
		}
		if err := opened.Handle.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// letters calls do for the dead letters that the filter admits until it says that it has
// enough.
func (b deadBroker) letters(ctx context.Context, f deadFilter, do func(brokers.Item) (more bool)) error {
	now := time.Now()
	for cursor := ""; ; {
		items, next, err := b.List(ctx, brokers.StateDead, cursor, deadPage)
		if err != nil {
			return err
		}
		for _, it := range items {
			if f.admits(it, now) && !do(it) {
				return nil
			}
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

// ids returns the ids of all dead letters that the filter admits. They are gathered before
// any is touched, as pages shift when letters go.
func (b deadBroker) ids(ctx context.Context, f deadFilter) (ids []task.ID, err error) {
	err = b.letters(ctx, f, func(it brokers.Item) bool { ids = append(ids, it.ID); return true })
	return ids, err
}

// deleteDead deletes tasks that are dead letters, and returns the ids that are not.
func deleteDead(ctx context.Context, b deadBroker, ids []task.ID) (missing []task.ID, err error) {
	var dead []task.ID
	for _, id := range ids {
		it, err := b.Find(ctx, id)
		switch {
		case err == nil && it.State == brokers.StateDead:
			dead = append(dead, id)
		case err == nil || errors.Is(err, brokers.ErrNotFound):
			missing = append(missing, id)
		default:
			return nil, err
		}
	}
	gone, err := b.Delete(ctx, dead)
	return append(missing, gone...), err
}

// change does something to dead letters of a broker, and returns the ids that are none.
type change func(ctx context.Context, b deadBroker, ids []task.ID) (missing []task.ID, err error)

// changeDead puts back or deletes the dead letters that the command line names, and prints
// the ids of those that it found.
func (p *program) changeDead(cmd *cobra.Command, args []string, f *deadFlags, do change) error {
	switch {
	case len(args) == 0 && !f.isSet():
		return usagef("%s needs the IDs of dead letters, or one of -type, -reason, -older and -newer", cmd.Name())
	case len(args) > 0 && f.isSet():
		return usagef("name IDs, or filter by -type, -reason, -older and -newer, not both")
	}
	wanted := make([]task.ID, 0, len(args))
	for _, arg := range args {
		id := task.ID(arg)
		if err := id.Validate(); err != nil {
			return usageError{err.Error()}
		}
		if !slices.Contains(wanted, id) {
			wanted = append(wanted, id)
		}
	}
	left := wanted
	err := p.eachDeadBroker(cmd.Context(), f, func(b deadBroker) (err error) {
		ids := left
		if f.isSet() {
			if ids, err = b.ids(cmd.Context(), f.deadFilter); err != nil {
				return err
			}
		}
		left, err = p.changeIn(cmd.Context(), b, ids, do)
		return err
	})
	switch {
	case f.isSet():
		return err
	case len(left) == 0:
		return nil // a broker that failed had none of them
	case err != nil:
		return err
	case len(wanted) == 1:
		return fmt.Errorf("%s is not among the dead letters", left[0])
	}
	return fmt.Errorf("%d of %d are not among the dead letters: %s", len(left), len(wanted), clip(join(left), 500))
}

// changeIn changes dead letters of one broker, and prints the ids of those that it found.
// It returns the others.
func (p *program) changeIn(ctx context.Context, b deadBroker, ids []task.ID, do change) (left []task.ID, err error) {
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), deadPage)]
		missing, err := do(ctx, b, chunk)
		if err != nil {
			return append(left, ids...), err
		}
		ids = ids[len(chunk):]
		left = append(left, missing...)
		done := slices.DeleteFunc(slices.Clone(chunk), func(id task.ID) bool { return slices.Contains(missing, id) })
		if err := p.printIDs(done, false); err != nil {
			return append(left, ids...), err
		}
	}
	return left, nil
}

func join(ids []task.ID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return strings.Join(texts, ", ")
}

// purgeDead deletes dead letters.
func (p *program) purgeDead(ctx context.Context, f *deadFlags) error {
	deleted := 0
	err := p.eachDeadBroker(ctx, f, func(b deadBroker) error {
		ids, err := b.ids(ctx, f.deadFilter)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(ids, deadPage) {
			missing, err := deleteDead(ctx, b, chunk)
			if err != nil {
				return err
			}
			deleted += len(chunk) - len(missing)
		}
		return nil
	})
	if errors.As(err, new(usageError)) {
		return err
	}
	var printErr error
	if f.json {
		printErr = p.out.json(map[string]int{"deleted": deleted}, true)
	} else {
		_, printErr = fmt.Fprintf(p.out, "deleted %s\n", count(deleted, "dead letter", "dead letters"))
	}
	return errors.Join(err, printErr)
}

// letter is a dead letter as JSON.
type letter struct {
	ID      task.ID         `json:"_id"`
	Broker  string          `json:"broker"`
	Type    string          `json:"type"`
	Params  json.RawMessage `json:"params,omitempty"`
	Due     time.Time       `json:"due,omitzero"`
	Died    time.Time       `json:"died,omitzero"`
	Attempt int             `json:"attempts"`
	Lost    int             `json:"lost"`
	Reason  string          `json:"reason"`
	History []brokers.Event `json:"history,omitempty"`
	// Raw is the message of one that cannot be read; RawBase64 where it is no text.
	Raw       string `json:"raw,omitempty"`
	RawBase64 string `json:"raw_base64,omitempty"`
}

// newLetter returns a dead letter as JSON, in full or without what can be large.
func newLetter(b deadBroker, it brokers.Item, full bool) letter {
	l := letter{ID: it.ID, Broker: b.Name, Type: it.Task.Type, Due: it.Due.UTC(), Attempt: it.Attempt, Lost: it.Lost}
	if died, reason := death(it); !died.IsZero() {
		l.Died, l.Reason = died.UTC(), reason
	}
	if !full {
		return l
	}
	l.Params, l.History = it.Task.Params, it.History
	switch {
	case it.Task.Type != "":
	case utf8.Valid(it.Raw):
		l.Raw = string(it.Raw)
	default:
		l.RawBase64 = base64.StdEncoding.EncodeToString(it.Raw)
	}
	return l
}

func (p *program) listDead(ctx context.Context, f *deadFlags) error {
	var letters []letter
	more := false
	err := p.eachDeadBroker(ctx, f, func(b deadBroker) error {
		return b.letters(ctx, f.deadFilter, func(it brokers.Item) bool {
			more = len(letters) == f.limit
			if !more {
				letters = append(letters, newLetter(b, it, false))
			}
			return !more
		})
	})
	if errors.As(err, new(usageError)) {
		return err
	}
	if f.json {
		for _, l := range letters {
			if printErr := p.out.json(l, true); printErr != nil {
				return printErr
			}
		}
		return err
	}
	if len(letters) > 0 {
		rows := [][]string{{"ID", "TYPE", "BROKER", "ATTEMPTS", "DIED", "REASON"}}
		for _, l := range letters {
			rows = append(rows, []string{string(l.ID), l.Type, l.Broker, strconv.Itoa(l.Attempt), at(l.Died), l.Reason})
		}
		if printErr := p.out.table(rows); printErr != nil {
			return printErr
		}
	}
	if more {
		fmt.Fprintf(p.out, "there are more than %d; -limit lists more of them\n", f.limit)
	}
	return err
}

func (p *program) showDead(ctx context.Context, id task.ID, f *deadFlags) error {
	if err := id.Validate(); err != nil {
		return usageError{err.Error()}
	}
	var shown *letter
	other := ""
	err := p.eachDeadBroker(ctx, f, func(b deadBroker) error {
		if shown != nil {
			return nil
		}
		it, err := b.Find(ctx, id)
		switch {
		case errors.Is(err, brokers.ErrNotFound):
			return nil
		case err != nil:
			return err
		case it.State != brokers.StateDead:
			other = (queued{it, b.Name}).describe()
			return nil
		}
		l := newLetter(b, it, true)
		shown = &l
		return nil
	})
	switch {
	case shown != nil:
		return p.out.json(shown, f.json)
	case err != nil:
		return err
	case other != "":
		return fmt.Errorf("task %s is not a dead letter, it is %s", id, other)
	}
	return fmt.Errorf("%s is not among the dead letters", id)
}
