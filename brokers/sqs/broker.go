// Package sqs is the broker on Amazon SQS. It owns how leases, attempts, schedules and dead
// letters are built from what SQS has: messages that a receive hides for a while, receive
// counts, delays of up to 15 minutes and a second queue. It knows nothing of hosts,
// plugins or records.
//
// The ideas on which all else rests:
//
//   - A message is a task. Its body is the envelope as it was pushed and never changes;
//     what befell the task lies in one message attribute (see state).
//   - SQS messages cannot be changed. A settlement that must note something (Retry,
//     Release, Bury) sends a copy with a new state and then deletes the old message. A
//     host that dies between the two leaves both: delivery is at least once.
//   - Every receive of a copy is a lease, so that SQS's receive count tells how many leases
//     were lost. Where a task is received before it is due (SQS delays for 15 minutes at
//     most) that would not hold: such a copy is hidden again, as long as need be, and then
//     replaced by a fresh one that SQS delays to the second (see park.go).
//   - The lease's end is counted by our own clock from before the receive, so that we give
//     it up before SQS does. What is lost by our clock is lost, even if SQS still waited.
package sqs

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Broker is a queue of SQS. It implements brokers.Broker, brokers.Waiter, brokers.Pauser,
// brokers.Purger, brokers.Clocked and, for dead letters, brokers.Inspector, and is safe for
// concurrent use. SQS has no way to take a certain message out, nor to mark one that
// somebody holds: it is no brokers.Canceller. Leases belong to the Broker
// that took them: another one, even on the same queue, cannot extend or settle them.
type Broker struct {
	name     string
	log      *slog.Logger
	aliases  map[string]string
	waitTime time.Duration

	main *queue
	dead *queue // nil: dead letters stay in the main queue, marked
	room int    // the most that a message of the dead queue may weigh, in bytes

	open      context.Context // ends when Close begins: no new work
	shut      context.CancelFunc
	life      context.Context // ends when Close is through: no requests
	end       context.CancelFunc
	closeIdle func()
	work      sync.WaitGroup      // long polls
	looking   chan struct{}       // of one place, for whoever looks at the dead letters
	clock     brokers.ServerClock // of SQS
	known     atomic.Pointer[traits]

	mu       sync.Mutex
	prefix   string // of tokens
	tokens   uint64
	held     map[string]*lease  // by token
	byTask   map[task.ID]*lease // the lease of each task that is held
	swept    time.Time          // when held was last looked through for ended leases
	settled  memory             // messages that are settled, should SQS deliver them again
	buffer   []*message         // what a long poll has brought, until somebody leases it
	complete bool               // the long poll would have taken more, had there been more
	poll     *poll              // the long poll under way
	asked    int                // what Lease was last asked for
	ttl      time.Duration      // and for how long; zero: it was not yet
	leasing  int                // calls of Lease under way that may lease something
	last     count              // of the main queue
	lastDead count
	pause    pause
}

// lease is a message that a host holds.
type lease struct {
	*message
	token    string
	settling bool // a settlement is under way
	copied   bool // its copy has been sent: only the deletion is missing
	warned   bool // that SQS will not let it be held for longer
}

var (
	_ brokers.Broker    = (*Broker)(nil)
	_ brokers.Waiter    = (*Broker)(nil)
	_ brokers.Inspector = (*Broker)(nil)
	_ brokers.Pauser    = (*Broker)(nil)
	_ brokers.Purger    = (*Broker)(nil)
	_ brokers.Clocked   = (*Broker)(nil)
)

func newBroker(env brokers.Env, waitTime time.Duration) *Broker {
	b := &Broker{
		name: env.Name, log: env.Logger, aliases: env.Aliases, waitTime: waitTime,
		prefix: rand.Text(), held: map[string]*lease{}, byTask: map[task.ID]*lease{}, swept: time.Now(), asked: 1,
		looking: make(chan struct{}, 1),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.life, b.end = context.WithCancel(context.Background())
	b.open, b.shut = context.WithCancel(b.life)
	return b
}

// serverNow returns the time by SQS's clock, as far as it is known.
func (b *Broker) serverNow() time.Time { return time.Now().Add(b.Skew()) }

// Skew implements brokers.Clocked.
func (b *Broker) Skew() time.Duration { return b.clock.Skew(time.Now()) }

// traits returns what is known of the main queue.
func (b *Broker) traits() traits { return *b.known.Load() }

// usable returns the error with which a method must return at once, if any.
func (b *Broker) usable(ctx context.Context) error {
	if b.open.Err() != nil {
		return brokers.ErrClosed
	}
	return ctx.Err()
}

// fail adds the broker's name to an error; one that Close caused says just that.
func (b *Broker) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case b.open.Err() != nil:
		err = brokers.ErrClosed
	}
	return fmt.Errorf("broker %q: %w", b.name, err)
}

// Push implements brokers.Broker. SQS standard queues cannot tell that a task is there
// already: pushed twice, in two calls, it is there twice. FIFO queues drop a push of the
// same id within five minutes.
func (b *Broker) Push(ctx context.Context, tasks []task.Task) error {
	if err := b.usable(ctx); err != nil {
		return b.fail(err)
	}
	ms := make([]outgoing, 0, len(tasks))
	seen := make(map[task.ID]bool, len(tasks))
	for i := range tasks {
		if seen[tasks[i].ID] {
			continue
		}
		seen[tasks[i].ID] = true
		m, err := b.produce(&tasks[i])
		if err != nil {
			return b.fail(err)
		}
		ms = append(ms, m)
	}
	return b.fail(summary(b.main.send(ctx, ms), "tasks were not pushed"))
}

// summary makes one error of those of a batch: the first, and how many there are.
func summary(errs []error, what string) error {
	var first error
	n := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if n++; first == nil {
			first = err
		}
	}
	if n > 0 && len(errs) > 1 {
		return fmt.Errorf("%d of %d %s: %w", n, len(errs), what, first)
	}
	return first
}

// closeLimit bounds how long Close takes to give messages back.
const closeLimit = 3 * time.Second

// Close implements brokers.Broker. What a long poll has brought and nobody has leased goes
// back to the queue.
func (b *Broker) Close() error {
	b.shut()
	late := time.AfterFunc(closeLimit, b.end)
	defer late.Stop()
	b.work.Wait()
	b.mu.Lock()
	left := b.buffer
	b.buffer = nil
	b.mu.Unlock()
	b.giveBack(b.life, left)
	b.end()
	b.closeIdle()
	return nil
}

// memory holds the ids of the messages that were settled last.
type memory struct {
	ids  map[string]bool
	ring []string
	next int
}

// rememberedMessages is how many settled messages a Broker remembers.
const rememberedMessages = 4096

// add remembers a message, and forgets the oldest where there are too many.
func (m *memory) add(id string) {
	if m.ids == nil {
		m.ids, m.ring = map[string]bool{}, make([]string, rememberedMessages)
	}
	delete(m.ids, m.ring[m.next])
	m.ring[m.next] = id
	m.next = (m.next + 1) % len(m.ring)
	m.ids[id] = true
}
