package admin

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// checkEvery is how often the accounts are compared, and lasting how many comparisons
	// in a row must disagree to be told: a moment's difference is only that.
	checkEvery = 5 * time.Second
	lasting    = 3
)

// Accounts is what the parts of a host count. If all is well they agree.
type Accounts struct {
	Workers        int `json:"workers"`         // the most tasks that may run at once
	Running        int `json:"running"`         // processes that have tasks, as the pool counts
	PoolJobs       int `json:"pool_jobs"`       // tasks in the pool's hands, as it counts
	DispatchJobs   int `json:"dispatch_jobs"`   // the same, as the dispatcher counts
	Leases         int `json:"leases"`          // leases held
	PoolProcesses  int `json:"pool_processes"`  // processes, as the pool counts
	AliveProcesses int `json:"alive_processes"` // processes started for tasks and not reaped
}

// The pairs of accounts that are compared; they are the values of the metric's label.
const (
	pairTasks     = "pool and dispatcher"
	pairLeases    = "tasks and leases"
	pairProcesses = "pool and live processes"
	pairWorkers   = "busy and workers"
)

var pairs = []string{pairTasks, pairLeases, pairProcesses, pairWorkers}

// disagreements says what does not agree, by pair.
func (a Accounts) disagreements() map[string]string {
	found := map[string]string{}
	if a.PoolJobs != a.DispatchJobs {
		found[pairTasks] = fmt.Sprintf("the pool has %d tasks, the dispatcher has handed it %d that have not come back", a.PoolJobs, a.DispatchJobs)
	}
	if a.DispatchJobs > a.Leases {
		found[pairLeases] = fmt.Sprintf("%d tasks run or wait in the host, but only %d leases are held", a.DispatchJobs, a.Leases)
	}
	if a.PoolProcesses != a.AliveProcesses {
		found[pairProcesses] = fmt.Sprintf("the pool counts %d processes, %d are alive", a.PoolProcesses, a.AliveProcesses)
	}
	if a.Running > a.Workers {
		found[pairWorkers] = fmt.Sprintf("%d processes run tasks, of %d workers", a.Running, a.Workers)
	}
	return found
}

// checker compares the accounts until it is closed.
type checker struct {
	accounts func() Accounts
	metrics  *Metrics
	logger   *slog.Logger
	quit     chan struct{}
	wg       sync.WaitGroup

	times map[string]int // comparisons in a row that have disagreed
}

func newChecker(accounts func() Accounts, m *Metrics, logger *slog.Logger) *checker {
	c := &checker{accounts: accounts, metrics: m, logger: logger, quit: make(chan struct{}), times: map[string]int{}}
	for _, pair := range pairs {
		m.disagreement.WithLabelValues(pair).Set(0)
	}
	c.wg.Go(c.loop)
	return c
}

func (c *checker) close() {
	close(c.quit)
	c.wg.Wait()
}

func (c *checker) loop() {
	every := time.NewTicker(checkEvery)
	defer every.Stop()
	for {
		select {
		case <-c.quit:
			return
		case <-every.C:
			c.check()
		}
	}
}

// check compares once, and tells of what begins to disagree for good, and of its end.
func (c *checker) check() {
	found := c.accounts().disagreements()
	for _, pair := range pairs {
		what, wrong := found[pair]
		switch {
		case wrong:
			c.times[pair]++
			if c.times[pair] == lasting {
				c.metrics.disagreement.WithLabelValues(pair).Set(1)
				c.metrics.disagreements.WithLabelValues(pair).Inc()
				c.logger.Error("the host's accounts disagree; please report this", "between", pair, "what", what,
					"for", (lasting * checkEvery).String())
			}
		case c.times[pair] >= lasting:
			c.metrics.disagreement.WithLabelValues(pair).Set(0)
			c.logger.Info("the host's accounts agree again", "between", pair)
			c.times[pair] = 0
		default:
			c.times[pair] = 0
		}
	}
}
