package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
	"github.com/backplane/leptir/torture/journal"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// at returns a run of a process on a host, in seconds since noon; to below 0 is no end.
func at(id, host string, pid, attempt int, from, to float64, outcome string) journal.Run {
	r := journal.Run{Task: id, Host: host, PID: pid, Attempt: attempt, Begin: noon.Add(time.Duration(from * float64(time.Second)))}
	if to >= 0 {
		r.End, r.Outcome = noon.Add(time.Duration(to*float64(time.Second))), outcome
	}
	return r
}

// record returns a record of a run.
func recordOf(r journal.Run, rc task.ReturnCode) task.Record {
	return task.Record{ID: task.ID(r.Task), Status: task.Completed, RetC: rc, Run: task.Run{Attempt: r.Attempt, Host: r.Host, Process: r.PID, Ended: r.End}}
}

// fine is evidence of three tasks that went well, one after a failure: a, b, and d, which is
// doomed.
func fine() *evidence {
	e := &evidence{lease: 3 * time.Second, stores: []string{"one"}, pushed: map[task.ID]time.Time{}, again: map[task.ID]bool{},
		queued: map[task.ID]brokers.Item{}, dead: map[task.ID][]brokers.Item{}, records: []map[task.ID]task.Record{{}}}
	for _, id := range []task.ID{"a", "b", "d"} {
		e.orders = append(e.orders, order{id: id, kind: "quick"})
		e.pushed[id] = noon
	}
	e.orders[2].params.GiveUp = true
	e.runs = []journal.Run{at("a", "h0", 1, 1, 1, 2, journal.OK), at("b", "h1", 2, 1, 1, 2, journal.Fail), at("b", "h1", 2, 2, 3, 4, journal.OK),
		at("d", "h0", 1, 1, 5, 6, journal.GiveUp)}
	e.records[0]["a"] = recordOf(e.runs[0], task.Success)
	e.records[0]["b"] = recordOf(e.runs[2], task.Success)
	e.records[0]["d"] = recordOf(e.runs[3], task.Error)
	e.dead["d"] = []brokers.Item{{ID: "d"}}
	return e
}

func strikes(k Kind, host int, from, to float64) struck {
	return struck{Fault: Fault{Kind: k, Host: host}, Begin: noon.Add(time.Duration(from * float64(time.Second))), End: noon.Add(time.Duration(to * float64(time.Second)))}
}

func TestVerdictOfWhatWentWell(t *testing.T) {
	t.Parallel()
	v := verify(fine())
	require.True(t, v.good())
	require.Equal(t, []int{3, 3, 4, 1, 1, 0}, []int{v.pushed, v.recorded, v.runs, v.retries, v.deadLetters, len(v.extra)})
}

