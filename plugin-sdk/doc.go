// Package sdk is for authors of leptir plugins: programs that a leptir host starts to run
// tasks in. A whole plugin:
//
//	package main
//
//	import (
//		"context"
//
//		sdk "github.com/backplane/leptir/plugin-sdk"
//	)
//
//	type Hello struct{ sdk.BaseTask }
//
//	func (t *Hello) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
//		name, err := t.GetString("name", "world")
//		if err != nil {
//			return sdk.Error, err
//		}
//		t.AddResponseLine("hello " + name)
//		return sdk.Success, nil
//	}
//
//	func main() {
//		sdk.Serve(sdk.Plugin{Name: "hello", Version: "1.0.0", Tasks: []sdk.TaskType{
//			sdk.Type[Hello]("hello.greet", "Greets somebody."),
//		}})
//	}
//
// A task is a struct with BaseTask embedded (see Type) or one function (see Func). It may
// have more methods that the host's side of the SDK finds by their interfaces:
// BeforeStarter, AfterFinisher, MetaInfoer, Reverter.
//
// Parameters are asked for one by one (GetString and its like), or bound to a struct whose
// tags say what is allowed (BaseTask.Bind, and the params of a Func). What follows from the
// tags is published as a JSON Schema, so that bad parameters are refused before a task is
// queued. Package sdktest tests tasks, in process and as the built plugin.
//
// One process runs one task at a time, so a task may use all of it, and may be killed with
// all of it: at its time limit the host ends the process, whatever it does. A task that
// returns an error or panics has failed and is tried again after the host's policy; see
// Permanent and RetryAfter.
//
// A plugin can be an error reporter too, or nothing else: see ErrorReporter.
//
// The package knows nothing of the host's inner workings, of queues or of stores.
package sdk
