// Command pushplugin is a plugin for tests whose task pushes others through its host.
package main

import (
	"context"
	"fmt"
	"sync"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

type params struct {
	Children int `json:"children"`
}

func fan(ctx context.Context, t *sdk.BaseTask, p params) error {
	var wg sync.WaitGroup
	errs := make([]error, p.Children)
	for i := range p.Children {
		wg.Go(func() {
			_, errs[i] = t.Push(ctx, sdk.NewTask{Type: "push.leaf", ID: fmt.Sprintf("%s-%d", t.ID(), i)})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func leaf(context.Context, *sdk.BaseTask, struct{}) error { return nil }

func main() {
	sdk.Serve(sdk.Plugin{Name: "push", Version: "1.0.0", Tasks: []sdk.TaskType{
		sdk.Func("push.fan", "Pushes as many tasks as asked for, all at once.", fan),
		sdk.Func("push.leaf", "Does nothing.", leaf),
	}})
}
