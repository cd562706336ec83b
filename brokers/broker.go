// Package brokers owns the contract of a queue, what is common to all kinds of queues
// (their registry, how a priority chooses one, how urgent ones are drawn) and nothing of
// any one kind: each lives in a folder of its own below this one and passes the suite of
// brokers/brokertest. It knows nothing of plugins, processes or records.
package brokers

import (
	"context"
	"errors"
	"time"

	"github.com/backplane/leptir/task"
)

var (
	// ErrClosed is returned by every method of a Broker after its Close.
	ErrClosed = errors.New("broker is closed")
	// ErrNotFound is returned where a task that was asked for by its id is not in the
	// broker.
	ErrNotFound = errors.New("task not found")
)

// A Broker holds tasks until they are settled.
//
// A task is in one of four states: scheduled (not due yet), ready (due), leased, dead.
// Lease moves ready tasks to leased; a lease that is neither extended nor settled in time
// ends by itself and its task is ready again, in its old place. Every lease has a token
// of its own: an extension or settlement that names another than the current one, or
// whose lease has ended and gone to somebody else, changes nothing and is named in lost.
//
// Methods are safe for concurrent use, and for use by several processes on the same
// queue. They honour ctx, and every one has a time limit of its own where ctx has none.
// A method that was cut short by ctx has done all or nothing for each task; what it
// leased without returning it becomes ready again when the lease ends. After Close every
// method returns ErrClosed (wrapped).
type Broker interface {
	// Push queues tasks; they are durable on return. A task whose id is in the broker
	// already, in whatever state, is left as it is: pushing is idempotent. Tasks are
	// validated by the caller.
	Push(ctx context.Context, tasks []task.Task) error

	// Lease takes at most max tasks that are due, oldest due time first, and holds them
	// for ttl. It returns at once, with none if nothing is due. max below 1 leases
	// nothing.
	Lease(ctx context.Context, max int, ttl time.Duration) ([]Delivery, error)

	// Extend makes the leases of ds last ttl from now. It returns the ids whose lease is
	// no longer the caller's. A host that is well extends a lease before half of it is over.
	Extend(ctx context.Context, ttl time.Duration, ds []Delivery) (lost []task.ID, err error)

	// Settle ends leases, each by its Verdict. It returns the ids whose lease was no
	// longer the caller's and that were left as they are. On an error any part of ss may
	// have been carried out; settling again is harmless: what was done is then in lost.
	Settle(ctx context.Context, ss []Settlement) (lost []task.ID, err error)

	// Stats counts the tasks by state.
	Stats(ctx context.Context) (Stats, error)

	// Close releases what the broker holds; it leaves leases to end by themselves.
	// A second Close does nothing.
	Close() error
}

// Delivery is a leased task.
type Delivery struct {
	// Task is the task; of an unreadable message only the ID is filled in.
	Task task.Task
	// Token is the lease's own name, opaque to all but the broker.
	Token string
	// Attempt is the number of this attempt, from 1; a settlement with Retry raises it.
	Attempt int
	// Sequence is how often the task has been leased, this lease included.
	Sequence int
	// Lost is how many leases of this task have ended by themselves, which means that a
	// host died or lost touch while it had the task.
	Lost int
	// Repeated says that this attempt may have run already: a lease was lost, or the
	// broker cannot rule out that it delivers a task twice.
	Repeated bool
	// Until is when the lease ends if it is not extended, by the local clock.
	Until time.Time
	// Cancel is set if somebody has cancelled the task while it was leased before: it is
	// not to run, only to be recorded as cancelled and settled.
	Cancel *Cancellation
	// Raw holds the message as it lay in the queue, and Unreadable why it could not be
	// decoded; both are nil for a readable one. An unreadable message is for the dead
	// letters.
	Raw        []byte
	Unreadable error
}

// Verdict says how a lease ends.
type Verdict int

const (
	// Done removes the task from the broker.
	Done Verdict = iota + 1
	// Retry makes it ready at Settlement.At with its attempt counted.
	Retry
	// Release makes it ready with its attempt uncounted: at once and in its old place,
	// or, where Settlement.At is set, parked until then.
	Release
	// Bury moves it to the dead letters.
	Bury
)

// String returns the verdict in words.
func (v Verdict) String() string {
	switch v {
	case Done:
		return "done"
	case Retry:
		return "retry"
	case Release:
		return "release"
	case Bury:
		return "bury"
	}
	return "no verdict"
}

// Settlement ends one lease.
type Settlement struct {
	ID      task.ID
	Token   string
	Verdict Verdict
	// At is when the task is due next, for Retry and Release; zero means at once.
	At time.Time
	// Reason says why, for Retry and Bury (it joins the task's history) and for a
	// Release that parks it (it shows as Item.Note).
	Reason string
}

