package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/suite"
)

// What stands between these lines of the page is made by this package.
const (
	beginMark = "<!-- made by `make bench-report`: begin -->"
	endMark   = "<!-- made by `make bench-report`: end -->"
)

// Docs puts the results that a file keeps into docs/performance.md, as tables, and into
// docs/performance.svg, as a plot.
func Docs(path string) error {
	all, err := Load(path)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("results %q: there are none", path)
	}
	for _, r := range all {
		if r.Quick {
			return fmt.Errorf("results %q: those of %s come from a quick run, which says nothing", path, r.Case)
		}
	}
	docs := filepath.Join(rig.Root(), "docs")
	page := filepath.Join(docs, "performance.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err = between(text, Tables(all))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "performance.svg"), Plot(all), 0o644)
}

// between replaces what stands between the two marks.
func between(text []byte, with string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	if !ok {
		return nil, errors.New("the mark of the beginning is missing")
	}
	_, after, ok := bytes.Cut(rest, []byte(endMark))
	if !ok {
		return nil, errors.New("the mark of the end is missing")
	}
	return fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", before, beginMark, with, endMark, after), nil
}

// Tables returns the results as Markdown: what must hold first, then a table for each case.
func Tables(all []suite.Result) string {
	var b strings.Builder
	b.WriteString("### What must hold\n\n| case | measure | median (least–most) | wanted | holds |\n|---|---|---|---|---|\n")
	for i := range all {
		r := &all[i]
		for _, v := range r.Verdicts() {
			measure, wanted := v.Arm, "at least "+number(v.Least)
			if len(r.Metrics) > 1 {
				measure += ", " + v.Metric
			}
			unit := "×"
			if v.Absolute {
				unit = unitOf(r, v.Metric)
			} else {
				to := v.To
				if to == "" {
					to = r.Ref
				}
				measure += " : " + to
			}
			if v.Most > 0 {
				wanted = "at most " + number(v.Most)
			}
			got, holds := "not measured", ""
			if v.Known {
				got, holds = spread(v.Spread)+" "+unit, map[bool]string{true: "yes", false: "**no**"}[v.Holds]
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.Case, measure, got, wanted, holds)
		}
	}
	for i := range all {
		table(&b, &all[i])
	}
	return b.String()
}

func table(b *strings.Builder, r *suite.Result) {
	fmt.Fprintf(b, "\n### %s\n\n`-run '^%s$'`, %d rounds, seed %d, %s, commit %s; %s.\n\n", r.Title, r.Case, r.Rounds, r.Seed,
		r.Started.Format("2 January 2006"), r.Commit, r.Machine)
	head, line := "| | size |", "|---|---|"
	for _, m := range r.Metrics {
		name := m.Unit
		if len(r.Metrics) > 1 {
			name = m.Name + ", " + m.Unit
		}
		if m.Detail != "" {
			name += " (" + m.Detail + ")"
		}
		head, line = head+" "+name+" |", line+"---|"
		if r.Ref != "" {
			head, line = head+" × "+r.Ref+" |", line+"---|"
		}
	}
	b.WriteString(head + "\n" + line + "\n")
	for j := range r.Arms {
		a := &r.Arms[j]
		fmt.Fprintf(b, "| %s | %s |", a.Name, a.Size)
		for _, m := range r.Metrics {
			cell := "–"
			if s, ok := a.Of(m.Name); ok {
				cell = spread(s)
			} else if a.Problem != "" {
				cell = "failed"
			}
			fmt.Fprintf(b, " %s |", cell)
			if r.Ref != "" {
				fmt.Fprintf(b, " %s |", strings.TrimPrefix(ratioTo(r, a, m), "× "))
			}
		}
		b.WriteString("\n")
	}
	if r.Note != "" {
		fmt.Fprintf(b, "\n%s\n", r.Note)
	}
}

func unitOf(r *suite.Result, metric string) string {
	for _, m := range r.Metrics {
		if m.Name == metric {
			return m.Unit
		}
	}
	return ""
}
