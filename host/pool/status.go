package pool

import "time"

// Status is a look at the pool, for operators.
type Status struct {
	Workers int            `json:"workers"`
	Busy    int            `json:"busy"`
	Waiting int            `json:"waiting"` // jobs in the host without a process
	Plugins []PluginStatus `json:"plugins"`
}

// PluginStatus is a look at one plugin's processes.
type PluginStatus struct {
	Name       string    `json:"name"`
	Generation int       `json:"generation"`
	Busy       int       `json:"busy"`
	Idle       int       `json:"idle"`
	Starting   int       `json:"starting"`
	Problem    string    `json:"problem,omitempty"`
	RetryAt    time.Time `json:"retry_at,omitzero"`
}

// Accounts is what the pool counts, to be compared with what others count.
type Accounts struct {
	Workers   int `json:"workers"`   // the most tasks that run at once
	Running   int `json:"running"`   // processes that have tasks
	Processes int `json:"processes"` // those, idle ones, those that start, and those that are about to end
	Jobs      int `json:"jobs"`      // submitted, and their outcomes not received
}

// Accounts returns the pool's present counts.
func (p *Pool) Accounts() (a Accounts) {
	p.call(func() {
		a.Workers, a.Jobs = p.opts.Workers, len(p.pending)
		for _, g := range p.order {
			a.Processes += len(g.busy) + len(g.idle) + g.starting
			a.Jobs += len(g.queue)
			for w := range g.busy {
				a.Jobs += w.held
				if w.busy {
					a.Running++
				}
			}
		}
	})
	return a
}

// Status returns the pool's present state.
func (p *Pool) Status() (s Status) {
	p.call(func() {
		s.Workers = p.opts.Workers
		for _, g := range p.order {
			s.Busy += len(g.busy)
			s.Waiting += len(g.queue)
			s.Plugins = append(s.Plugins, PluginStatus{Name: g.plugin.Name, Generation: g.plugin.Generation,
				Busy: len(g.busy), Idle: len(g.idle), Starting: g.starting, Problem: g.problem, RetryAt: g.retryAt})
		}
	})
	return s
}
