// Package suite owns what is measured: cases, each with several arms that are run in turn,
// round after round, so that whatever else the machine does befalls all of them alike. It
// returns figures; how they are shown is not its business.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/backplane/leptir/bench/rig"
)

// Values are the figures of one run of an arm, by metric.
type Values map[string]float64

// Metric is one thing that the arms of a case are measured by.
type Metric struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Lower  bool   `json:"lower_is_better,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Arm is one of those that a case compares.
type Arm struct {
	Name string
	Size string // how much is measured, in words
	Peer string // the peer that it needs, see Peers; "" is none
	// Rounds, where set, is the most rounds that this arm takes part in.
	Rounds int
	Run    func(ctx context.Context, e *Env) (Values, error)
}

// Case is one comparison.
type Case struct {
	Name    string
	Title   string
	Metrics []Metric
	Ref     string // the arm that ratios are taken to
	Note    string // what is compared fairly and what is not
	Floors  []Floor
	Arms    []Arm
}

// Floor is what must hold of the median ratio of an arm to the case's reference, or, where
// Absolute is set, of its median itself.
type Floor struct {
	Arm      string  `json:"arm"`
	Metric   string  `json:"metric"`
	To       string  `json:"to,omitempty"` // another reference than the case's
	Absolute bool    `json:"absolute,omitempty"`
	Least    float64 `json:"least,omitempty"`
	Most     float64 `json:"most,omitempty"`
}

// Env is what an arm runs in.
type Env struct {
	*rig.Rig
	Quick bool
	Rand  *rand.Rand
}

// Size returns a size: the first in a full run, the second in a quick one.
func (e *Env) Size(full, quick int) int {
	if e.Quick {
		return quick
	}
	return full
}

// armTime bounds one run of an arm.
const armTime = 4 * time.Minute

// Options say how cases are run.
type Options struct {
	Rounds int
	Quick  bool
	Seed   uint64
	Peers  map[string]bool // those that are there
	Out    io.Writer       // where progress is told
}

// Run runs a case. Its error is that of ctx; what goes wrong in an arm is told in the
// result.
func Run(ctx context.Context, r *rig.Rig, c Case, o Options) (*Result, error) {
	res := &Result{Case: c.Name, Title: c.Title, Note: c.Note, Ref: c.Ref, Metrics: c.Metrics, Floors: c.Floors, Seed: o.Seed,
		Rounds: o.Rounds, Quick: o.Quick, Started: time.Now().UTC().Truncate(time.Second), Commit: rig.Commit(),
		Machine: rig.Machine() + ", Redis " + r.RedisVersion(ctx)}
	for _, a := range c.Arms {
		if a.Peer == "" || o.Peers[a.Peer] {
			res.Arms = append(res.Arms, ArmResult{Name: a.Name, Size: a.Size, run: a.Run, rounds: a.Rounds})
		}
	}
	begin := time.Now()
	for round := range o.Rounds {
		for i := range res.Arms {
			a := &res.Arms[i]
			if a.Problem != "" || a.rounds > 0 && round >= a.rounds {
				continue
			}
			e := &Env{Rig: r, Quick: o.Quick, Rand: rand.New(rand.NewPCG(o.Seed, uint64(round)))}
			v, err := runArm(ctx, e, a.run)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				a.Problem = err.Error()
				fmt.Fprintf(o.Out, "  %-28s round %d: FAILED: %v\n", a.Name, round+1, err)
				continue
			}
			fmt.Fprintf(o.Out, "  %-28s round %d:", a.Name, round+1)
			for _, m := range c.Metrics {
				if x, ok := v[m.Name]; ok {
					fmt.Fprintf(o.Out, "  %s %.4g %s", m.Name, x, m.Unit)
				}
			}
			fmt.Fprintln(o.Out)
			a.Values = append(a.Values, v)
		}
	}
	res.Took = time.Since(begin).Round(100 * time.Millisecond).Seconds()
	return res, nil
}

func runArm(ctx context.Context, e *Env, run func(context.Context, *Env) (Values, error)) (Values, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, armTime, fmt.Errorf("not done within %v", armTime))
	defer cancel()
	if err := e.Flush(ctx); err != nil {
		return nil, err
	}
	v, err := run(ctx, e)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return v, err
}
