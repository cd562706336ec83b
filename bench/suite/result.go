package suite

import (
	"context"
	"slices"
	"time"
)

// Result is what came of a case.
type Result struct {
	Case    string      `json:"case"`
	Title   string      `json:"title"`
	Note    string      `json:"note,omitempty"`
	Ref     string      `json:"reference,omitempty"`
	Metrics []Metric    `json:"metrics"`
	Floors  []Floor     `json:"floors,omitempty"`
	Seed    uint64      `json:"seed"`
	Rounds  int         `json:"rounds"`
	Quick   bool        `json:"quick,omitempty"`
	Started time.Time   `json:"started"`
	Took    float64     `json:"took_seconds"`
	Commit  string      `json:"commit"`
	Machine string      `json:"machine"`
	Arms    []ArmResult `json:"arms"`
}

// ArmResult is what came of an arm, round by round.
type ArmResult struct {
	Name    string   `json:"name"`
	Size    string   `json:"size,omitempty"`
	Values  []Values `json:"values"`
	Problem string   `json:"problem,omitempty"`

	run    func(context.Context, *Env) (Values, error)
	rounds int
}

// Spread is a median and what lies around it.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf returns the spread of figures; ok is false where there are none.
func SpreadOf(x []float64) (s Spread, ok bool) {
	if len(x) == 0 {
		return s, false
	}
	x = slices.Sorted(slices.Values(x))
	s.Min, s.Max = x[0], x[len(x)-1]
	if n := len(x); n%2 == 1 {
		s.Median = x[n/2]
	} else {
		s.Median = (x[n/2-1] + x[n/2]) / 2
	}
	return s, true
}

// Arm returns the arm of that name, or nil.
func (r *Result) Arm(name string) *ArmResult {
	for i := range r.Arms {
		if r.Arms[i].Name == name {
			return &r.Arms[i]
		}
	}
	return nil
}

// Of returns the spread of an arm's figures.
func (a *ArmResult) Of(metric string) (Spread, bool) {
	var x []float64
	for _, v := range a.Values {
		if f, ok := v[metric]; ok {
			x = append(x, f)
		}
	}
	return SpreadOf(x)
}

// Ratio returns the spread of an arm's figures divided by those of another arm, round by
// round: what slows a whole round down does not move it.
func (r *Result) Ratio(arm, to, metric string) (Spread, bool) {
	a, b := r.Arm(arm), r.Arm(to)
	if a == nil || b == nil {
		return Spread{}, false
	}
	var x []float64
	for i := range min(len(a.Values), len(b.Values)) {
		f, ok1 := a.Values[i][metric]
		g, ok2 := b.Values[i][metric]
		if ok1 && ok2 && g != 0 {
			x = append(x, f/g)
		}
	}
	return SpreadOf(x)
}

// Verdict is what a floor came to.
type Verdict struct {
	Floor
	Spread
	Known, Holds bool
}

// Verdicts holds the result against the case's floors.
func (r *Result) Verdicts() (all []Verdict) {
	for _, f := range r.Floors {
		v := Verdict{Floor: f}
		if f.Absolute {
			if a := r.Arm(f.Arm); a != nil {
				v.Spread, v.Known = a.Of(f.Metric)
			}
		} else {
			to := f.To
			if to == "" {
				to = r.Ref
			}
			v.Spread, v.Known = r.Ratio(f.Arm, to, f.Metric)
		}
		v.Holds = v.Known && v.Median >= f.Least && (f.Most == 0 || v.Median <= f.Most)
		all = append(all, v)
	}
	return all
}
