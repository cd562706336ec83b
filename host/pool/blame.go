package pool

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/pluginpb"
)

// over reports whether the job has come to its end, by the word of its process: its result is
// on its way, and the process at work on another.
func (j *Job) over(p process.Progress) bool { return p.Kept && p.Ended >= j.seq }

// takeKept takes the results that a dead process had kept and not sent. w.mu is held.
func (w *worker) takeKept(ev *event, now time.Time) {
	for _, kept := range w.proc.Kept() {
		if len(w.window) == 0 || kept.Seq > w.window[0].seq {
			return
		}
		if kept.Seq < w.window[0].seq {
			continue // it has come
		}
		r := &pluginpb.Result{}
		if proto.Unmarshal(kept.Result, r) != nil || w.ended(ev, r, now) != "" {
			return // as of any plugin that answers nonsense; it is dead already
		}
	}
}

// charged decides whether the death of its process is this job's doing. head says that it
// was the first of those without a result. aim is the job for which the host killed the process,
// nil if it did not, or for none of them.
func (j *Job) charged(head bool, aim *Job, p process.Progress, exit process.Exit) bool {
	switch {
	case j == aim && (exit.Reason == process.ReasonTimeout || !p.Kept || p.Begun >= j.seq):
		return true
	case exit.Reason == process.ReasonRetired, exit.Reason == process.ReasonHandshake:
		return false
	case !p.Kept:
		return head // the window was of one
	case aim == nil && p.Begun > p.Ended && j.seq == p.Begun:
		return true
	}
	// Not begun yet, or ended with its result lost on the way: not its doing. But a
	// process's word is not enough to run a task again for ever. Of those that waited
	// behind others there is no doubt.
	if head || p.Ended >= j.seq {
		j.requeues++
	}
	return head && j.requeues > requeueMost
}
