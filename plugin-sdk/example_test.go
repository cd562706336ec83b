package sdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// Hello is a whole task type.
type Hello struct{ sdk.BaseTask }

func (t *Hello) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	name, err := t.GetString("name", "world")
	if err != nil {
		return sdk.Error, err
	}
	t.AddResponseLine("hello " + name)
	return sdk.Success, nil
}

func ExampleType() {
	greet := sdk.Type[Hello]("hello.greet", "Greets somebody.")

	// In main:
	//	sdk.Serve(sdk.Plugin{Name: "hello", Version: "1.0.0", Tasks: []sdk.TaskType{greet}})

	out := sdk.Try(context.Background(), greet, map[string]any{"name": "leptir"})
	fmt.Println(out.Code, out.Response)
	// Output: success [hello leptir]
}

func ExampleFunc() {
	type Mail struct {
		To   string `json:"to"`
		Copy string `json:"copy,omitempty"`
	}
	send := sdk.Func("mailer.send", "Sends a mail.", func(ctx context.Context, t *sdk.BaseTask, m Mail) error {
		t.AddResponseLine("sent to " + m.To)
		return nil
	})

	out := sdk.Try(context.Background(), send, Mail{To: "jo@example.org"})
	fmt.Println(out.Code, out.Response)

	out = sdk.Try(context.Background(), send, map[string]any{"copy": "jo@example.org"})
	fmt.Println(out.Code, out.Failure.Message)
	// Output:
	// success [sent to jo@example.org]
	// error parameter "to": not defined
}

func ExampleTaskType_WithParams() {
	type Greeting struct {
		Name  string `json:"name" doc:"Whom to greet."`
		Times int    `json:"times" default:"1" min:"1" max:"3"`
		Tone  string `json:"tone,omitempty" enum:"warm,cool"`
	}
	// A Func has its schema by itself; a type that binds its parameters says to which.
	greet := sdk.Type[Hello]("hello.greet", "Greets somebody.").WithParams(Greeting{})
	var schema bytes.Buffer
	if err := json.Indent(&schema, greet.ParamsSchema(), "", "  "); err != nil {
		fmt.Println(err)
	}
	fmt.Println(schema.String())
	// Output:
	// {
	//   "$schema": "https://json-schema.org/draft/2020-12/schema",
	//   "type": "object",
	//   "properties": {
	//     "name": {
	//       "type": "string",
	//       "description": "Whom to greet."
	//     },
	//     "times": {
	//       "type": [
	//         "integer",
	//         "null"
	//       ],
	//       "minimum": 1,
	//       "maximum": 3,
	//       "default": 1
	//     },
	//     "tone": {
	//       "type": [
	//         "string",
	//         "null"
	//       ],
	//       "enum": [
	//         "warm",
	//         "cool",
	//         null
	//       ]
	//     }
	//   },
	//   "required": [
	//     "name"
	//   ]
	// }
}

func ExampleTry() {
	count := sdk.Func("demo.count", "Counts.", func(ctx context.Context, t *sdk.BaseTask, p struct {
		To int `json:"to"`
	}) error {
		for i := range p.To {
			t.ChangeState(i + 1)
		}
		t.LogInfo("counted", "to", p.To)
		return t.SetResult(p.To)
	})

	out := sdk.Try(context.Background(), count, map[string]any{"to": 3})
	fmt.Println(out.Code, out.States, out.Result)
	fmt.Println(out.Logs[0].Message, out.Logs[0].Attrs)
	// Output:
	// success [1 2 3] 3
	// counted map[to:3]
}

// try runs do as a task with the parameters and prints how it ended.
func try(params any, do func(ctx context.Context, t *sdk.BaseTask) error) sdk.Outcome {
	typ := sdk.Func("demo.example", "", func(ctx context.Context, t *sdk.BaseTask, _ map[string]any) error { return do(ctx, t) })
	out := sdk.Try(context.Background(), typ, params)
	fmt.Println(out.Code, out.Response)
	return out
}

