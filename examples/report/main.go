// Command report is a plugin that writes a report of a file of expenses. It shows the life
// of a task: the states that it goes through, what happens before and after it, tasks that
// it pushes, and how a task that failed is undone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{Name: "report", Version: "1.0.0", Tasks: []sdk.TaskType{makeReport, removeReport, notify}})
}

var (
	makeReport   = sdk.Type[Make]("report.make", "Writes a report of a file of expenses.").WithParams(MakeParams{})
	removeReport = sdk.Func("report.remove", "Removes a report: the undoing of report.make.", remove)
	notify       = sdk.Func("report.notify", "Tells somebody of a report.", tell)
)

// The states of a Make, in their order.
const (
	StateReading = iota + 1
	StateWriting
	StateTelling
)

// MakeParams are the parameters of a Make.
type MakeParams struct {
	From string   `json:"from" doc:"The expenses: a CSV file of names and amounts."`
	To   string   `json:"to" doc:"The report."`
	Tell []string `json:"tell,omitempty" doc:"Who is told of it, each by a task of its own."`
}

// Make writes a report.
type Make struct {
	sdk.BaseTask
	params MakeParams
	file   *os.File // the report
	total  float64
}

// BeforeStart reads the parameters and makes the file.
func (t *Make) BeforeStart(context.Context) (err error) {
	if err := t.Bind(&t.params); err != nil {
		return err
	}
	t.file, err = os.OpenFile(t.params.To, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	return err
}

// DoJob writes the report line by line. If the expenses turn out to be wrong half way, half
// a report is there: Revert has it removed.
func (t *Make) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	t.ChangeState(StateReading)
	expenses, err := readExpenses(t.params.From)
	if err != nil {
		return sdk.Error, err
	}
	t.ChangeState(StateWriting)
	for i, e := range expenses {
		amount, err := e.amount()
		if err != nil {
			return sdk.Error, sdk.Permanent(err) // it will be as wrong the next time
		}
		t.total += amount
		if _, err := fmt.Fprintf(t.file, "%-20s %10.2f\n", e.name, amount); err != nil {
			return sdk.Error, err
		}
		t.Progress(float64(i+1)/float64(len(expenses)), e.name)
	}
	if _, err := fmt.Fprintf(t.file, "%-20s %10.2f\n", "total", t.total); err != nil {
		return sdk.Error, err
	}
	t.ChangeState(StateTelling)
	for _, who := range t.params.Tell {
		// An id made of this task's: another attempt tells nobody twice.
		_, err := t.Push(ctx, sdk.NewTask{Type: "report.notify", ID: t.ID() + "-" + who,
			Params: NotifyParams{Who: who, Report: t.params.To}})
		if err != nil {
			return sdk.Error, err
		}
	}
	t.AddResponseLine(fmt.Sprintf("%d expenses, %.2f in all", len(expenses), t.total))
	return sdk.Success, t.SetResult(map[string]float64{"total": t.total})
}

// AfterFinish closes the file, whether DoJob has succeeded, failed or not even begun.
func (t *Make) AfterFinish(context.Context) error {
	if t.file == nil {
		return nil
	}
	t.LogInfo("report closed", "file", t.params.To)
	return t.file.Close()
}

// GetAdditionalMetaInfo adds to the task's record.
func (t *Make) GetAdditionalMetaInfo() map[string]any { return map[string]any{"report": t.params.To} }

// Revert says which task undoes this one. It is asked once the last attempt has failed, of
// this process or, if it died of it, of another.
func (t *Make) Revert(context.Context) (*sdk.NewTask, error) {
	var p MakeParams
	if err := t.Bind(&p); err != nil {
		return nil, nil // it has not begun: there is nothing to undo
	}
	return &sdk.NewTask{Type: "report.remove", Params: RemoveParams{File: p.To}}, nil
}

// RemoveParams are the parameters of report.remove.
type RemoveParams struct {
	File string `json:"file" doc:"The report."`
}

// remove succeeds if the file is not there any more: another attempt may have removed it.
func remove(_ context.Context, t *sdk.BaseTask, p RemoveParams) error {
	if err := os.Remove(p.File); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.AddResponseLine("removed " + p.File)
	return nil
}

// NotifyParams are the parameters of report.notify.
type NotifyParams struct {
	Who    string `json:"who" doc:"Who is told."`
	Report string `json:"report" doc:"The report."`
}

func tell(_ context.Context, t *sdk.BaseTask, p NotifyParams) error {
	t.LogInfo("there is a report", "who", p.Who, "report", p.Report)
	t.AddResponseLine(p.Who + " knows of " + p.Report)
	return nil
}
