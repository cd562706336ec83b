package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
)

func (p *program) queueCommand() *cobra.Command {
	queue := &cobra.Command{
		Use:   "queue COMMAND [flags]",
		Short: "List the queues, pause them and let them go on.",
		Long: "A paused queue hands out no tasks to any host, until somebody resumes it. Tasks can be pushed meanwhile, and those that run go on. " +
			"The pause is kept in the broker and outlives all programs; hosts see it within about a second, on SQS within five.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("say what to do: the commands are %s", strings.Join(commandNames(cmd), ", "))
		},
	}
	queue.AddCommand(p.queueList(), p.queuePause(), p.queueResume())
	return queue
}

func (p *program) queueList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the queues, and say which are paused.",
		Args:  arguments(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.listQueues(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	return cmd
}

func (p *program) queuePause() *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME...",
		Short: "Have a queue hand out no more tasks, and print its name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.switchQueues(cmd, args, func(ctx context.Context, b brokers.Pauser) error { return b.Pause(ctx) })
		},
	}
}

func (p *program) queueResume() *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME...",
		Short: "Have a paused queue hand out tasks again, and print its name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.switchQueues(cmd, args, func(ctx context.Context, b brokers.Pauser) error { return b.Resume(ctx) })
		},
	}
}

// switchQueues pauses or resumes the named queues.
func (p *program) switchQueues(cmd *cobra.Command, names []string, do func(context.Context, brokers.Pauser) error) error {
	if len(names) == 0 {
		return usagef("%s needs the NAMEs of queues, which are those of brokers in the configuration", cmd.Name())
	}
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	var blocks []config.Broker
	for _, name := range names {
		i := slices.IndexFunc(cfg.Brokers, func(b config.Broker) bool { return b.Name == name })
		if i < 0 {
			return noBroker(cfg, name)
		}
		blocks = append(blocks, cfg.Brokers[i])
	}
	var errs []error
	for _, block := range blocks {
		err := withPauser(cmd.Context(), cfg, block, func(b brokers.Pauser) error { return do(cmd.Context(), b) })
		if err == nil {
			_, err = fmt.Fprintln(p.out, block.Name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// noBroker is the error of a name that no broker has.
func noBroker(cfg *config.Config, name string) error {
	var names []string
	for _, block := range cfg.Brokers {
		names = append(names, block.Name)
	}
	return usagef("there is no broker %q; the brokers are %s", shorten(name), strings.Join(names, ", "))
}

// withPauser calls do with an opened broker.
func withPauser(ctx context.Context, cfg *config.Config, block config.Broker, do func(brokers.Pauser) error) error {
	opened, err := cfg.OpenBroker(ctx, block, nil)
	if err != nil {
		return err
	}
	pauser, ok := brokers.Ability[brokers.Pauser](opened.Handle)
	if ok {
		err = do(pauser)
	} else {
		err = fmt.Errorf("broker %q: its kind %q cannot be paused", block.Name, block.Kind)
	}
	return errors.Join(err, opened.Handle.Close())
}

// queueState is one queue as JSON.
type queueState struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"`
	Priority    int       `json:"priority"`
	PausedSince time.Time `json:"paused_since,omitzero"`
	Error       string    `json:"error,omitempty"`
	brokers.Stats
}

func (p *program) listQueues(ctx context.Context, asJSON bool) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	rows := [][]string{{"QUEUE", "KIND", "PRIORITY", "STATE", "READY", "SCHEDULED", "LEASED", "DEAD"}}
	var errs []error
	for _, block := range cfg.Brokers {
		q := askQueue(ctx, cfg, block)
		if q.Error != "" {
			errs = append(errs, errors.New(q.Error))
		}
		if asJSON {
			if err := p.out.json(q, true); err != nil {
				return err
			}
			continue
		}
		row := []string{q.Name, q.Kind, strconv.Itoa(q.Priority), "active"}
		switch {
		case q.Error != "":
			row[3] = "-"
			rows = append(rows, append(row, "-", "-", "-", "-"))
			continue
		case !q.PausedSince.IsZero():
			row[3] = "paused since " + at(q.PausedSince)
		}
		for _, n := range []int64{q.Ready, q.Scheduled, q.Leased, q.Dead} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		rows = append(rows, row)
	}
	if !asJSON {
		if err := p.out.table(rows); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func askQueue(ctx context.Context, cfg *config.Config, block config.Broker) queueState {
	q := queueState{Name: block.Name, Kind: block.Kind, Priority: block.Priority}
	opened, err := cfg.OpenBroker(ctx, block, nil)
	if err == nil {
		q.Stats, err = opened.Handle.Stats(ctx)
		if pauser, ok := brokers.Ability[brokers.Pauser](opened.Handle); ok && err == nil {
			q.PausedSince, err = pauser.Paused(ctx)
			q.Paused = !q.PausedSince.IsZero()
		}
		_ = opened.Handle.Close() // nothing was written
	}
	if err != nil {
		q.Error = naming(fmt.Sprintf("broker %q: ", block.Name), err)
	}
	return q
}
