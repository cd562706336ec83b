// Command demo is a leptir plugin with tasks for trying a host out: some that work, and
// some that misbehave in every way a host must survive.
package main

import (
	"os"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

func main() {
	if os.Getenv(childMode) != "" {
		spinAsChild()
	}
	sdk.Serve(demo)
}

var demo = sdk.Plugin{
	Name: "demo",
	Tasks: []sdk.TaskType{
		sdk.Type[Test]("demo.test", "Answers with its parameters, and goes through the states 1, 2 and 3."),
		sdk.Type[Noop]("demo.noop", "Does nothing."),
		sdk.Type[Slow]("demo.slow", "Works for 6 to 19 seconds."),
		sdk.Func("demo.sleep", "Sleeps for so many seconds.", sleep),
		sdk.Func("demo.error", "Returns an error with the message.", fail),
		sdk.Func("demo.panic", "Panics with the message.", panics),
		sdk.Type[Crash]("demo.crash", "Ends its process by a segmentation fault."),
		sdk.Type[Undoable]("demo.undoable", "Fails as it is asked to; what it did is undone then by a demo.undo."),
		sdk.Func("demo.undo", "Undoes a demo.undoable.", undo),
		sdk.Func("demo.spin", "Computes for ever, with a child process that does too; neither listens to anybody.", spin),
	},
}
