// Package report owns how results are kept and shown: the file, the table, the plot, and the
// page that holds them. It measures nothing.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/backplane/leptir/bench/suite"
)

// Load reads the results that a file keeps; none where there is no file.
func Load(path string) (all []suite.Result, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("results %q: %w", path, err)
	}
	return all, nil
}

// Keep puts a result into a file, in place of an older one of its case. The results stand in
// the order of the cases.
func Keep(path string, r *suite.Result) error {
	all, err := Load(path)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(old suite.Result) bool { return old.Case == r.Case })
	all = append(all, *r)
	order := map[string]int{}
	for i, c := range suite.Cases() {
		order[c.Name] = i
	}
	slices.SortStableFunc(all, func(a, b suite.Result) int { return order[a.Case] - order[b.Case] })
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Print shows a result on a terminal.
func Print(w io.Writer, r *suite.Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range r.Arms {
		a := &r.Arms[i]
		for _, m := range r.Metrics {
			s, ok := a.Of(m.Name)
			if !ok {
				continue
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", a.Name, metricName(r, m), spread(s)+" "+m.Unit, ratioTo(r, a, m))
		}
		if a.Problem != "" {
			fmt.Fprintf(t, "  %s\tFAILED\t%.200s\t\n", a.Name, a.Problem)
		}
	}
	_ = t.Flush()
	for _, v := range r.Verdicts() {
		fmt.Fprintln(w, "  "+verdict(r, v))
	}
	fmt.Fprintf(w, "  took %.1f s\n", r.Took)
}

func metricName(r *suite.Result, m suite.Metric) string {
	if len(r.Metrics) == 1 {
		return ""
	}
	return m.Name
}

// ratioTo is an arm's ratio to the reference, "" for the reference itself.
func ratioTo(r *suite.Result, a *suite.ArmResult, m suite.Metric) string {
	if r.Ref == "" || a.Name == r.Ref {
		return ""
	}
	s, ok := r.Ratio(a.Name, r.Ref, m.Name)
	if !ok {
		return ""
	}
	return "× " + spread(s)
}

// verdict says in a line whether a floor holds.
func verdict(r *suite.Result, v suite.Verdict) string {
	what := v.Arm
	if len(r.Metrics) > 1 {
		what += ", " + v.Metric
	}
	if !v.Absolute {
		to := v.To
		if to == "" {
			to = r.Ref
		}
		what += " to " + to
	}
	switch {
	case !v.Known:
		return what + ": not measured"
	case v.Most > 0:
		what += fmt.Sprintf(": %s, at most %s", spread(v.Spread), number(v.Most))
	default:
		what += fmt.Sprintf(": %s, at least %s", spread(v.Spread), number(v.Least))
	}
	if v.Holds {
		return what + ": holds"
	}
	return what + ": DOES NOT HOLD"
}

// spread is a median with its least and most.
func spread(s suite.Spread) string {
	if s.Min == s.Max {
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number is a figure as people write it: three digits that count, thousands apart.
func number(f float64) string {
	switch {
	case f >= 1000:
		s := fmt.Sprintf("%.0f", f)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
	case f >= 1:
		return strings.TrimSuffix(fmt.Sprintf("%.2f", f), ".00")
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", f), "0"), ".")
}
