// Package producer is for Go programs that push tasks to the queues of leptir hosts: it
// opens queues by a host's configuration file or by an address, and pushes. What runs the
// tasks, and what becomes of them, it does not know.
//
//	queue, err := producer.Open(ctx, "leptir.hcl")
//	if err != nil {
//		return err
//	}
//	defer queue.Close()
//	id, err := queue.Push(ctx, producer.Task{Type: "mailer.send", Params: map[string]any{"to": "ann"}})
package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/task"
)

// NoTimeLimit as a Task's TimeLimit lets it run for ever, whatever the host's default is.
const NoTimeLimit = task.NoTimeLimit

// A Task is what is to be run.
type Task struct {
	// Type says which code runs it, for example "mailer.send".
	Type string
	// Params are the parameters: anything that encoding/json turns into an object, such
	// as a struct or a map. A json.RawMessage is taken as the JSON text. Nil: none.
	Params any
	// ID is the task's id; empty: a new one. Pushing the same id twice queues one task, so
	// a producer that tries again after an error should set it.
	ID string
	// Priority chooses the queue where there are several; lower is more urgent, 0 the
	// usual.
	Priority int
	// At is the time before which the task does not run; zero: at once.
	At time.Time
	// TimeLimit is the most time that it may run; 0: the host's default.
	TimeLimit time.Duration
}

// A Queue is where tasks are pushed to: one broker, or several of which a task's priority
// chooses one. It is safe for concurrent use.
type Queue struct{ set *brokers.Set }

// Open opens the brokers of a host's configuration file. An empty path stands for the file
// that a host would find: $LEPTIR_CONFIG, else leptir.hcl in the working folder, else
// /etc/leptir/leptir.hcl. All brokers must be there; ctx bounds the opening only.
func Open(ctx context.Context, path string) (*Queue, error) {
	path, err := config.Find(path)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, standard.Kinds())
	if err != nil {
		return nil, err
	}
	set, err := cfg.OpenSet(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &Queue{set}, nil
}

// Dial opens one broker by its address:
//
//	sqlite:var/leptir.db                         a file; sqlite:///var/lib/leptir.db is an absolute path
//	redis://user:password@host:6379/0            rediss:// is encrypted
//	mongodb://user:password@host:27017/leptir    or mongodb+srv://, with the driver's options
//	https://sqs.eu-west-1.amazonaws.com/123456789012/tasks    Amazon SQS, with AWS's default credentials
//
// Of Redis ?key= names the queue where it is not leptir:ztasks, of MongoDB ?collection=
// where it is not tasks. For everything else there is Open. ctx bounds the opening only.
func Dial(ctx context.Context, address string) (*Queue, error) {
	source, err := sourceOf(address)
	if err != nil {
		return nil, err
	}
	set, err := brokers.Open(ctx, brokers.Env{}, source)
	if err != nil {
		return nil, err
	}
	return &Queue{set}, nil
}

// Close lets go of the brokers. What was pushed stays.
func (q *Queue) Close() error { return q.set.Close() }

// Push pushes one task and returns its id. The task is durable on return. After an error it
// may be queued all the same, if the answer was lost on its way.
func (q *Queue) Push(ctx context.Context, t Task) (id string, err error) {
	ids, err := q.PushAll(ctx, []Task{t})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// PushAll pushes many tasks, which takes few calls of a broker. It returns the ids of those
// that are durably queued, in the order of tasks: all of them unless there is an error.
// Nothing is pushed if any task is invalid or an id stands there twice.
func (q *Queue) PushAll(ctx context.Context, tasks []Task) (ids []string, err error) {
	all := make([]task.Task, len(tasks))
	for i, t := range tasks {
		params, err := encode(t.Params)
		if err != nil {
			return nil, fmt.Errorf("push: parameters of task %d, of type %q: %w", i+1, t.Type, err)
		}
		all[i] = task.Task{ID: task.ID(t.ID), Type: t.Type, Params: params, Priority: t.Priority, At: t.At.UTC(), TimeLimit: t.TimeLimit}
		if t.At.IsZero() {
			all[i].At = time.Time{}
		}
	}
	queued, err := q.set.Push(ctx, all)
	for _, id := range queued {
		ids = append(ids, string(id))
	}
	return ids, err
}

// encode turns parameters into JSON.
func encode(params any) (json.RawMessage, error) {
	if params == nil {
		return nil, nil
	}
	text, err := json.Marshal(params)
	switch {
	case err != nil:
		return nil, err
	case string(text) == "null": // a nil pointer or map
		return nil, nil
	}
	if what := kinds[text[0]]; what != "" {
		return nil, fmt.Errorf("%s is no JSON object", what)
	}
	if text[0] != '{' {
		return nil, errors.New("a number is no JSON object")
	}
	return text, nil
}

// kinds are what JSON texts are, by their first byte, that are neither objects nor numbers.
var kinds = map[byte]string{'[': "an array", '"': "a string", 't': "a boolean", 'f': "a boolean"}
