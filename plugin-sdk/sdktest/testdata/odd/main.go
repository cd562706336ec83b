// Command odd is a plugin whose tasks do what tests of plugins must survive.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

type params struct {
	Name string `json:"name" default:"world"`
}

func main() {
	fmt.Println("a line before the handshake")
	sdk.Serve(sdk.Plugin{Name: "odd", Version: "1.0.0", Tasks: []sdk.TaskType{
		sdk.Func("odd.all", "Uses every helper.", all),
		sdk.Func("odd.exit", "Ends the process.", exit),
		sdk.Func("odd.spin", "Never ends, nor does its child process.", spin),
		sdk.Func("odd.wait", "Waits for its context to end.", wait),
		sdk.Func("odd.print", "Prints the environment, and a lot.", prints),
		sdk.Type[undoable]("odd.undoable", "Fails and can be undone."),
	}})
}

func all(ctx context.Context, t *sdk.BaseTask, p params) error {
	t.LogInfo("begun", "name", p.Name)
	t.ChangeState(1)
	t.Progress(0.5, "half")
	id, err := t.Push(ctx, sdk.NewTask{Type: "other.task", Params: p, ID: t.ID() + "-child"})
	if err != nil {
		return err
	}
	t.ChangeState(2)
	t.AddResponseLine(fmt.Sprintf("pushed %s in attempt %d, priority %d, limit %v", id, t.Attempt(), t.Priority(), t.TimeLimit()))
	return t.SetResult(map[string]int{"n": 3})
}

func exit(context.Context, *sdk.BaseTask, params) error {
	fmt.Fprintln(os.Stderr, "about to exit")
	fmt.Println("now")
	os.Exit(7)
	return nil
}

func spin(_ context.Context, t *sdk.BaseTask, p params) error {
	child := exec.Command("sleep", "3600")
	if err := child.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(p.Name, fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
		return err
	}
	t.ChangeState(9)
	for {
		time.Sleep(time.Hour)
	}
}

func wait(ctx context.Context, t *sdk.BaseTask, _ params) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func prints(_ context.Context, t *sdk.BaseTask, _ params) error {
	fmt.Println(strings.Repeat("x", 256<<10))
	fmt.Println(strings.Join(os.Environ(), "\n"))
	dir, err := os.Getwd()
	t.AddResponseLine(dir)
	return err
}

type undoable struct{ sdk.BaseTask }

func (t *undoable) DoJob(context.Context) (sdk.ReturnCode, error) {
	return sdk.Error, errors.New("no luck")
}

func (t *undoable) GetAdditionalMetaInfo() map[string]any { return map[string]any{"n": 1} }

func (t *undoable) Revert(context.Context) (*sdk.NewTask, error) {
	return &sdk.NewTask{Type: "odd.undo", Params: map[string]any{"id": t.ID()}}, nil
}
