package suite

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// loops measures what so many processes reach that do nothing but the work, in a loop.
func loops(processes int, text string, full, quick time.Duration) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (Values, error) {
		long := full
		if e.Quick {
			long = quick
		}
		rates := make([]float64, processes)
		errs := make([]error, processes)
		var wg sync.WaitGroup
		for i := range processes {
			wg.Go(func() {
				out, err := exec.CommandContext(ctx, e.Plugin, text, long.String()).Output()
				if err == nil {
					rates[i], err = strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		sum := 0.0
		for i, r := range rates {
			if errs[i] != nil {
				return nil, fmt.Errorf("bare loop: %w", errs[i])
			}
			sum += r
		}
		return Values{"rate": sum}, nil
	}
}

// forkExec measures how many processes of the plugin's binary a second can be started that
// end at once, so many at a time.
func forkExec(atOnce, full, quick int) func(context.Context, *Env) (Values, error) {
	return func(ctx context.Context, e *Env) (Values, error) {
		n := e.Size(full, quick)
		tokens := make(chan struct{}, n)
		for range n {
			tokens <- struct{}{}
		}
		close(tokens)
		errs := make(chan error, atOnce)
		begin := time.Now()
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for range tokens {
					if err := exec.CommandContext(ctx, e.Plugin, "exit").Run(); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		if err := <-errs; err != nil {
			return nil, fmt.Errorf("fork and exec: %w", err)
		}
		return Values{"rate": float64(n) / time.Since(begin).Seconds()}, nil
	}
}