func TestVerdictOfWhatWentWrong(t *testing.T) {
	t.Parallel()
	success := task.Success
	for name, c := range map[string]struct {
		spoil       func(e *evidence)
		lost, stuck string
		wrong, dead string
		unexplained int
	}{
		"a task is gone": {func(e *evidence) { delete(e.records[0], "a") }, "a: neither recorded nor queued", "", "", "", 0},
		"a task is gone without a run": {func(e *evidence) {
			e.orders, e.pushed["x"] = append(e.orders, order{id: "x"}), noon
		}, "x: neither recorded nor queued; it ran 0 times", "", "", "", 0},
		"a dead letter is gone":     {func(e *evidence) { delete(e.dead, "d") }, "d: it has failed for good and is not among the dead letters", "", "", "", 0},
		"a task is left leased":     {func(e *evidence) { e.queued["a"] = brokers.Item{State: brokers.StateLeased} }, "", "a: it is still in the queue, leased", "", "", 0},
		"a good task is buried":     {func(e *evidence) { e.dead["a"] = []brokers.Item{{ID: "a"}} }, "", "", "", "a: it is among the dead letters", 0},
		"a dead letter is doubled":  {func(e *evidence) { e.dead["d"] = make([]brokers.Item, 2) }, "", "", "", "d: it is among the dead letters 2 times", 0},
		"success without a run":     {func(e *evidence) { e.runs = e.runs[1:] }, "", "", "a: record in one: no run of that host, process and attempt", "", 0},
		"success of another host":   {func(e *evidence) { e.runs[0].Host = "h2" }, "", "", "a: record in one: no run of that host", "", 0},
		"success of another try":    {func(e *evidence) { e.runs[0].Attempt = 2 }, "", "", "a: record in one: no run of that host", "", 0},
		"success of a failed run":   {func(e *evidence) { e.runs[0].Outcome = journal.Fail }, "", "", "a: record in one: no run of that host", "", 0},
		"success of a killed run":   {func(e *evidence) { e.runs[0].Outcome, e.runs[0].End = "", time.Time{} }, "", "", "a: record in one: no run of that host", "", 0},
		"success of a doomed task":  {func(e *evidence) { e.records[0]["d"] = recordOf(e.runs[3], success) }, "", "", "d: record in one: it tells of success", "", 0},
		"failure of a good task":    {func(e *evidence) { e.records[0]["a"] = recordOf(e.runs[0], task.Error) }, "", "", "a: record in one: it tells of a failure for good", "", 0},
		"a record that has no end":  {func(e *evidence) { e.records[0]["a"] = task.Record{ID: "a", Status: task.InProgress} }, "", "", "a: record in one: it says that the task has not ended", "", 0},
		"other parameters":          {func(e *evidence) { e.runs[1].Outcome = journal.Broken }, "", "", "b: attempt 1 ran with other parameters", "", 0},
		"a task that nobody pushed": {func(e *evidence) { e.runs = append(e.runs, at("x", "h0", 1, 1, 9, 10, journal.OK)) }, "", "", "x: it ran, and nobody has heard", "", 0},
		"a store without a record": {func(e *evidence) {
			e.stores, e.records = append(e.stores, "two"), append(e.records, map[task.ID]task.Record{"a": e.records[0]["a"], "d": e.records[0]["d"]})
		}, "", "", "b: 1 of 2 stores have its record", "", 0},
		"stores that contradict": {func(e *evidence) {
			e.runs = append(e.runs, at("a", "h1", 9, 1, 1, 2, journal.OK))
			e.struck = append(e.struck, strikes(HostStop, all, 0, 9))
			e.stores, e.records = append(e.stores, "two"), append(e.records, map[task.ID]task.Record{"a": recordOf(e.runs[4], success), "b": e.records[0]["b"], "d": e.records[0]["d"]})
		}, "", "", "a: the stores contradict each other", "", 0},
		"a run that nothing asked for": {func(e *evidence) { e.runs = append(e.runs, at("a", "h0", 1, 1, 1, 1.5, journal.OK)) }, "", "", "", "", 1},
		"the record of an older run": {func(e *evidence) {
			e.runs = append(e.runs, at("a", "h2", 3, 1, 60, 61, journal.OK))
			e.struck = append(e.struck, strikes(HostStop, 0, 1.5, 30))
		}, "", "", "a: record in one: a later run ended as well", "", 0},
		"a child that was not run": {func(e *evidence) { e.orders[0].params.Child = "a-child" }, "a-child: neither recorded nor queued; it ran 0 times", "", "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fine()
			c.spoil(e)
			v := verify(e)
			require.False(t, v.good())
			for _, f := range []struct {
				want string
				got  []string
			}{{c.lost, v.lost}, {c.stuck, v.stuck}, {c.wrong, v.wrong}, {c.dead, v.wrongDead}} {
				if f.want == "" {
					require.Empty(t, f.got)
					continue
				}
				require.Len(t, f.got, 1)
				require.Contains(t, f.got[0], f.want)
			}
			require.Equal(t, c.unexplained, v.unexplained())
		})
	}
}

