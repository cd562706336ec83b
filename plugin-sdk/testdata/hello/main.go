// Command hello is the plugin that the SDK's tests build and start.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Hello is the task of the package comment.
type Hello struct{ sdk.BaseTask }

// DoJob greets.
func (t *Hello) DoJob(context.Context) (sdk.ReturnCode, error) {
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
		sdk.Func("hello.print", "Prints to stdout and stderr.", prints),
		sdk.Func("hello.stdin", "Reads stdin.", reads),
		sdk.Func("hello.wait", "Waits for its end.", wait),
	}})
}

func prints(_ context.Context, t *sdk.BaseTask, _ map[string]any) error {
	fmt.Println("plain print")
	fmt.Fprintln(os.Stderr, "plain print to stderr")
	fmt.Println(strings.Repeat("x", 300<<10))
	t.AddResponseLine("printed")
	return nil
}

func reads(_ context.Context, t *sdk.BaseTask, _ map[string]any) error {
	in, err := io.ReadAll(os.Stdin)
	t.AddResponseLine(fmt.Sprintf("%d bytes of stdin", len(in)))
	return err
}

func wait(ctx context.Context, t *sdk.BaseTask, _ map[string]any) error {
	t.LogInfo("waiting")
	<-ctx.Done()
	return ctx.Err()
}
