package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

// printing stands for the *testing.T of a real test: it prints what makes the test fail.
type printing struct{ cleanups []func() }

func (*printing) Helper()                           {}
func (*printing) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*printing) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (p *printing) Cleanup(do func())               { p.cleanups = append(p.cleanups, do) }

func (p *printing) end() {
	for _, do := range p.cleanups {
		do()
	}
}

// thumbnails is what the examples test.
var thumbnails = sdk.Func("images.thumbnails", "Makes thumbnails.", func(ctx context.Context, t *sdk.BaseTask, p struct {
	Files []string `json:"files"`
	Size  int      `json:"size" default:"64" min:"16" max:"512"`
}) error {
	const scaling, done = 1, 2
	t.ChangeState(scaling)
	for i, file := range p.Files {
		if file == "" {
			return errors.New("a file without a name")
		}
		t.LogInfo("scaled", "file", file, "size", p.Size)
		t.Progress(float64(i+1)/float64(len(p.Files)), file)
	}
	t.ChangeState(done)
	t.AddResponseLine(fmt.Sprint(len(p.Files), " thumbnails"))
	return t.SetResult(len(p.Files))
})

func Example() {
	t := &printing{} // in a test: its *testing.T

	sdktest.Run(t, thumbnails, map[string]any{"files": []string{"a.png", "b.png"}}).
		WantSuccess().
		WantResponse("2 thumbnails").
		WantStates(1, 2).
		WantLog(slog.LevelInfo, "scaled", "file", "a.png", "size", 64).
		WantProgress(1, "b.png").
		WantResult(2)
	sdktest.Run(t, thumbnails, map[string]any{"files": []string{"a.png"}, "size": 1000}).WantInputError("size")
	fmt.Println("all is as wanted")
	// Output: all is as wanted
}

func ExampleRun() {
	t := &printing{}
	o := sdktest.Run(t, thumbnails, map[string]any{"files": []string{""}}, sdktest.Attempt(2))
	o.Duration = time.Millisecond // so that this example prints the same each time
	o.WantSuccess()
	// Output:
	// images.thumbnails: it has not succeeded
	//   it ended with error after 1ms, response ["a file without a name"]
	//   failure (error): a file without a name
}

func ExamplePlugin_Run() {
	t := &printing{}
	defer t.end()

	path := sdktest.Build(t, "../../examples/hello")
	plugin := sdktest.Binary(t, path)
	o := plugin.Run("hello.greet", map[string]any{"name": "leptir"}).WantSuccess()
	fmt.Println(o.Code, o.Response)
	// Output: success [hello leptir]
}
