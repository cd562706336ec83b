// Package journal owns what the runs of the torture's tasks leave behind: one line when a
// run begins and one when it ends, in a file of the plugin process's own, each synced to
// disk before the run goes on. What stands in the journals happened, whatever brokers and
// stores say. It knows nothing of brokers, records or faults.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a line says.
const (
	Begin  = "begin"   // a run has begun
	OK     = "ok"      // it is about to end with success
	Fail   = "fail"    // it is about to end with an error that may pass
	GiveUp = "give up" // it is about to end with a permanent error
	Exit   = "exit"    // its process is about to end itself
	Broken = "broken"  // its parameters are not those that were pushed
)

// Line is one line of a journal.
type Line struct {
	What    string    `json:"what"`
	Task    string    `json:"task"`
	Attempt int       `json:"attempt"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version"` // of the plugin binary
	At      time.Time `json:"at"`
}

// Writer writes the journal of one process. It is not safe for concurrent use: a process
// runs one task at a time.
type Writer struct {
	f    *os.File
	base Line
}

// Create makes the journal of this process in dir.
func Create(dir, host, version string) (*Writer, error) {
	f, err := os.CreateTemp(dir, fmt.Sprintf("%s-%d-*.jsonl", host, os.Getpid()))
	if err != nil {
		return nil, err
	}
	return &Writer{f: f, base: Line{Host: host, PID: os.Getpid(), Version: version}}, nil
}

// Write adds a line and syncs it to disk.
func (w *Writer) Write(what, task string, attempt int) error {
	l := w.base
	l.What, l.Task, l.Attempt, l.At = what, task, attempt, time.Now()
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := w.f.Write(append(b, '\n')); err != nil {
		return err
	}
	return w.f.Sync()
}

// Of returns the files of the process with that id, in dir.
func Of(dir string, pid int) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, fmt.Sprintf("*-%d-*.jsonl", pid)))
}

// Read reads all journals of a folder; lines of one process are in order.
func Read(dir string) ([]Line, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []Line
	for _, name := range files {
		lines, err := ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// ReadFile reads one journal. A last line that is cut short, since its process was killed
// while it wrote it, is left out: what it tells of had not begun, or not ended.
func ReadFile(name string) ([]Line, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Line
	for r := bufio.NewReader(f); ; {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var l Line
		if err := json.Unmarshal(bytes.TrimSpace(text), &l); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, len(all)+1, err)
		}
		all = append(all, l)
	}
}

// Run is one run of a task as its journal tells it.
type Run struct {
	Task    string
	Attempt int
	Host    string
	PID     int
	Version string
	Begin   time.Time
	// End and Outcome are zero where the process died before it could tell.
	End     time.Time
	Outcome string
}

// Runs pairs the lines of all processes, each in order, into runs. Its error names a line
// that cannot be: an end without its beginning, or a run within a run.
func Runs(lines []Line) ([]Run, error) {
	type process struct {
		host string
		pid  int
	}
	var runs []Run
	open := map[process]int{} // index of the run that goes on
	for _, l := range lines {
		p := process{l.Host, l.PID}
		i, running := open[p]
		if l.What == Begin {
			// A run that did not end belongs to a process of the same id before, or is of a
			// task whose function was left: both cannot be told from here, and both are no end.
			runs = append(runs, Run{Task: l.Task, Attempt: l.Attempt, Host: l.Host, PID: l.PID, Version: l.Version, Begin: l.At})
			open[p] = len(runs) - 1
			continue
		}
		if !running || runs[i].Task != l.Task || runs[i].Attempt != l.Attempt {
			return nil, fmt.Errorf("journal of %s, process %d: %s of task %s, attempt %d, without its beginning", l.Host, l.PID, l.What, l.Task, l.Attempt)
		}
		runs[i].End, runs[i].Outcome = l.At, l.What
		delete(open, p)
	}
	return runs, nil
}

// Sum returns the check that parameters of the given text must have.
func Sum(text string) string {
	n := uint64(14695981039346656037) // FNV-1a
	for i := range len(text) {
		n = (n ^ uint64(text[i])) * 1099511628211
	}
	return fmt.Sprintf("%016x", n)
}

// Blob returns a text of n bytes that differs with seed.
func Blob(seed uint64, n int) string {
	var b strings.Builder
	b.Grow(n + 16)
	for b.Len() < n {
		seed = seed*6364136223846793005 + 1442695040888963407
		fmt.Fprintf(&b, "%016x", seed)
	}
	return b.String()[:n]
}
