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

// BenchmarkWarm is what all limits together cost a task in a process that is there already:
// rounds of tasks, one after the other, in turns with limits and without.
func BenchmarkWarm(b *testing.B) {
	const round = 100
	limits := sandbox.Limits{MemoryMax: 512 << 20, CPUMax: 2, PidsMax: 512, OpenFiles: 1024, ScratchMax: 64 << 20,
		NoNewPrivs: true, ProtectHost: true, PathsRead: []string{"/etc"}, NoNetwork: true}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := process.NewLauncher(b.TempDir(), quiet, hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(b, err)
	defer l.Close()
	var pools [2]*Pool
	for i := range pools {
		spec := process.Spec{Plugin: "demo", Path: testbin.Build(b, "plugins/demo")}
		if i == 1 {
			spec.Limits, spec.OutputMax = limits, 1<<30
		}
		pools[i] = New(Options{Workers: 1, Launcher: l, Logger: quiet, Observer: &bundle{}})
		defer pools[i].Close()
		pools[i].SetPlugins([]Plugin{{Name: "demo", Generation: 1, Types: demoTypes, Spec: spec}})
	}
	n := 0
	run := func(p *Pool, tasks int) float64 { // µs a task
		began := time.Now()
		for range tasks {
			n++
			require.NoError(b, p.Submit([]*Job{{Task: task.Task{ID: task.ID(strconv.Itoa(n)), Type: "demo.noop"}, Attempt: 1, Limit: time.Minute}}))
			require.Equal(b, Ended, (<-p.Outcomes())[0].Kind)
		}
		return float64(time.Since(began).Nanoseconds()) / 1000 / float64(tasks)
	}
	var took [2][]float64
	var more []float64 // of each turn: what comes from beside changes from turn to turn
	for _, p := range pools {
		run(p, 2*round)
	}
	for turn := 0; b.Loop(); turn++ {
		for k := range pools {
			i := (turn + k) % 2 // neither is always the first
			took[i] = append(took[i], run(pools[i], round))
		}
		more = append(more, (took[1][turn]/took[0][turn]-1)*100)
	}
	median := func(d []float64) float64 {
		slices.Sort(d)
		return d[len(d)/2]
	}
	b.ReportMetric(median(more), "%more")
	b.ReportMetric(median(took[0]), "µs/task-free")
	b.ReportMetric(median(took[1]), "µs/task-limited")
	for _, p := range pools { // somebody must receive until the end
		go func() {
			for range p.Outcomes() {
			}
		}()
	}
}
