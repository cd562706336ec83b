// Package guard tells when a change has made leptir's hot paths dearer. It counts what they
// allocate for a task, which a busy machine hardly moves, and compares that with a kept
// baseline; of the time it looks only at one ratio, measured in one run, and only at whether
// it has collapsed.
package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/suite"
)

const (
	// tolerance is the loss that is let pass.
	tolerance = 0.15
	// slackAllocs and slackBytes are let pass on top of it: small counts move in large steps,
	// since they hold a share of what is allocated for a batch.
	slackAllocs = 0.3
	slackBytes  = 48
	// tries is how often each path is measured; the least counts.
	tries = 3
)

// Cost is what a path allocates for one task.
type Cost struct {
	Allocs float64 `json:"allocs"`
	Bytes  float64 `json:"bytes"`
}

// Baseline is what the paths cost when it was written.
type Baseline struct {
	// Costs are the costs by path.
	Costs map[string]Cost `json:"costs"`
	// LeastRatio is the least that leptir's rate on Redis may be to asynq's in a short run.
	// It is far below what is measured on a quiet machine.
	LeastRatio float64 `json:"least_ratio"`
}

// File is where the baseline is kept.
func File() string { return filepath.Join(rig.Root(), "bench", "baseline.json") }

// Run measures, and compares with the baseline; with update it writes that anew instead.
func Run(ctx context.Context, w io.Writer, update bool) error {
	begin := time.Now()
	b, err := read()
	if err != nil && !update {
		return err
	}
	r, err := rig.New(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	now := Baseline{Costs: map[string]Cost{}, LeastRatio: b.LeastRatio}
	for _, p := range paths() {
		c, err := least(ctx, r, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		now.Costs[p.name] = c
	}
	if update {
		return write(now)
	}
	problems := compare(w, b, now)
	ratio, err := ratioToAsynq(ctx, r)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "leptir on Redis runs %.1f times as many tasks as asynq (at least %.1f)\n", ratio, b.LeastRatio)
	if ratio < b.LeastRatio {
		problems = append(problems, fmt.Sprintf("leptir on Redis runs only %.1f times as many tasks as asynq, at least %.1f are wanted", ratio, b.LeastRatio))
	}
	fmt.Fprintf(w, "took %.0f s\n", time.Since(begin).Seconds())
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n  ") + "\n  If that is meant: go run . -guard -update, and say in the commit why")
	}
	return nil
}

// compare prints the costs beside those of the baseline and returns what is dearer.
func compare(w io.Writer, old, now Baseline) (problems []string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "for each task\tallocations\twere\tbytes\twere\t")
	for _, p := range paths() {
		is, was := now.Costs[p.name], old.Costs[p.name]
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.0f\t%.0f\t\n", p.name, is.Allocs, was.Allocs, is.Bytes, was.Bytes)
		if _, ok := old.Costs[p.name]; !ok {
			problems = append(problems, p.name+": not in the baseline")
			continue
		}
		if is.Allocs > was.Allocs*(1+tolerance)+slackAllocs {
			problems = append(problems, fmt.Sprintf("%s: %.2f allocations for each task, %.2f before", p.name, is.Allocs, was.Allocs))
		}
		if is.Bytes > was.Bytes*(1+tolerance)+slackBytes {
			problems = append(problems, fmt.Sprintf("%s: %.0f bytes for each task, %.0f before", p.name, is.Bytes, was.Bytes))
		}
	}
	_ = t.Flush()
	return problems
}

// path is a hot path. run returns what it allocates for a task.
type path struct {
	name string
	run  func(ctx context.Context, r *rig.Rig) (Cost, error)
}

// meter counts what this process allocates between two calls of read.
type meter struct {
	stats [2]runtime.MemStats
	reads int
}

func (m *meter) read() {
	runtime.ReadMemStats(&m.stats[m.reads])
	m.reads++
}

// cost is what was allocated for each of n tasks.
func (m *meter) cost(n int) Cost {
	return Cost{float64(m.stats[1].Mallocs-m.stats[0].Mallocs) / float64(n),
		float64(m.stats[1].TotalAlloc-m.stats[0].TotalAlloc) / float64(n)}
}

// least measures a path several times: what else the process does at the time only adds.
func least(ctx context.Context, r *rig.Rig, p path) (Cost, error) {
	c := Cost{math.Inf(1), math.Inf(1)}
	for range tries {
		now, err := p.run(ctx, r)
		if err != nil {
			return c, err
		}
		c = Cost{min(c.Allocs, now.Allocs), min(c.Bytes, now.Bytes)}
	}
	return Cost{math.Round(c.Allocs*100) / 100, math.Round(c.Bytes)}, nil
}

// ratioToAsynq runs a short comparison on Redis.
func ratioToAsynq(ctx context.Context, r *rig.Rig) (float64, error) {
	c := suite.Guarded()
	res, err := suite.Run(ctx, r, c, suite.Options{Rounds: 2, Quick: true, Seed: 1, Out: io.Discard})
	if err != nil {
		return 0, err
	}
	for _, a := range res.Arms {
		if a.Problem != "" {
			return 0, fmt.Errorf("%s: %s", a.Name, a.Problem)
		}
	}
	s, ok := res.Ratio(c.Arms[0].Name, c.Ref, c.Metrics[0].Name)
	if !ok {
		return 0, errors.New("nothing was measured")
	}
	return s.Max, nil
}

func read() (b Baseline, err error) {
	text, err := os.ReadFile(File())
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		return b, fmt.Errorf("baseline: %w", err)
	}
	return b, nil
}

func write(b Baseline) error {
	if b.LeastRatio == 0 {
		b.LeastRatio = 2
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(File(), append(text, '\n'), 0o644)
}
