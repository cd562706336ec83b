package ctl

import (
	"fmt"
	"strings"
	"time"

	"github.com/backplane/leptir/task"
)

// errJSONAndTable refuses two forms of a record at once.
var errJSONAndTable = usageError{"-json and -table exclude each other"}

// printRecord prints a record: as JSON, on one line if compact, or as a table.
func (p *program) printRecord(r task.Record, table, compact bool) error {
	if !table {
		return p.out.json(r, compact)
	}
	rows := [][]string{{"FIELD", "VALUE"}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("id", string(r.ID))
	add("type", r.Type)
	if ended(r) {
		add("result", r.RetC.String())
		add("time", fmt.Sprintf("%.3f s", r.ExTime))
	} else {
		add("status", r.Status.String())
	}
	if r.Run.Attempt > 1 {
		add("attempt", fmt.Sprint(r.Run.Attempt))
	}
	if !r.Run.Retry.IsZero() {
		add("next attempt", r.Run.Retry.Local().Format(time.DateTime))
	}
	add("note", r.Run.Note)
	if r.Run.Progress != nil {
		add("progress", howFar(*r.Run.Progress))
	}
	add("response", r.RespM)
	add("states", strings.Trim(fmt.Sprint(r.Run.States), "[]"))
	add("value", string(r.Run.Result))
	add("error", r.Run.Error)
	if e := r.Run.Exit; e != nil {
		add("process", e.Reason+" "+e.Signal)
		add("stderr", strings.Join(e.Stderr, "; "))
	}
	add("undoes", string(r.Run.Undoes))
	if u := r.Run.Undo; u != nil {
		add("undo", strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", u.State, u.Type, u.ID, u.Error)), " "))
	}
	for line := range strings.Lines(r.Run.Stack) {
		add("stack", strings.TrimRight(line, "\n"))
	}
	return p.out.table(rows)
}

// howFar says how far a task is, in a form of which several stand well below each other.
func howFar(p task.Progress) string { return fmt.Sprintf("%3.0f%% %s", 100*p.Fraction, p.Text) }
