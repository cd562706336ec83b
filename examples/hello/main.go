// Command hello is the smallest plugin: one task that greets somebody.
package main

import (
	"context"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

type Hello struct{ sdk.BaseTask }

func (t *Hello) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	name, err := t.GetString("name", "world")
	if err != nil {
		return sdk.Error, err
	}
	t.AddResponseLine("hello " + name)
	return sdk.Success, nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "hello", Version: "1.0.0", Tasks: []sdk.TaskType{
		sdk.Type[Hello]("hello.greet", "Greets somebody."),
	}})
}
