// Command newsletter is the plugin that docs/writing-tasks.md is about: a task as the
// original leptir's had been, with every method that a task can have, and the same one as a
// function. It puts mails into a folder, from which a mail server takes them.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Name:    "newsletter",
		Version: "1.0.0",
		Tasks: []sdk.TaskType{
			sdk.Type[Newsletter]("newsletter.send", "Sends a newsletter."),
			welcome,
		},
	})
}

const (
	StateWriting = 1
	StateSending = 2
)

type Newsletter struct {
	sdk.BaseTask
	folder string
	sent   int
}

func (t *Newsletter) BeforeStart(ctx context.Context) (err error) {
	if t.folder, err = t.GetString("folder", "/var/spool/newsletter"); err != nil {
		return err
	}
	return os.MkdirAll(t.folder, 0o700)
}

func (t *Newsletter) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	subject, err := t.GetString("subject")
	if err != nil {
		return sdk.Error, err
	}
	addresses, err := t.GetArray("to")
	if err != nil {
		return sdk.Error, err
	}
	pause, err := t.GetFloat("pause", 0)
	if err != nil {
		return sdk.Error, err
	}
	t.ChangeState(StateWriting)
	mail := "Subject: " + subject + "\n\nWhat is new?\n"

	t.ChangeState(StateSending)
	for i, to := range addresses {
		if ctx.Err() != nil { // cancelled, or close to the time limit
			return sdk.Error, context.Cause(ctx)
		}
		if err := put(t.folder, fmt.Sprint(to), mail); err != nil {
			return sdk.Error, err
		}
		t.sent++
		t.Progress(float64(i+1)/float64(len(addresses)), fmt.Sprint(to))
		time.Sleep(time.Duration(pause * float64(time.Second)))
	}
	t.LogInfo("newsletter sent", "mails", t.sent, "seconds", t.GetExecutionTime())
	t.AddResponseLine(fmt.Sprintf("%d mails sent", t.sent))
	if t.sent == 0 {
		return sdk.Warning, nil
	}
	return sdk.Success, nil
}

func (t *Newsletter) AfterFinish(ctx context.Context) error {
	t.LogDebug("finished", "seconds", t.GetExecutionTime())
	return nil
}

func (t *Newsletter) GetAdditionalMetaInfo() map[string]any {
	return map[string]any{"mails": t.sent}
}

type Welcome struct {
	To     string `json:"to" doc:"Who is welcome."`
	Folder string `json:"folder" default:"/var/spool/newsletter" doc:"Where the mail goes."`
	Copies int    `json:"copies" default:"1" min:"1" max:"3"`
	Tone   string `json:"tone" default:"warm" enum:"warm,cool"`
}

var welcome = sdk.Func("newsletter.welcome", "Welcomes somebody.",
	func(ctx context.Context, t *sdk.BaseTask, p Welcome) error {
		greeting := map[string]string{"warm": "Hello and welcome!", "cool": "Hi."}[p.Tone]
		if err := os.MkdirAll(p.Folder, 0o700); err != nil {
			return err
		}
		for range p.Copies {
			if err := put(p.Folder, p.To, "Subject: Welcome\n\n"+greeting+"\n"); err != nil {
				return err
			}
		}
		if _, err := t.Push(ctx, sdk.NewTask{
			Type:   "newsletter.send",
			Params: map[string]any{"to": []string{p.To}, "subject": "Issue 1", "folder": p.Folder},
			ID:     t.ID() + "-first", // another attempt does not push it twice
			At:     time.Now().Add(24 * time.Hour),
		}); err != nil {
			return err
		}
		return t.SetResult(map[string]string{"welcomed": p.To})
	})

// put puts a mail into the folder. It has its name only when it is whole.
func put(folder, to, text string) error {
	file, err := os.CreateTemp(folder, ".mail-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has its name
	_, err = fmt.Fprintf(file, "To: %s\n%s", to, text)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	name := filepath.Base(file.Name())[len(".mail-"):] + ".eml"
	return os.Rename(file.Name(), filepath.Join(folder, name))
}