func ExampleBaseTask_GetInt() {
	params := map[string]any{"pages": 3, "name": "x"}
	try(params, func(_ context.Context, t *sdk.BaseTask) error {
		pages, err := t.GetInt("pages")
		if err != nil {
			return err
		}
		copies, err := t.GetInt("copies", 1) // not given: 1
		if err != nil {
			return err
		}
		t.AddResponseLine(fmt.Sprint(pages * copies))
		return nil
	})
	try(params, func(_ context.Context, t *sdk.BaseTask) error {
		_, err := t.GetInt("name")
		return err
	})
	// Output:
	// success [3]
	// error [parameter "name": not an integer]
}

func ExampleBaseTask_GetFloat() {
	try(map[string]any{"price": 2.5}, func(_ context.Context, t *sdk.BaseTask) error {
		price, err := t.GetFloat("price")
		t.AddResponseLine(fmt.Sprint(price * 2))
		return err
	})
	// Output: success [5]
}

func ExampleBaseTask_GetString() {
	try(map[string]any{"to": 5}, func(_ context.Context, t *sdk.BaseTask) error {
		_, err := t.GetString("to")
		var input *sdk.InputError
		if errors.As(err, &input) {
			t.AddResponseLine(input.Param + " is " + input.Problem)
		}
		return nil
	})
	// Output: success [to is not a string]
}

func ExampleBaseTask_GetBool() {
	try(map[string]any{"urgent": true}, func(_ context.Context, t *sdk.BaseTask) error {
		urgent, err := t.GetBool("urgent", false)
		t.AddResponseLine(fmt.Sprint(urgent))
		return err
	})
	// Output: success [true]
}

func ExampleBaseTask_GetArray() {
	try(map[string]any{"to": []string{"jo", "sam"}}, func(_ context.Context, t *sdk.BaseTask) error {
		to, err := t.GetArray("to")
		for _, name := range to {
			t.AddResponseLine(fmt.Sprint(name))
		}
		return err
	})
	// Output: success [jo sam]
}

func ExampleBaseTask_GetData() {
	try(map[string]any{"any": map[string]any{"n": 1}}, func(_ context.Context, t *sdk.BaseTask) error {
		data, err := t.GetData("any")
		t.AddResponseLine(fmt.Sprintf("%T", data))
		return err
	})
	// Output: success [map[string]interface {}]
}

func ExampleBaseTask_SetData() {
	try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.SetData("n", 3)
		n, err := t.GetInt("n")
		t.AddResponseLine(fmt.Sprint(n))
		return err
	})
	// Output: success [3]
}

func ExampleBaseTask_Bind() {
	type Resize struct {
		Path  string `json:"path"`  // must be given
		Width int    `json:"width"` // has a default, below
		Level int    `json:"level" default:"3" min:"1" max:"9"`
		Mode  string `json:"mode" default:"good" enum:"fast,good"`
		Crop  bool   `json:"crop,omitempty"` // may be left out
		Angle *int   `json:"angle"`          // so may a pointer
		Note  string `json:"note,omitempty"`
	}
	resize := func(_ context.Context, t *sdk.BaseTask) error {
		p := Resize{Width: 640}
		if err := t.Bind(&p); err != nil {
			return err
		}
		t.AddResponseLine(fmt.Sprint(p.Path, " ", p.Width, " ", p.Crop, " ", p.Level, " ", p.Mode))
		return nil
	}
	try(map[string]any{"path": "a.png", "crop": true}, resize)
	try(map[string]any{"width": 100}, resize)
	try(map[string]any{"path": "a.png", "width": "wide"}, resize)
	try(map[string]any{"path": "a.png", "level": 10}, resize)
	try(map[string]any{"path": "a.png", "mode": "slow"}, resize)
	// Output:
	// success [a.png 640 true 3 good]
	// error [parameter "path": not defined]
	// error [parameter "width": not an integer]
	// error [parameter "level": 10 is more than 9]
	// error [parameter "mode": "slow" is none of "fast", "good"]
}

