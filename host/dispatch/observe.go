package dispatch

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

const (
	maxLogMessage = 64 << 10
	maxLogAttrs   = 64
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
	if len(l.GetAttrs()) > 0 && len(l.GetAttrs()) <= maxLogMessage {
		var attrs map[string]any
		if json.Unmarshal(l.GetAttrs(), &attrs) == nil && len(attrs) <= maxLogAttrs {
			r.AddAttrs(slog.Any("attrs", attrs))
		}
	}
	_ = o.Logger.Handler().Handle(context.Background(), r)
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
