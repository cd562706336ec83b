package pool

import (
	"io"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// BenchmarkWarm is what limits cost a task in a process that is there already: rounds of tasks in
// turns without limits, with all but cpu_max, and with all. It tells the median of what each turn
// took more than the turn without: what comes from beside changes from turn to turn. Tasks
// come one after the other, or many at once.
func BenchmarkWarm(b *testing.B) {
	for _, load := range []struct {
		name, taskType, params string
		round, atOnce          int
	}{
		{"no-op, one by one", "demo.noop", "", 100, 1},
		{"no-op, many", "demo.noop", "", 4000, 2000},
		{"1 ms, one by one", "demo.sleep", `{"seconds":0.001}`, 30, 1},
		{"1 ms, many", "demo.sleep", `{"seconds":0.001}`, 50, 50},
	} {
		b.Run(load.name, func(b *testing.B) {
			warm(b, load.round, load.atOnce, task.Task{Type: load.taskType, Params: []byte(load.params)})
		})
	}
}

func warm(b *testing.B, round, atOnce int, kind task.Task) {
	most := sandbox.Limits{MemoryMax: 512 << 20, PidsMax: 512, OpenFiles: 1024, ScratchMax: 64 << 20,
		NoNewPrivs: true, ProtectHost: true, PathsRead: []string{"/etc"}, NoNetwork: true}
	all := most
	all.CPUMax = 1.5
	kinds := []struct {
		name   string
		limits sandbox.Limits
		output int64
	}{{"free", sandbox.Limits{}, 0}, {"most", most, 1 << 30}, {"all", all, 1 << 30}}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := process.NewLauncher(b.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(b, err)
	defer l.Close()
	pools := make([]*Pool, len(kinds))
	for i, kind := range kinds {
		spec := process.Spec{Plugin: "demo", Path: testbin.Build(b, "plugins/demo"), Limits: kind.limits, OutputMax: kind.output}
		pools[i] = New(Options{Workers: 1, Launcher: l, Logger: quiet, Observer: &bundle{}})
		defer pools[i].Close()
		pools[i].SetPlugins([]Plugin{{Name: "demo", Generation: 1, Types: demoTypes, Spec: spec}})
	}
	n := 0
	run := func(p *Pool, tasks int) float64 { // µs a task
		began := time.Now()
		for done := 0; done < tasks; {
			jobs := make([]*Job, atOnce)
			for i := range jobs {
				n++
				jobs[i] = &Job{Task: kind, Attempt: 1, Limit: time.Minute}
				jobs[i].Task.ID = task.ID(strconv.Itoa(n))
			}
			require.NoError(b, p.Submit(jobs))
			for left := atOnce; left > 0; {
				for _, o := range <-p.Outcomes() {
					require.Equal(b, Ended, o.Kind)
					left--
				}
			}
			done += atOnce
		}
		return float64(time.Since(began).Nanoseconds()) / 1000 / float64(tasks)
	}
	took, more := make([][]float64, len(kinds)), make([][]float64, len(kinds))
	for _, p := range pools {
		run(p, 2*round)
	}
	for turn := 0; b.Loop(); turn++ {
		for k := range pools {
			i := (turn + k) % len(pools) // none is always the first
			took[i] = append(took[i], run(pools[i], round))
		}
		for i := range pools {
			more[i] = append(more[i], (took[i][turn]/took[0][turn]-1)*100)
		}
	}
	median := func(d []float64) float64 {
		slices.Sort(d)
		return d[len(d)/2]
	}
	for i, kind := range kinds {
		b.ReportMetric(median(took[i]), "µs/task-"+kind.name)
		if i > 0 {
			b.ReportMetric(median(more[i]), "%more-"+kind.name)
		}
	}
	for _, p := range pools { // somebody must receive until the end
		go func() {
			for range p.Outcomes() {
			}
		}()
	}
}
