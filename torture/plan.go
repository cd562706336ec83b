package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	HostKill     Kind = "host-kill"     // SIGKILL, and a new start
	HostStop     Kind = "host-stop"     // SIGSTOP, then SIGCONT, mostly longer than a lease
	HostDrain    Kind = "host-drain"    // SIGTERM, and a new start once it has ended
	HostClock    Kind = "host-clock"    // its wall clock jumps by minutes, and back
	PluginKill   Kind = "plugin-kill"   // SIGKILL of processes that run tasks
	PluginStop   Kind = "plugin-stop"   // SIGSTOP of one, then SIGCONT
	PluginGood   Kind = "plugin-good"   // a new binary that works
	PluginBad    Kind = "plugin-bad"    // a new binary that does not, then one that does
	ServerKill   Kind = "server-kill"   // SIGKILL of the queue's server, and a new start
	ServerStop   Kind = "server-stop"   // SIGSTOP of the queue's server, then SIGCONT
	QueueReset   Kind = "queue-reset"   // connections to the queue are reset
	QueueLatency Kind = "queue-latency" // they are slow
	QueueStall   Kind = "queue-stall"   // nothing comes through them
	QueueLimit   Kind = "queue-limit"   // they are cut in the middle of an answer
	QueueFull    Kind = "queue-full"    // the queue cannot take any more
	QueueLocked  Kind = "queue-locked"  // somebody else holds the write lock of the queue's file
	StoreKill    Kind = "store-kill"    // SIGKILL of the records' server, and a new start
	StoreReset   Kind = "store-reset"   // as of the queue
	StoreLatency Kind = "store-latency"
	StoreStall   Kind = "store-stall"
	StoreLimit   Kind = "store-limit"
	StoreFull    Kind = "store-full"
	StoreLocked  Kind = "store-locked"
)

// machineStall is no fault of a plan: the machine itself stood still, or was so busy that
// hosts could not renew their leases.
const machineStall Kind = "machine-stall"

// serverSlow is none, either: the queue's server was long in answering, as servers for tests
// are on a busy machine.
const serverSlow Kind = "server-slow"

// unplanned reports whether the fault is nobody's doing.
func (f *Fault) unplanned() bool { return f.Kind == machineStall || f.Kind == serverSlow }

// all as the Host of a fault says that it strikes all hosts.
const all = -1

// Fault is one fault of a plan.
type Fault struct {
	Index int
	Kind  Kind
	Host  int           // the host that it strikes, or all
	At    time.Duration // since the beginning
	For   time.Duration // how long it lasts
	// Amount is the kind's own: processes to kill, bytes to let through, milliseconds of
	// latency, seconds of a clock's error.
	Amount int
}

// String returns the fault as a line of the plan.
func (f Fault) String() string {
	host := "all"
	if f.Host != all {
		host = hostName(f.Host)
	}
	return fmt.Sprintf("%4d %8.2fs %-13s %-4s for %6.2fs %d", f.Index, f.At.Seconds(), f.Kind, host, f.For.Seconds(), f.Amount)
}

// lane names what a fault takes hold of: of those of one lane each waits for the end of the
// one before.
func (f Fault) lane() string {
	i := slices.IndexFunc(kinds, func(k kindOf) bool { return k.kind == f.Kind })
	return fmt.Sprint(kinds[i].lane, f.Host)
}

// kindOf says how faults of a kind are drawn.
type kindOf struct {
	kind        Kind
	lane        string
	weight      int
	least, most float64 // how long, in leases
	low, high   int     // amount
	global      bool    // it strikes all hosts, always
}