func ExampleBaseTask_AddResponseLine() {
	try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.AddResponseLine("checked 3 pages,")
		t.AddResponseLine("found no errors")
		return nil
	})
	// Output: success [checked 3 pages, found no errors]
}

func ExampleBaseTask_ChangeState() {
	const fetching, converting = 1, 2
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.ChangeState(fetching)
		t.ChangeState(converting)
		last, ok := t.GetLastState()
		t.AddResponseLine(fmt.Sprint(last, ok, t.GetExecutionFlow()))
		return nil
	})
	fmt.Println(out.States)
	// Output:
	// success [2 true [1 2]]
	// [1 2]
}

func ExampleBaseTask_GetLastState() {
	try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		_, any := t.GetLastState()
		t.ChangeState(7)
		last, _ := t.GetLastState()
		t.AddResponseLine(fmt.Sprint(any, last))
		return nil
	})
	// Output: success [false 7]
}

func ExampleBaseTask_GetExecutionFlow() {
	// As the original's tests did: a task's methods called by hand, without a host.
	task := &Upload{}
	task.ChangeState(1)
	task.ChangeState(2)
	task.ChangeState(3)
	fmt.Println(task.GetExecutionFlow())
	// Output: [1 2 3]
}

func ExampleBaseTask_LogDebug() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.LogDebug("connecting", "host", "db1") // shown where a logger's level is "debug"
		return nil
	})
	fmt.Println(out.Logs[0].Level, out.Logs[0].Message, out.Logs[0].Attrs)
	// Output:
	// success []
	// DEBUG connecting map[host:db1]
}

func ExampleBaseTask_LogWarning() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.LogWarning("the mailbox is nearly full", "percent", 97)
		return nil
	})
	fmt.Println(out.Logs[0].Level, out.Logs[0].Message, out.Logs[0].Attrs)
	// Output:
	// success []
	// WARN the mailbox is nearly full map[percent:97]
}

func ExampleBaseTask_LogError() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.LogError("no answer, trying the other server", "error", errors.New("timeout"))
		return nil // a logged error does not make the task fail
	})
	fmt.Println(out.Logs[0].Level, out.Logs[0].Message, out.Logs[0].Attrs)
	// Output:
	// success []
	// ERROR no answer, trying the other server map[error:timeout]
}

func ExampleBaseTask_ID() {
	typ := sdk.Func("demo.who", "", func(_ context.Context, t *sdk.BaseTask, _ struct{}) error {
		t.AddResponseLine(fmt.Sprintf("%s %s, attempt %d, priority %d, limit %v", t.Type(), t.ID(), t.Attempt(), t.Priority(), t.TimeLimit()))
		return nil
	})
	out := sdk.TryWith(context.Background(), typ, nil, sdk.TryOptions{ID: "17", Attempt: 2, Priority: -1, TimeLimit: time.Minute})
	fmt.Println(out.Response[0])
	// Output: demo.who 17, attempt 2, priority -1, limit 1m0s
}

func ExampleBaseTask_LogInfo() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.LogInfo("mail sent", "to", "jo", "bytes", 120)
		t.LogWarning("the mailbox is nearly full")
		return nil
	})
	for _, line := range out.Logs {
		fmt.Println(line.Level, line.Message, line.Attrs)
	}
	// Output:
	// success []
	// INFO mail sent map[bytes:120 to:jo]
	// WARN the mailbox is nearly full map[]
}

func ExampleBaseTask_Logger() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		log := t.Logger().With("step", 1)
		log.Debug("fetching")
		return nil
	})
	fmt.Println(out.Logs[0].Message, out.Logs[0].Attrs)
	// Output:
	// success []
	// fetching map[step:1]
}