// ends adds a task that ends its process on h0, and is done later. told says that its journal
// tells of the end.
func (e *evidence) ends(id string, pid int, when float64, told bool) {
	o := order{id: task.ID(id), kind: "exit"}
	o.params.Exits = 1
	e.orders, e.pushed[o.id] = append(e.orders, o), noon
	end, outcome := -1.0, ""
	if told {
		end, outcome = when, journal.Exit
	}
	e.runs = append(e.runs, at(id, "h0", pid, 1, when, end, outcome), at(id, "h0", 8, 2, when+1, when+2, journal.OK))
	e.records[0][o.id] = recordOf(e.runs[len(e.runs)-1], task.Success)
}

func TestCausesOfSecondRuns(t *testing.T) {
	t.Parallel()
	first := at("a", "h0", 1, 1, 10, 11, journal.OK)
	died := at("a", "h0", 1, 1, 10, -1, "")
	for name, c := range map[string]struct {
		first  journal.Run
		struck []struck
		again  bool
		want   string
		more   func(e *evidence)
	}{
		"its host was killed":                         {died, []struck{strikes(HostKill, 0, 10.5, 11)}, false, "host-kill", nil},
		"another host was killed":                     {died, []struck{strikes(HostKill, 1, 10.5, 11)}, false, "", nil},
		"its host had been killed long ago":           {died, []struck{strikes(HostKill, 0, 1, 2)}, false, "", nil},
		"its host was killed long after":              {first, []struck{strikes(HostKill, 0, 15, 16)}, false, "", nil},
		"its host was stopped":                        {first, []struck{strikes(HostStop, 0, 9, 20)}, false, "host-stop", nil},
		"the server was killed":                       {first, []struck{strikes(ServerKill, all, 11.2, 12)}, false, "server-kill", nil},
		"a kill is likelier than a slow line":         {died, []struck{strikes(QueueLatency, 0, 5, 20), strikes(HostKill, 0, 10.5, 11)}, false, "host-kill", nil},
		"a store that fails is no cause":              {first, []struck{strikes(StoreFull, all, 5, 20)}, false, "", nil},
		"a kill while the store failed":               {first, []struck{strikes(StoreFull, all, 10.5, 20), strikes(HostKill, 0, 15, 16)}, false, "host-kill", nil},
		"a kill before the store was tried again":     {first, []struck{strikes(StoreFull, all, 10.5, 15), strikes(HostKill, 0, 18, 19)}, false, "host-kill", nil},
		"a kill long after the store was there again": {first, []struck{strikes(StoreFull, all, 10.5, 12), strikes(HostKill, 0, 18, 19)}, false, "", nil},
		"a new plugin is no cause":                    {first, []struck{strikes(PluginGood, all, 10, 11)}, false, "", nil},
		"what was not carried out is no cause":        {died, []struck{{Fault: Fault{Kind: HostKill, Host: 0}, Skipped: "no host", Begin: noon.Add(10 * time.Second), End: noon.Add(11 * time.Second)}}, false, "", nil},
		"its process was stopped":                     {first, []struck{strikes(PluginStop, 0, 10.5, 19)}, false, "plugin-stop", nil},
		"the producer pushed it again":                {first, nil, true, "pushed again by the producer", nil},
		"another host was stopped":                    {died, []struck{strikes(HostStop, 1, 10.5, 15)}, false, "", nil},
		"another host was stopped with the file's lock": {died, []struck{strikes(HostStop, 1, 10.5, 15)}, false,
			"host-stop of another host, which may have held the lock of the queue's file", func(e *evidence) { e.file = true }},
		"its own host was stopped, too": {died, []struck{strikes(HostStop, 1, 10.5, 15), strikes(PluginStop, 0, 10.5, 15)}, false, "plugin-stop", func(e *evidence) { e.file = true }},
		"the next task ended its process": {first, nil, false, "its process was ended by the next task, before its result had left it",
			func(e *evidence) { e.ends("x", 1, 11.01, true) }},
		"the next task ended its process before it could tell": {first, nil, false, "its process was ended by the next task, before its result had left it",
			func(e *evidence) { e.ends("x", 1, 11.01, false) }},
		"a task ended its process much later": {first, nil, false, "", func(e *evidence) { e.ends("x", 1, 12, true) }},
		"its time limit was over": {first, nil, false, "its time limit was over before its result had left its process", func(e *evidence) {
			e.runs[len(e.runs)-1].Attempt = 2
			rec := recordOf(e.runs[len(e.runs)-1], task.Success)
			rec.Run.Timeouts = 1
			e.records[0]["a"] = rec
		}},
		"an attempt that nothing counted as failed": {first, nil, false, "", func(e *evidence) {
			e.runs[len(e.runs)-1].Attempt = 2
			e.records[0]["a"] = recordOf(e.runs[len(e.runs)-1], task.Success)
		}},
		"its host had lost its lease": {first, nil, false, "its host was too slow to keep its lease, on a busy machine", func(e *evidence) {
			e.slow = map[task.ID][]time.Time{"a": {noon.Add(11 * time.Second)}}
		}},
		"its host had lost the lease of an earlier run": {first, nil, false, "", func(e *evidence) {
			e.slow = map[task.ID][]time.Time{"a": {noon.Add(9 * time.Second)}}
		}},
		"another copy ran at the same time": {at("a", "h0", 1, 1, 29.5, 29.6, journal.OK), []struck{strikes(HostDrain, 2, 20, 21)}, false,
			"given back as a copy, by a host that was cut off before it could delete the first", func(e *evidence) { e.noIDs = true }},
		"no copies in a queue that knows ids": {at("a", "h0", 1, 1, 29.5, 29.6, journal.OK), []struck{strikes(HostDrain, 2, 20, 21)}, false, "", nil},
		"no copies where nothing was struck":  {at("a", "h0", 1, 1, 29.5, 29.6, journal.OK), nil, false, "", func(e *evidence) { e.noIDs = true }},
		"a task ended another process":        {first, nil, false, "", func(e *evidence) { e.ends("x", 7, 11.01, true) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fine()
			second := at("a", "h1", 5, 1, 30, 31, journal.OK)
			e.runs = append(e.runs[1:], c.first, second)
			e.records[0]["a"] = recordOf(second, task.Success)
			e.struck, e.again["a"] = c.struck, c.again
			if c.more != nil {
				c.more(e)
			}
			v := verify(e)
			require.Len(t, v.extra, 1)
			require.Equal(t, c.want, v.extra[0].cause)
		})
	}
}

