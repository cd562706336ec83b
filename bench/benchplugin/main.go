// Command benchplugin is the plugin that leptir is measured with. Started by hand with one
// argument it is what leptir is compared with: "exit" ends at once, and a kind of work with
// a time ("sleep:1ms 2s") does it in a loop for so long and prints how often.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/backplane/leptir/bench/work"
	sdk "github.com/backplane/leptir/plugin-sdk"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] != "-describe" {
		os.Exit(bare(os.Args[1:]))
	}
	sdk.Serve(sdk.Plugin{Name: "bench", Version: "1.0.0", Tasks: []sdk.TaskType{
		sdk.Type[noop]("bench.noop", "Does nothing."),
		sdk.Type[data]("bench.data", "Reads its parameter."),
		sdk.Func("bench.work", "Sleeps or computes.", doWork),
		sdk.Type[stamp]("bench.stamp", "Tells when it has begun."),
		sdk.Func("bench.log", "Logs lines.", logLines),
		sdk.Func("bench.mallocs", "Tells how much the process has allocated.", mallocs),
	}})
}

func bare(args []string) int {
	if args[0] == "exit" {
		return 0
	}
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "benchplugin: exit, or WORK TIME")
		return 2
	}
	do, err := work.Parse(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchplugin:", err)
		return 2
	}
	long, err := time.ParseDuration(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchplugin:", err)
		return 2
	}
	n := 0
	begin := time.Now()
	for time.Since(begin) < long {
		do()
		n++
	}
	fmt.Println(float64(n) / time.Since(begin).Seconds())
	return 0
}

type noop struct{ sdk.BaseTask }

func (*noop) DoJob(context.Context) (sdk.ReturnCode, error) { return sdk.Success, nil }

type data struct{ sdk.BaseTask }

func (t *data) DoJob(context.Context) (sdk.ReturnCode, error) {
	if _, err := t.GetString("data"); err != nil {
		return sdk.Error, err
	}
	return sdk.Success, nil
}

type stamp struct{ sdk.BaseTask }

func (t *stamp) DoJob(context.Context) (sdk.ReturnCode, error) {
	at := work.Now()
	if err := work.Stamp(at); err != nil {
		return sdk.Error, err
	}
	return sdk.Success, nil
}

type workParams struct {
	Do string `json:"do"`
}

func doWork(_ context.Context, _ *sdk.BaseTask, p workParams) error {
	do, err := work.Parse(p.Do)
	if err != nil {
		return err
	}
	do()
	return nil
}

type logParams struct {
	Lines int `json:"lines" min:"0"`
}

func logLines(_ context.Context, t *sdk.BaseTask, p logParams) error {
	for i := range p.Lines {
		t.LogInfo("a line of a task that says much", "line", i)
	}
	return nil
}

func mallocs(_ context.Context, t *sdk.BaseTask, _ struct{}) error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return t.SetResult(map[string]uint64{"mallocs": m.Mallocs, "bytes": m.TotalAlloc})
}