func ExampleBaseTask_GetExecutionTime() {
	try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		time.Sleep(10 * time.Millisecond)
		t.AddResponseLine(fmt.Sprint(t.GetExecutionTime() >= 0.01))
		return nil
	})
	// Output: success [true]
}

func ExampleBaseTask_Progress() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		for page := range 3 {
			t.Progress(float64(page)/3, fmt.Sprintf("page %d of 3", page+1))
		}
		return nil
	})
	fmt.Println(out.Progress[1].Text)
	// Output:
	// success []
	// page 2 of 3
}

func ExampleBaseTask_SetResult() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		return t.SetResult(map[string]int{"pages": 3})
	})
	fmt.Println(out.Result)
	// Output:
	// success []
	// map[pages:3]
}

func ExampleBaseTask_Push() {
	out := try(nil, func(ctx context.Context, t *sdk.BaseTask) error {
		_, err := t.Push(ctx, sdk.NewTask{
			Type:   "mailer.send",
			Params: map[string]any{"to": "jo"},
			ID:     t.ID() + "-mail", // another attempt does not push a second mail
		})
		return err
	})
	fmt.Println(out.Pushed[0].Type, out.Pushed[0].ID)
	// Output:
	// success []
	// mailer.send try-mail
}

func ExamplePush() {
	// Deep down, where only the context is at hand.
	notify := func(ctx context.Context) error {
		_, err := sdk.Push(ctx, sdk.NewTask{Type: "mailer.send"})
		return err
	}
	out := try(nil, func(ctx context.Context, _ *sdk.BaseTask) error { return notify(ctx) })
	fmt.Println(len(out.Pushed))
	// Output:
	// success []
	// 1
}

func ExamplePermanent() {
	out := try(nil, func(context.Context, *sdk.BaseTask) error {
		return sdk.Permanent(errors.New("the account is closed"))
	})
	fmt.Println(out.Failure.Permanent)
	// Output:
	// error [the account is closed]
	// true
}

func ExampleRetryAfter() {
	out := try(nil, func(context.Context, *sdk.BaseTask) error {
		return sdk.RetryAfter(errors.New("429 too many requests"), time.Minute)
	})
	fmt.Println(out.Failure.RetryAfter)
	// Output:
	// error [429 too many requests]
	// 1m0s
}

func ExampleWithData() {
	out := try(nil, func(context.Context, *sdk.BaseTask) error {
		return sdk.WithData(errors.New("the server said no"), map[string]any{"status": 500})
	})
	fmt.Println(out.Failure.Data)
	// Output:
	// error [the server said no]
	// map[status:500]
}

func ExampleFromContext() {
	try(nil, func(ctx context.Context, _ *sdk.BaseTask) error {
		sdk.FromContext(ctx).AddResponseLine("found")
		return nil
	})
	// Output: success [found]
}

// Upload has every optional method.
type Upload struct {
	sdk.BaseTask
	file string
}

func (t *Upload) BeforeStart(context.Context) (err error) {
	t.file, err = t.GetString("file")
	return err
}

func (t *Upload) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	return sdk.Error, errors.New("the disk is full")
}

func (t *Upload) AfterFinish(context.Context) error {
	t.AddResponseLine("cleaned up,")
	return nil
}

func (t *Upload) GetAdditionalMetaInfo() map[string]any { return map[string]any{"file": t.file} }

// Revert says which task takes the upload back.
func (t *Upload) Revert(context.Context) (*sdk.NewTask, error) {
	return &sdk.NewTask{Type: "upload.delete", Params: map[string]any{"file": t.file}}, nil
}

func ExampleBeforeStarter() {
	// Upload's BeforeStart wants to know the file: without one, DoJob is left out.
	out := sdk.Try(context.Background(), sdk.Type[Upload]("upload.put", "Uploads a file."), nil)
	fmt.Println(out.Code, out.Failure.Message)
	fmt.Println(out.Response[0]) // AfterFinish has run
	// Output:
	// error parameter "file": not defined
	// cleaned up,
}

