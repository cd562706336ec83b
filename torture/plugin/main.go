// Command plugin is the plugin of the torture: tasks whose effects are known. Every run
// writes into its process's journal that it begins, and how it ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/torture/journal"
)

// Environment variables that the plugin needs: the folder of the journals, and the name of
// the host that runs it.
const (
	envJournal = "TORTURE_JOURNAL"
	envHost    = "TORTURE_HOST"
)

// version is set when the plugin is built.
var version = "1"

// Params say what a run does.
type Params struct {
	Milliseconds int    `json:"ms,omitempty"`       // it takes so long
	Failures     int    `json:"failures,omitempty"` // attempts that fail
	After        int    `json:"after,omitempty"`    // ms until the attempt after a failed one
	Exits        int    `json:"exits,omitempty"`    // attempts that end their process
	Child        string `json:"child,omitempty"`    // it pushes a task of this id
	Text         string `json:"text,omitempty"`     // ballast, and its check
	Sum          string `json:"sum,omitempty"`
	GiveUp       bool   `json:"give_up,omitempty"` // it fails for good
}

// own is the journal of this process, made by its first run.
var own = sync.OnceValues(func() (*journal.Writer, error) {
	return journal.Create(os.Getenv(envJournal), os.Getenv(envHost), version)
})

func run(ctx context.Context, t *sdk.BaseTask, p Params) error {
	j, err := own()
	if err != nil {
		return fmt.Errorf("make the journal: %w", err)
	}
	if err := j.Write(journal.Begin, t.ID(), t.Attempt()); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	what, outcome := do(ctx, t, p)
	if err := j.Write(what, t.ID(), t.Attempt()); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if what == journal.Exit {
		os.Exit(7)
	}
	return outcome
}

// do is the work. It returns what the journal says of it, and what it returns.
func do(ctx context.Context, t *sdk.BaseTask, p Params) (what string, err error) {
	if journal.Sum(p.Text) != p.Sum {
		return journal.Broken, sdk.Permanent(errors.New("the parameters are not those that were pushed"))
	}
	select {
	case <-time.After(time.Duration(p.Milliseconds) * time.Millisecond):
	case <-ctx.Done():
		return journal.Fail, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if p.Child != "" {
		child := sdk.NewTask{Type: "torture.quick", ID: p.Child, Params: Params{Sum: journal.Sum("")}}
		if _, err := t.Push(ctx, child); err != nil {
			return journal.Fail, err
		}
	}
	switch {
	case p.GiveUp:
		return journal.GiveUp, sdk.Permanent(errors.New("it fails for good"))
	case t.Attempt() <= p.Exits:
		return journal.Exit, nil
	case t.Attempt() <= p.Failures:
		return journal.Fail, sdk.RetryAfter(errors.New("it fails at first"), time.Duration(p.After)*time.Millisecond)
	}
	t.AddResponseLine("done by " + os.Getenv(envHost))
	return journal.OK, nil
}

func main() {
	var types []sdk.TaskType
	for _, kind := range []string{"quick", "slow", "flaky", "exit", "parent", "large", "doomed"} {
		types = append(types, sdk.Func("torture."+kind, "Leaves a trace in its journal.", run))
	}
	sdk.Serve(sdk.Plugin{Name: "torture", Version: version, Tasks: types})
}
