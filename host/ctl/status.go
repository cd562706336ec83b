package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host"
	"github.com/backplane/leptir/host/config"
)

const (
	// statusLimit bounds the time in which a broker or store must answer.
	statusLimit = 10 * time.Second
	// Of parked tasks so many are looked at, and so many reasons shown.
	parkedLooked = 1000
	parkedShown  = 5
)

// statusReport is what status prints as JSON.
type statusReport struct {
	Brokers      []brokerStatus `json:"brokers"`
	MetaStorages []storeStatus  `json:"meta_storages"`
	// LimitGaps are limits of plugins that this machine does not enforce, were the host run
	// by who asks.
	LimitGaps []host.LimitGap `json:"limit_gaps,omitempty"`
}

// brokerStatus is one broker of a statusReport. Where Error is set the counts mean
// nothing.
type brokerStatus struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Priority int    `json:"priority"`
	// Weight is the broker's weight in the draw for the next task, RankWeight what it is
	// when the broker has something due.
	Weight     float64 `json:"weight"`
	RankWeight float64 `json:"rank_weight"`
	brokers.Stats
	ParkedReasons []parkedReason `json:"parked_reasons,omitempty"`
	Error         string         `json:"error,omitempty"`
}

// parkedReason is why some tasks of a broker are parked.
type parkedReason struct {
	Reason string `json:"reason"`
	Tasks  int    `json:"tasks"` // of those looked at
}

// storeStatus is one meta storage of a statusReport.
type storeStatus struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	OnFailure string `json:"on_failure"`
	Error     string `json:"error,omitempty"`
}

