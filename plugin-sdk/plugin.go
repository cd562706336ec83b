package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"

	"github.com/backplane/leptir/internal/pluginpb"
)

// Version is the version of this SDK.
const Version = "0.1.0"

// A Plugin is what one plugin binary serves.
type Plugin struct {
	// Name is the plugin's own name, for people.
	Name string
	// Version is the plugin's version; empty: the version of the main module that the
	// binary was built from.
	Version string
	// Commit is the source commit; empty: the one that the Go tool wrote into the binary.
	Commit string
	// Tasks are the task types, made by Type and Func.
	Tasks []TaskType
	// ErrorReporter is served beside the tasks, or alone; nil: none.
	ErrorReporter ErrorReporter
}

// A TaskType is one kind of task that a plugin serves; Type and Func make it.
type TaskType struct {
	name       string
	doc        string
	revertible bool
	// params returns the schema of the parameters, nil where anything goes, or what is wrong
	// with their type. It makes it when first asked: a process that is started for a single
	// task is not. Without it anything goes.
	params func() (json.RawMessage, error)
	make   func() Task
}

// Name returns the type's name, as producers use it.
func (t TaskType) Name() string { return t.name }

// Doc returns the sentence that says what a task of the type does.
func (t TaskType) Doc() string { return t.doc }

// ParamsSchema returns the JSON Schema (draft 2020-12) of the parameters, which the plugin
// publishes so that bad ones are refused before a task is queued; nil where anything goes.
func (t TaskType) ParamsSchema() json.RawMessage {
	schema, _ := t.schema()
	return schema
}

func (t *TaskType) schema() (json.RawMessage, error) {
	if t.params == nil {
		return nil, nil
	}
	return t.params()
}

// WithParams returns the type with the schema of the parameters that its tasks bind into a
// value like params, a struct: its tags say what is allowed (see BaseTask.Bind), its
// fields other than zero are defaults. What params points to must not change any more.
//
//	sdk.Type[Resize]("images.resize", "Resizes an image.").WithParams(ResizeParams{Width: 640})
//
// It only publishes: to check them is for the task, by Bind. A Func needs no WithParams.
func (t TaskType) WithParams(params any) TaskType {
	t.params = sync.OnceValues(func() (json.RawMessage, error) {
		v := reflect.ValueOf(params)
		if !v.IsValid() {
			return nil, errors.New("WithParams of nil")
		}
		return paramsSchema(v)
	})
	return t
}

// Type returns the task type that is implemented by T, a struct with BaseTask embedded
// whose pointer has a DoJob:
//
//	sdk.Type[Hello]("hello.greet", "Greets somebody.")
//
// The name consists of letters, digits, dots, underscores and dashes; by custom the
// plugin's name, a dot and a verb. The doc is one sentence for operators.
func Type[T any, P interface {
	*T
	Task
}](name, doc string) TaskType {
	_, revertible := any(P(nil)).(Reverter)
	return TaskType{name: name, doc: doc, revertible: revertible, make: func() Task { return P(new(T)) }}
}

// Func returns the task type that is implemented by one function, which gets the task's
// parameters decoded as BaseTask.Bind does:
//
//	type Mail struct {
//		To   string `json:"to"`
//		Copy string `json:"copy,omitempty"`
//	}
//
//	sdk.Func("mailer.send", "Sends a mail.", func(ctx context.Context, t *sdk.BaseTask, m Mail) error {
//		return send(ctx, m.To, m.Copy)
//	})
//
// A task that returns nil has succeeded. See Type about name and doc. The schema that
// follows from P is published.
func Func[P any](name, doc string, do func(ctx context.Context, t *BaseTask, params P) error) TaskType {
	t := TaskType{name: name, doc: doc, make: func() Task { return &funcTask[P]{do: do} }}
	t.params = sync.OnceValues(func() (json.RawMessage, error) {
		return paramsSchema(reflect.New(reflect.TypeFor[P]()).Elem())
	})
	return t
}

// funcTask is the Task of a Func.
type funcTask[P any] struct {
	BaseTask
	do func(ctx context.Context, t *BaseTask, params P) error
}

func (t *funcTask[P]) DoJob(ctx context.Context) (ReturnCode, error) {
	var p P
	if err := t.Bind(&p); err != nil {
		return Error, err
	}
	if err := t.do(ctx, &t.BaseTask, p); err != nil {
		return Error, err
	}
	return Success, nil
}

// maxNameBytes is the longest name of a task type that a host takes.
const maxNameBytes = 128

// check reports what is wrong with what the author has written, but for the types of
// parameters.
func (p *Plugin) check() error {
	if p.Name == "" {
		return errors.New("the plugin has no name: set Plugin.Name")
	}
	if len(p.Tasks) == 0 && p.ErrorReporter == nil {
		return fmt.Errorf("plugin %q serves no task type: add some to Plugin.Tasks", p.Name)
	}
	seen := map[string]bool{}
	for i, t := range p.Tasks {
		switch {
		case t.make == nil:
			return fmt.Errorf("plugin %q: task type %d (%q) was not made by sdk.Type or sdk.Func", p.Name, i, t.name)
		case t.make().base() == nil:
			return fmt.Errorf("plugin %q: task type %q embeds a nil *sdk.BaseTask: embed sdk.BaseTask itself", p.Name, t.name)
		case !goodName(t.name):
			return fmt.Errorf("plugin %q: task type %q: a name is 1 to %d letters, digits, dots, underscores and dashes", p.Name, t.name, maxNameBytes)
		case seen[t.name]:
			return fmt.Errorf("plugin %q has task type %q twice", p.Name, t.name)
		}
		seen[t.name] = true
	}
	return nil
}

// checkParams reports what is wrong with the types of parameters.
func (p *Plugin) checkParams() error {
	for _, t := range p.Tasks {
		if _, err := t.schema(); err != nil {
			return fmt.Errorf("plugin %q: task type %q: the type of its parameters: %w", p.Name, t.name, err)
		}
	}
	return nil
}

func goodName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxNameBytes
}

// describe is the answer to Describe.
func (p *Plugin) describe() *pluginpb.DescribeResponse {
	d := &pluginpb.DescribeResponse{Name: p.Name, Version: p.Version, Commit: p.Commit, SdkVersion: "go/" + Version,
		ErrorReporter: p.ErrorReporter != nil}
	if info, ok := debug.ReadBuildInfo(); ok {
		if d.Version == "" {
			d.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && d.Commit == "" {
				d.Commit = s.Value
			}
		}
	}
	for _, t := range p.Tasks {
		d.Tasks = append(d.Tasks, &pluginpb.TaskType{Name: t.name, Doc: text(t.doc, MaxLogBytes), ParamsSchema: t.ParamsSchema(), Revertible: t.revertible})
	}
	d.Name, d.Version, d.Commit = text(d.Name, maxNameBytes), text(d.Version, maxNameBytes), text(d.Commit, maxNameBytes)
	return d
}