func ExampleAfterFinisher() {
	// Upload's DoJob fails; its AfterFinish cleans up all the same.
	out := sdk.Try(context.Background(), sdk.Type[Upload]("upload.put", "Uploads a file."), map[string]any{"file": "a.png"})
	fmt.Println(out.Code, out.Response)
	// Output: error [cleaned up, the disk is full]
}

func ExampleMetaInfoer() {
	// What Upload's GetAdditionalMetaInfo returns goes into the task's record.
	out := sdk.Try(context.Background(), sdk.Type[Upload]("upload.put", "Uploads a file."), map[string]any{"file": "a.png"})
	fmt.Println(out.Meta)
	// Output: map[file:a.png]
}

func ExampleReverter() {
	out := sdk.Try(context.Background(), sdk.Type[Upload]("upload.put", "Uploads a file."), map[string]any{"file": "a.png"})
	fmt.Println(out.Code, out.Response)
	fmt.Println(out.Meta)
	fmt.Printf("%s %s\n", out.Undo.Type, out.Undo.Params)
	// Output:
	// error [cleaned up, the disk is full]
	// map[file:a.png]
	// upload.delete {"file":"a.png"}
}

func ExampleBaseTask_ReportError() {
	sync := sdk.Func("users.sync", "Copies the users.", func(ctx context.Context, t *sdk.BaseTask, _ struct{}) error {
		t.AddErrorData(map[string]any{"source": "ldap"}) // goes with all later reports of this task
		for _, user := range []string{"ann", "bob"} {
			if user == "bob" {
				t.ReportError(fmt.Errorf("user %s has no mail address", user)) // and the task goes on
			}
		}
		t.ReportMessage("1 user left out")
		return nil
	})

	out := sdk.Try(context.Background(), sync, nil)
	fmt.Println(out.Code)
	fmt.Println(out.Reports[0].Data)
	fmt.Println(out.Reports[1].Failure.Message)
	fmt.Println(out.Reports[2].Message)
	// Output:
	// success
	// map[source:ldap]
	// user bob has no mail address
	// 1 user left out
}

func ExampleBaseTask_ReportMessage() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.ReportMessage("the price list is a week old")
		return nil
	})
	fmt.Println(out.Reports[0].Message)
	// Output:
	// success []
	// the price list is a week old
}

func ExampleBaseTask_AddErrorData() {
	out := try(nil, func(_ context.Context, t *sdk.BaseTask) error {
		t.AddErrorData(map[string]any{"server": "db1"}) // with every later report, also that of a crash
		return errors.New("no answer")
	})
	fmt.Println(out.Reports[0].Data)
	// Output:
	// error [no answer]
	// map[server:db1]
}

// Pager is a whole error reporter: it prints what would go to somebody's pager.
type Pager struct{ sdk.ErrorData }

func (p *Pager) ReportException(ctx context.Context, r sdk.ErrorReport) error {
	fmt.Println(r.TaskType, "failed:", r.Message, p.TakeErrorData())
	return nil
}

func (p *Pager) ReportMessage(ctx context.Context, r sdk.ErrorReport) error {
	fmt.Println(r.Message)
	return nil
}

func ExampleServeReporter() {
	// In main:
	//	sdk.ServeReporter("pager", &Pager{})
	// and in leptir.hcl:
	//	error_reporting "plugin" "pager" {
	//	  plugin = "pager"
	//	}

	// What a host does with it:
	var reporter sdk.ErrorReporter = &Pager{}
	ctx := context.Background()
	_ = reporter.AddErrorData(ctx, map[string]any{"task_id": "17"})
	_ = reporter.ReportException(ctx, sdk.ErrorReport{TaskType: "mailer.send", Message: "no such mailbox"})
	// Output: mailer.send failed: no such mailbox map[task_id:17]
}
