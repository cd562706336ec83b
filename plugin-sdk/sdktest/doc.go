// Package sdktest tests tasks: in the test's own process, and as the built plugin.
//
//	func TestGreet(t *testing.T) {
//		greet := sdk.Type[Greet]("hello.greet", "Greets somebody.")
//		sdktest.Run(t, greet, map[string]any{"name": "jo"}).WantSuccess().WantResponse("hello jo")
//	}
//
//	func TestPlugin(t *testing.T) {
//		path := sdktest.Build(t, ".")
//		plugin := sdktest.Binary(t, path)
//		plugin.Run("hello.greet", map[string]any{"name": "jo"}).WantSuccess().WantResponse("hello jo")
//	}
//
// Run is quick, can be stepped through by a debugger and may have a virtual clock (Clock).
// A binary's Run starts a process for each task, as a host does, and kills it with all it
// has started: a crash, an endless loop or an os.Exit ends that task and not the test.
//
// No host, queue or store is needed. What a task pushes is noted and goes nowhere.
package sdktest
