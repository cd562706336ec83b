package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

const (
	maxLogMessage = 64 << 10
	maxLogAttrs   = 64
	maxLogDepth   = 4 // of groups in groups; what is deeper stands as it is
)

// Observer is what a pool tells while tasks run: their log lines go to the host's log, and
// that they run goes into their record. It implements pool.Observer.
type Observer struct {
	Logger *slog.Logger
	Pusher *Pusher
}

var (
	_ pool.Observer       = (*Observer)(nil)
	_ pool.ReportObserver = (*Observer)(nil)
)

// Logs reports whether lines of that level are logged at all.
func (o *Observer) Logs(level int32) bool {
	return o.Logger.Enabled(context.Background(), slogLevel(level))
}

// slogLevel returns the level of a plugin's line, an untrusted number.
func slogLevel(level int32) slog.Level { return slog.Level(max(-4, min(8, level))) }

// Log writes a task's log line.
func (o *Observer) Log(plugin string, pid int, job *pool.Job, l *pluginpb.Log) {
	level := slogLevel(l.GetLevel())
	at := time.Now()
	if t := time.Unix(0, l.GetTime()); at.Sub(t).Abs() < time.Minute {
		at = t
	}
	r := slog.NewRecord(at, level, clip(l.GetMessage(), maxLogMessage), 0)
	if job != nil {
		r.AddAttrs(slog.String("task", string(job.Task.ID)), slog.String("type", job.Task.Type), slog.Int("attempt", job.Attempt))
	}
	r.AddAttrs(slog.String("plugin", plugin), slog.Int("worker", pid))
	if len(l.GetAttrs()) > 0 {
		r.AddAttrs(ownAttrs(l.GetAttrs()))
	}
	_ = o.Logger.Handler().Handle(context.Background(), r)
}

// ownAttrs returns the attributes that a task has given its line, untrusted JSON, in a group
// of their own, so that none can pass for one of the host's.
func ownAttrs(raw []byte) slog.Attr {
	const key = "attrs"
	if len(raw) > maxLogMessage {
		return slog.String(key, fmt.Sprintf("(%d bytes left out)", len(raw)))
	}
	var attrs map[string]any
	if json.Unmarshal(raw, &attrs) != nil {
		return slog.String(key, "(not a JSON object)")
	}
	if n := len(attrs); n > maxLogAttrs {
		return slog.String(key, fmt.Sprintf("(%d attributes left out, at most %d are logged)", n, maxLogAttrs))
	}
	return slog.Attr{Key: key, Value: group(attrs, maxLogDepth)}
}

// group makes an object a group of attributes in the order of their names, and so the objects
// in it, down to some depth.
func group(object map[string]any, depth int) slog.Value {
	attrs := make([]slog.Attr, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		inner, ok := object[name].(map[string]any)
		if ok && depth > 1 && name != "" && len(inner) > 0 { // else slog would leave the group out, or its name
			attrs = append(attrs, slog.Attr{Key: name, Value: group(inner, depth-1)})
			continue
		}
		attrs = append(attrs, slog.Any(name, object[name]))
	}
	return slog.GroupValue(attrs...)
}

// Push queues a task that a task pushes.
func (o *Observer) Push(_ *pool.Job, p *pluginpb.Push, reply func(*pluginpb.PushReply)) {
	o.Pusher.Push(p, reply)
}

// Running writes down that a task is in progress.
func (o *Observer) Running(job *pool.Job, plugin string, pid int, started time.Time) {
	dv, ok := job.Tag.(*delivery)
	if !ok || !dv.source.stillOurs(dv, time.Now()) {
		return
	}
	d := dv.source.d
	rec := task.Record{ID: dv.Task.ID, Type: dv.Task.Type, Status: task.InProgress, ExStart: started.UTC(), Run: dv.run(d.o.Host)}
	rec.Run.Plugin, rec.Run.Process = plugin, pid
	dv.told.begun(&rec)
	d.stores.put([]task.Record{rec}, nil)
}