// Of two runs of one process the record is compared with the one that it tells of.
func TestRecordOfOneProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tells int // of which of the two
		wrong int
	}{"the later": {1, 0}, "the earlier": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fine()
			two := []journal.Run{e.runs[0], at("a", "h0", 1, 1, 60, 61, journal.OK)}
			e.runs = append(e.runs, two[1])
			e.records[0]["a"] = recordOf(two[c.tells], task.Success)
			e.struck = []struck{strikes(HostStop, 0, 1.5, 30)}
			require.Len(t, verify(e).wrong, c.wrong)
		})
	}
}

// A queue that does not know ids has a task twice if the client sent it twice.
func TestSentTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		noIDs bool
		end   float64 // of the fault
		want  string
	}{
		"while connections were cut": {true, 3, "sent again by the queue's client, whose first try was cut off"},
		"to a queue that knows ids":  {false, 3, ""},
		"after the fault":            {true, 0.5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fine()
			e.noIDs, e.asked = c.noIDs, map[task.ID]time.Time{"a": noon.Add(2 * time.Second)}
			e.pushed["a"] = noon.Add(4 * time.Second)
			e.runs = append(e.runs[1:], at("a", "h0", 1, 1, 20, 21, journal.OK), at("a", "h1", 4, 1, 20, 21, journal.OK))
			e.records[0]["a"] = recordOf(e.runs[3], task.Success)
			e.struck = []struck{strikes(QueueLimit, all, 0, c.end)}
			v := verify(e)
			require.Len(t, v.extra, 1)
			require.Equal(t, c.want, v.extra[0].cause)
			require.Empty(t, v.wrong)
		})
	}
}
