package pool

import "time"

const (
	// windowBudget is how much work, by the measured run times, may lie in a process's
	// window. What waits there is called back when it is wanted elsewhere, but what comes later
	// and is more urgent waits behind it.
	windowBudget = 100 * time.Millisecond
	// windowLongest is the longest task that others may wait behind: what is called back behind a
	// slow head is work for nothing.
	windowLongest = 10 * time.Millisecond
	// aheadBudget is how much work for each worker waits for room in the windows.
	aheadBudget = 25 * time.Millisecond
	// windowMax is the most tasks in a window, however short they are.
	windowMax = 256
	// windowBytes is how many bytes of parameters go into one message, the last task's not
	// counted: a message may hold protocol.MaxMessageBytes.
	windowBytes = 2 << 20
	// shortest is the least that a task is taken to need, for arithmetic's sake.
	shortest = 5 * time.Microsecond
	// recallAfter is how long a head may run before what waits behind it is called back
	// to run elsewhere.
	recallAfter = 25 * time.Millisecond
)

// estimate is what a type's tasks have lately needed, a moving average. One task that took
// long, as any can on a busy machine, moves it little: a wrong guess costs little too, since
// what waits behind a slow head is called back.
type estimate struct {
	known bool
	need  time.Duration
}

func (e *estimate) add(d time.Duration) {
	d = max(d, shortest)
	if !e.known {
		e.known, e.need = true, d
		return
	}
	e.need += (min(d, 4*e.need) - e.need) / 8
}

// cost is the share of the budget that one task takes; of a long one or an unknown type, all of it.
func (e *estimate) cost() time.Duration {
	if e == nil || !e.known || e.need > windowLongest {
		return windowBudget
	}
	return e.need
}

// room is how many tasks of that need fit into one empty window; at least one always does.
func (e *estimate) room() int {
	return int(min(windowMax, max(1, windowBudget/e.cost())))
}

// ahead is how many tasks of that need are wanted besides those that fill a window.
func (e *estimate) ahead() int {
	if e.room() == 1 {
		return 0
	}
	return int(min(windowMax, aheadBudget/e.cost()))
}
