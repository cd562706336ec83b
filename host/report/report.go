// Package report owns how others are told of what goes wrong on a host: the report of an
// error, the way each reporter gets it (a bounded queue and a goroutine of its own, so that
// a slow or hanging one delays no task), and what a report may show. The kinds of reporters
// lie in folders below. It knows nothing of the configuration language, of brokers or of
// what becomes of a task.
package report

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/registry"
	"github.com/backplane/leptir/task"
)

// The kinds of reports: a closed set, so that reporters can group by it.
const (
	KindError  = "error"  // a task returned an error
	KindPanic  = "panic"  // a task panicked
	KindGoexit = "goexit" // a task ended its own goroutine
	KindInput  = "input"  // a task's parameters are wrong

	KindTimeout = "timeout" // a task was killed at its time limit
	KindCrash   = "crash"   // a task's process died while it ran

	// KindTask: a task has something to say, whatever becomes of it.
	KindTask = "task"
	// KindDeadLetter: a task was moved to the dead letters without having run here.
	KindDeadLetter = "dead letter"
	// KindUnreadable: a message of a queue was moved to the dead letters, because it
	// cannot be decoded.
	KindUnreadable = "unreadable"
	// KindUnserved: tasks wait for a plugin that is not there.
	KindUnserved = "unserved"
	// KindPlugin: a plugin is not served, or not as its file lies in the folder.
	KindPlugin = "plugin"
)

// Report is one thing that went wrong. As JSON it is what webhooks get (docs/error-reporting.md).
type Report struct {
	// ID is the report's own; the same report sent again has the same. Hub sets it, and
	// Time and Host, where they are empty.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	Host string    `json:"host"`
	// Exception says that it is about an error, panic, crash or time-out; else it is a
	// message.
	Exception bool   `json:"exception"`
	Kind      string `json:"kind"` // one of the Kind constants
	Message   string `json:"message"`
	Stack     string `json:"stack,omitempty"`
	// Data are key/values that came with it, a JSON object; nil: none.
	Data json.RawMessage `json:"data,omitempty"`

	// Task is what it is about; nil if it belongs to no task.
	Task *Task `json:"task,omitempty"`
	// Plugin names the plugin, PID its process; empty where none was involved.
	Plugin string `json:"plugin,omitempty"`
	PID    int    `json:"pid,omitempty"`
	// Exit is the end of that process; nil if it lives on.
	Exit *task.Exit `json:"exit,omitempty"`
	// Final says that the task has failed for good and is among the dead letters; else
	// RetryAt is when it is tried again. Neither is set where the report does not decide
	// what becomes of the task.
	Final   bool      `json:"final,omitempty"`
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// Task is the task that a report is about.
type Task struct {
	ID      task.ID `json:"id"`
	Type    string  `json:"type"`
	Attempt int     `json:"attempt,omitempty"` // from 1
	// Params are the parameters, a JSON object, secrets taken out; nil: none.
	Params json.RawMessage `json:"parameters,omitempty"`
}

// A Reporter delivers reports to one place. Its methods are called by one goroutine.
type Reporter interface {
	// Report delivers reports and returns how many of them could not be, which are lost
	// then; err says why. It returns soon after the end of ctx. The reports are fit to
	// be shown: redacted, and bounded in size. They must not be changed.
	Report(ctx context.Context, batch []Report) (lost int, err error)
	// Close lets go of what the reporter holds. It is called once, after the last Report.
	Close() error
}

// Settings is the configuration of one reporter: a pointer to a struct in the form that
// package settings describes, and the way to open what it describes. A Settings that also
// has a method Validate() error is checked when the configuration is read.
type Settings interface {
	// Open opens the reporter. ctx bounds the opening only. What the reporter needs may
	// be down: it is for Report to try.
	Open(ctx context.Context, env Env) (Reporter, error)
}

// Env is what a reporter is told of the host around it.
type Env struct {
	// Name is the reporter's name in the configuration, Host the host's.
	Name, Host string
	// Logger is the host's.
	Logger *slog.Logger
	// Launcher starts processes; Plugin says how the one is started that is served as
	// an error reporter by the plugin of that name, or why it cannot be. What it says
	// changes when the plugin does.
	Launcher *process.Launcher
	Plugin   func(name string) (process.Spec, error)
}

// Kind is a sort of reporter that a host can be configured with, Registry a set of them.
type (
	Kind     = registry.Kind[Settings]
	Registry = registry.Registry[Settings]
)

// NewRegistry returns a registry of the given kinds; it panics on two of one name.
func NewRegistry(kinds ...Kind) *Registry { return registry.New(kinds...) }
