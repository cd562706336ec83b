package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/work"
)

// Profile runs tasks, with so many bytes of parameters, through a host in this process and writes what that took to
// cpu.prof and allocs.prof in the folder dir, for go tool pprof. The processes of the plugin
// and the servers are not in it.
func Profile(ctx context.Context, backend, dir string, tasks, bytes int) error {
	switch backend {
	case rig.Redis, rig.SQLite, rig.MongoDB:
	default:
		return fmt.Errorf("there is no backend %q: redis, sqlite or mongodb", backend)
	}
	runtime.MemProfileRate = 128 << 10
	r, err := rig.New(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	cpu, err := os.Create(filepath.Join(dir, "cpu.prof"))
	if err != nil {
		return err
	}
	defer cpu.Close()
	var before, after rig.Usage
	var m meter
	var began time.Time
	err = opened(ctx, r, rig.Setup{Backend: backend}, func(h *rig.Host) error {
		typ, params := "bench.noop", []byte(nil)
		if bytes > 0 {
			typ, params = "bench.data", fmt.Appendf(nil, `{"data":%q}`, work.Text(bytes))
		}
		err := runHeld(ctx, h, typ, params, tasks, func() {
			m.read()
			if before.CPU == 0 {
				before, _ = rig.UsageOf(os.Getpid())
				began = time.Now()
				_ = pprof.StartCPUProfile(cpu) // it fails only if one runs
				return
			}
			after, _ = rig.UsageOf(os.Getpid())
		})
		fmt.Printf("%d tasks in %v: %.0f a second\n", tasks, time.Since(began).Round(time.Millisecond), float64(tasks)/time.Since(began).Seconds())
		return err
	})
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	c := m.cost(tasks)
	fmt.Printf("the host took %.1f µs of processor time, %.1f allocations and %.0f bytes for a task; %d MiB resident\n",
		float64((after.CPU-before.CPU).Microseconds())/float64(tasks), c.Allocs, c.Bytes, after.Peak>>20)
	allocs, err := os.Create(filepath.Join(dir, "allocs.prof"))
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
}
