// Command testreport reads what `go test -json` prints and tells people what matters of it:
// each package's verdict, the whole output of what failed, what was skipped and why, and a
// last line with the counts. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

func main() {
	failed, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport: "+err.Error())
		os.Exit(1)
	}
	if failed {
		os.Exit(1)
	}
}

// event is one line of `go test -json`, see `go doc test2json`; a failed build has lines
// of its own form.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// maxKept bounds the output that is kept of one test.
const maxKept = 256 << 10

func report(in io.Reader, out io.Writer) (failed bool, err error) {
	var passed, failures, skipped int
	output := map[string]*strings.Builder{} // by package and test
	reasons := map[string][]string{}        // skipped tests by reason
	lines := bufio.NewReader(in)
	for {
		line, rerr := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 && json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(out, "%s", line) // not of the test's own: a message of go itself
		}
		key := e.Package + "\x00" + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			if output[key].Len() < maxKept {
				output[key].WriteString(e.Output)
			}
		case "skip", "pass", "fail":
			kept := ""
			if b := output[key]; b != nil {
				kept = b.String()
			}
			delete(output, key)
			switch {
			case e.Test == "":
				verdict := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "?   "}[e.Action]
				if e.Action == "fail" {
					failed = true
					fmt.Fprint(out, kept)
				}
				fmt.Fprintf(out, "%s\t%s\t%.1fs\n", verdict, e.Package, e.Elapsed)
			case e.Action == "pass":
				passed++
				fmt.Fprint(out, racesOf(kept))
			case e.Action == "fail":
				failures++
				fmt.Fprint(out, kept)
			default:
				skipped++
				reason := reasonOf(kept)
				reasons[reason] = append(reasons[reason], e.Package[strings.LastIndex(e.Package, "/")+1:]+"."+e.Test)
			}
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return true, rerr
		}
	}
	if len(reasons) > 0 {
		fmt.Fprintln(out, "\nSkipped, and why:")
		sorted := make([]string, 0, len(reasons))
		for r := range reasons {
			sorted = append(sorted, r)
		}
		sort.Strings(sorted)
		for _, r := range sorted {
			tests := reasons[r]
			more := ""
			if len(tests) > 3 {
				more = fmt.Sprintf(" and %d more", len(tests)-3)
				tests = tests[:3]
			}
			fmt.Fprintf(out, "  %s: %s%s\n", r, strings.Join(tests, ", "), more)
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", passed, failures, skipped)
	return failed || failures > 0, nil
}

// racesOf cuts the race detector's reports from a test's output. They stand in the output
// of whichever test printed last, while the tests that ran at the time are the ones to fail.
func racesOf(output string) string {
	const begin, end = "WARNING: DATA RACE\n", "==================\n"
	var races strings.Builder
	for {
		_, rest, found := strings.Cut(output, begin)
		if !found {
			return races.String()
		}
		race, after, _ := strings.Cut(rest, end)
		races.WriteString(begin + race + end)
		output = after
	}
}

// reasonOf finds what t.Skip was given in a skipped test's output: "    file.go:12: reason".
func reasonOf(output string) string {
	for _, line := range strings.Split(output, "\n") {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, ".go:"); ok {
			if _, reason, ok := strings.Cut(rest, ": "); ok {
				return reason
			}
		}
	}
	return "no reason given"
}