// Stats counts the tasks of a broker. Exact where the broker can count, else its own
// best estimate (SQS).
type Stats struct {
	Ready     int64 `json:"ready"`     // due, waiting for a host
	Scheduled int64 `json:"scheduled"` // not due yet, parked ones included
	Leased    int64 `json:"leased"`    // held by a host
	Dead      int64 `json:"dead"`      // dead letters
	// Parked is how many of the scheduled ones were given back with a reason, for
	// example because no plugin serves their type.
	Parked int64 `json:"parked"`
	// Paused says that nothing is handed out until somebody resumes the queue; Ready
	// tasks wait for that.
	Paused bool `json:"paused,omitempty"`
}

// Waiter is a Broker that tells of new work by itself, so that an idle host need not
// poll.
type Waiter interface {
	// Wait returns nil when a task is due or may have become due since the call began (a
	// push between an empty Lease and the call to Wait must not be slept over), and ctx's
	// error when ctx ends first. It may return early for no reason. A push by another
	// process wakes it too.
	Wait(ctx context.Context) error
}

// State is where a task stands in its broker.
type State string

// The states.
const (
	StateReady     State = "ready"
	StateScheduled State = "scheduled"
	StateLeased    State = "leased"
	StateDead      State = "dead"
)

// Item is a task as an operator sees it.
type Item struct {
	ID      task.ID
	State   State
	Task    task.Task // only the ID where the message is unreadable
	Raw     []byte    // the message as it lies in the queue
	Due     time.Time // when it is or was due
	Until   time.Time // when its lease ends, of a leased one
	Attempt int       // attempts counted so far
	// Sequence is how often it has been leased, as far as the broker shows.
	Sequence int
	Lost     int     // leases that ended by themselves
	Note     string  // why it is parked
	History  []Event // what befell it, oldest first; the newest 32
}

// Event is one entry of an Item's history.
type Event struct {
	Time    time.Time `json:"time"`
	Attempt int       `json:"attempt"`
	What    string    `json:"what"` // "retry", "bury", "lost"
	Reason  string    `json:"reason,omitempty"`
}

// Inspector is a Broker whose tasks can be looked at and put back one by one.
type Inspector interface {
	// Find returns the task with that id, or ErrNotFound.
	Find(ctx context.Context, id task.ID) (Item, error)
	// List returns at most limit tasks in the given state, by due time (dead ones by
	// the time of their burial), and a cursor for the next page; "" as the cursor starts
	// at the first, and is returned after the last.
	List(ctx context.Context, state State, cursor string, limit int) (items []Item, next string, err error)
	// Requeue makes dead letters ready again, attempts and losses counted from anew. It
	// returns the ids that were not dead letters.
	Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error)
	// Delete removes tasks that are not leased. It returns the ids that were not there
	// or are leased.
	Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error)
}

// Cancellation is somebody's wish that a task does not run, or runs no longer.
type Cancellation struct {
	// At is when it was wished, by the wisher's clock.
	At time.Time `json:"at"`
	// Grace is how long a running task may take to end by itself before its process is
	// killed, in nanoseconds; 0 kills it at once.
	Grace time.Duration `json:"grace"`
	// Reason says why, for the task's record.
	Reason string `json:"reason,omitempty"`
}

// Canceller is a Broker out of which a task can be taken whatever it is doing.
type Canceller interface {
	// Cancel removes a task that is ready or scheduled, for good. One that is leased gets
	// a mark, in place of an older one, which stays until the task is done or dead: its
	// holder learns of it by Cancelled, and who leases it next, should the lease end
	// before, by Delivery.Cancel. A dead letter is left alone. The returned Item tells what
	// the task was: its State says which of the three it is. ErrNotFound is returned where
	// there is no such task.
	Cancel(ctx context.Context, id task.ID, c Cancellation) (Item, error)
	// Cancelled returns the marks on those of the leased tasks that have one. Where there
	// are none it costs one small look at the queue, however many leases are asked about.
	Cancelled(ctx context.Context, ds []Delivery) (map[task.ID]Cancellation, error)
}

// Pauser is a Broker that can be told to hand nothing out. Pushing goes on meanwhile, as do
// the leases that there are, and everything else.
type Pauser interface {
	// Pause makes Lease, of every handle within seconds, return nothing until Resume; Wait
	// waits for that. It is kept with the queue and outlives every program.
	Pause(ctx context.Context) error
	// Resume ends a pause; without one it does nothing.
	Resume(ctx context.Context) error
	// Paused returns since when the queue is paused, the zero time if it is not. This
	// handle's Lease knows what it has returned.
	Paused(ctx context.Context) (since time.Time, err error)
}

// Purger is a Broker that can clear old dead letters away by itself.
type Purger interface {
	// Purge deletes dead letters that were buried before a time, by the broker's clock,
	// oldest first and at most limit of them. It returns how many; fewer than limit says
	// that no such ones are left.
	Purge(ctx context.Context, before time.Time, limit int) (int, error)
}

// Clocked is a Broker with a clock of its own, by which tasks come due and leases end.
type Clocked interface {
	// Skew returns how far the broker's clock is ahead of this machine's, as far as is
	// known; differences that are too small to be told from slow answers are 0.
	Skew() time.Duration
}