func (p *program) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Print how many tasks wait, run and have failed in each broker.",
		Long: "Print how many tasks of each broker are ready (due, waiting for a host), scheduled (not due yet, parked ones included), leased (held by a host), " +
			"dead (dead letters) and parked (given back with a reason, for example because no plugin serves their type).\n\n" +
			"The rank weight is the broker's share in the draw for the next task, against those of the others that have something due.",
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.status(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (p *program) status(ctx context.Context, asJSON bool) error {
	cfg, _, err := p.load()
	if err != nil {
		return err
	}
	report := gatherStatus(ctx, cfg)
	report.LimitGaps = host.LimitGaps(cfg)
	if asJSON {
		err = p.out.json(report, false)
	} else {
		err = p.printStatus(report)
	}
	return cmp.Or(err, report.failed())
}

// gatherStatus asks all brokers and stores at the same time.
func gatherStatus(ctx context.Context, cfg *config.Config) statusReport {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	report := statusReport{Brokers: make([]brokerStatus, len(cfg.Brokers)), MetaStorages: make([]storeStatus, len(cfg.MetaStorages))}
	var wg sync.WaitGroup
	for i, block := range cfg.Brokers {
		wg.Go(func() { report.Brokers[i] = askBroker(ctx, cfg, block) })
	}
	for i, block := range cfg.MetaStorages {
		wg.Go(func() { report.MetaStorages[i] = askStore(ctx, cfg, block) })
	}
	wg.Wait()
	priorities, due, all := make([]int, len(cfg.Brokers)), make([]bool, len(cfg.Brokers)), make([]bool, len(cfg.Brokers))
	for i, b := range report.Brokers {
		priorities[i], due[i], all[i] = b.Priority, b.Ready > 0, true
	}
	weights, rankWeights := brokers.Weights(priorities, due), brokers.Weights(priorities, all)
	for i := range report.Brokers {
		report.Brokers[i].Weight, report.Brokers[i].RankWeight = weights[i], rankWeights[i]
	}
	return report
}

func askBroker(ctx context.Context, cfg *config.Config, block config.Broker) brokerStatus {
	s := brokerStatus{Name: block.Name, Kind: block.Kind, Priority: block.Priority}
	b, err := cfg.OpenBroker(ctx, block, nil)
	if err != nil {
		s.Error = naming(fmt.Sprintf("broker %q: ", block.Name), err)
		return s
	}
	defer func() { _ = b.Handle.Close() }() // nothing was written
	if s.Stats, err = b.Handle.Stats(ctx); err != nil {
		s.Error = naming(fmt.Sprintf("broker %q: ", block.Name), err)
		return s
	}
	if pauser, ok := brokers.Ability[brokers.Pauser](b.Handle); ok {
		if since, err := pauser.Paused(ctx); err == nil {
			s.Paused = !since.IsZero()
		}
	}
	if inspector, ok := b.Handle.(brokers.Inspector); ok && s.Parked > 0 {
		// The counts stand without the reasons.
		s.ParkedReasons, _ = parkedReasons(ctx, inspector)
	}
	return s
}

// parkedReasons returns why tasks are parked, the commonest reason first.
func parkedReasons(ctx context.Context, b brokers.Inspector) (reasons []parkedReason, err error) {
	cursor, looked := "", 0
	for looked < parkedLooked {
		var items []brokers.Item
		items, cursor, err = b.List(ctx, brokers.StateScheduled, cursor, 100)
		for _, it := range items {
			looked++
			if it.Note == "" {
				continue
			}
			i := slices.IndexFunc(reasons, func(r parkedReason) bool { return r.Reason == it.Note })
			if i < 0 {
				i = len(reasons)
				reasons = append(reasons, parkedReason{Reason: it.Note})
			}
			reasons[i].Tasks++
		}
		if err != nil || cursor == "" {
			break
		}
	}
	slices.SortStableFunc(reasons, func(a, b parkedReason) int { return cmp.Compare(b.Tasks, a.Tasks) })
	return reasons[:min(len(reasons), parkedShown)], err
}

func askStore(ctx context.Context, cfg *config.Config, block config.MetaStorage) storeStatus {
	s := storeStatus{Name: block.Name, Kind: block.Kind, OnFailure: block.OnFailure}
	store, err := cfg.OpenStore(ctx, block, nil)
	if err == nil {
		// It asks for nothing but an answer.
		_, err = store.Handle.Get(ctx, nil)
		_ = store.Handle.Close()
	}
	if err != nil {
		s.Error = naming(fmt.Sprintf("meta storage %q: ", block.Name), err)
	}
	return s
}

// naming returns the text of an error, which begins with what it is about.
func naming(what string, err error) string {
	return what + strings.TrimPrefix(err.Error(), what)
}

// printStatus prints the report for people.
func (p *program) printStatus(report statusReport) error {
	rows := [][]string{{"BROKER", "KIND", "PRIORITY", "RANK WEIGHT", "READY", "SCHEDULED", "LEASED", "DEAD", "PARKED"}}
	var notes []string
	for _, b := range report.Brokers {
		row := []string{b.Name, b.Kind, strconv.Itoa(b.Priority), fraction(b.RankWeight)}
		if b.Error != "" {
			row = append(row, "-", "-", "-", "-", "-")
			notes = append(notes, b.Error)
		}
		for _, n := range []int64{b.Ready, b.Scheduled, b.Leased, b.Dead, b.Parked} {
			if b.Error == "" {
				row = append(row, strconv.FormatInt(n, 10))
			}
		}
		rows = append(rows, row)
		if b.Paused {
			notes = append(notes, fmt.Sprintf("queue %q is paused: it hands out no tasks until leptirctl queue resume %s", b.Name, b.Name))
		}
		for _, r := range b.ParkedReasons {
			notes = append(notes, fmt.Sprintf("parked in %q: %s (%s)", b.Name, r.Reason, count(r.Tasks, "task", "tasks")))
		}
	}
	if err := p.out.table(rows); err != nil {
		return err
	}
	fmt.Fprintln(p.out)
	rows = [][]string{{"META STORAGE", "KIND", "ON FAILURE", "STATE"}}
	for _, s := range report.MetaStorages {
		state := "ok"
		if s.Error != "" {
			state = "-"
			notes = append(notes, s.Error)
		}
		rows = append(rows, []string{s.Name, s.Kind, s.OnFailure, state})
	}
	if err := p.out.table(rows); err != nil {
		return err
	}
	for _, gap := range report.LimitGaps {
		notes = append(notes, gap.String())
	}
	if len(notes) > 0 {
		fmt.Fprintln(p.out)
	}
	for _, note := range notes {
		fmt.Fprintln(p.out, sentence(note))
	}
	return nil
}

// fraction writes a weight of 1/rank.
func fraction(weight float64) string {
	if weight == 1 {
		return "1"
	}
	return fmt.Sprintf("1/%.0f", 1/weight)
}

// failed returns an error that names what could not be reached.
func (r statusReport) failed() error {
	var names []string
	for _, b := range r.Brokers {
		if b.Error != "" {
			names = append(names, fmt.Sprintf("broker %q", b.Name))
		}
	}
	for _, s := range r.MetaStorages {
		if s.Error != "" {
			names = append(names, fmt.Sprintf("meta storage %q", s.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return errors.New(strings.Join(names, ", ") + " cannot be reached")
}