var kinds = []kindOf{
	{kind: HostKill, lane: "host", weight: 8, least: 0.02, most: 0.5},
	{kind: HostStop, lane: "host", weight: 5, least: 0.3, most: 2.5},
	{kind: HostDrain, lane: "host", weight: 4, least: 0, most: 0.2},
	{kind: HostClock, lane: "clock", weight: 3, least: 0.5, most: 2.5, low: -600, high: 600},
	{kind: PluginKill, lane: "plugin", weight: 8, low: 1, high: 3},
	{kind: PluginStop, lane: "plugin", weight: 3, least: 0.2, most: 3},
	{kind: PluginGood, lane: "binary", weight: 2, global: true},
	{kind: PluginBad, lane: "binary", weight: 2, least: 0.5, most: 2, global: true},
	{kind: ServerKill, lane: "server", weight: 4, least: 0.01, most: 0.7, global: true},
	{kind: ServerStop, lane: "server", weight: 3, least: 0.2, most: 1.8, global: true},
	{kind: QueueReset, lane: "queue", weight: 3, least: 0.1, most: 2},
	{kind: QueueLatency, lane: "queue", weight: 2, least: 0.5, most: 2, low: 20, high: 1500},
	{kind: QueueStall, lane: "queue", weight: 3, least: 0.2, most: 2},
	{kind: QueueLimit, lane: "queue", weight: 2, least: 0.3, most: 1, low: 100, high: 5000},
	{kind: QueueFull, lane: "queuefile", weight: 2, least: 0.3, most: 1.5, global: true},
	{kind: QueueLocked, lane: "queuefile", weight: 3, least: 0.2, most: 2, global: true},
	{kind: StoreKill, lane: "storefile", weight: 3, least: 0.01, most: 0.7, global: true},
	{kind: StoreReset, lane: "store", weight: 2, least: 0.1, most: 2},
	{kind: StoreLatency, lane: "store", weight: 1, least: 0.5, most: 2, low: 20, high: 1500},
	{kind: StoreStall, lane: "store", weight: 2, least: 0.2, most: 2},
	{kind: StoreLimit, lane: "store", weight: 1, least: 0.3, most: 1, low: 100, high: 5000},
	{kind: StoreFull, lane: "storefile", weight: 4, least: 0.3, most: 2, global: true},
	{kind: StoreLocked, lane: "storefile", weight: 2, least: 0.3, most: 2, global: true},
}

// newPlan draws n faults of the given kinds over a span of time. The same arguments give the
// same plan.
func newPlan(seed uint64, n, hosts int, lease, span time.Duration, has func(Kind) bool) []Fault {
	rng := rand.New(rand.NewPCG(seed, 0x70727475)) //nolint:gosec // repeatable, not secret
	var usable []kindOf
	var lots []int
	for _, k := range kinds {
		if has(k.kind) {
			for range k.weight {
				lots = append(lots, len(usable))
			}
			usable = append(usable, k)
		}
	}
	if len(usable) == 0 {
		return nil
	}
	once := rng.Perm(len(usable)) // each kind has its turn, if there are enough
	at := make([]time.Duration, n)
	for i := range at {
		at[i] = time.Duration(rng.Int64N(int64(span)))
	}
	slices.Sort(at)
	free := map[string]time.Duration{}
	plan := make([]Fault, n)
	order := rng.Perm(n)
	drawn := make([]kindOf, n)
	for i, j := range order {
		if i < len(once) {
			drawn[j] = usable[once[i]]
		} else {
			drawn[j] = usable[lots[rng.IntN(len(lots))]]
		}
	}
	for i := range plan {
		k := drawn[i]
		f := Fault{Index: i + 1, Kind: k.kind, Host: rng.IntN(hosts), At: at[i]}
		length := k.least + rng.Float64()*(k.most-k.least)
		f.For = time.Duration(length * float64(lease)).Round(time.Millisecond)
		f.Amount = k.low + rng.IntN(k.high-k.low+1)
		// Every third fault of a network strikes all hosts at once.
		if many := rng.IntN(3) == 0; k.global || many && (k.lane == "queue" || k.lane == "store") {
			f.Host = all
		}
		f.At = max(f.At, free[f.lane()])
		free[f.lane()] = f.At + f.For + 50*time.Millisecond
		plan[i] = f
	}
	slices.SortStableFunc(plan, func(a, b Fault) int { return int(a.At - b.At) })
	return plan
}

func hostName(i int) string { return fmt.Sprintf("h%d", i) }
