package sdktest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"

	"github.com/backplane/leptir/internal/pluginpb"
)

const (
	// DefaultTimeLimit is that of a binary's task without the option TimeLimit.
	DefaultTimeLimit = time.Minute
	// MaxOutputBytes is how much of what a binary prints is kept.
	MaxOutputBytes = 64 << 10

	// startLimit bounds the time from the start of a process to where it can run a task.
	startLimit = 10 * time.Second
	// endLimit is how long a process may take to end that has nothing left to do.
	endLimit = 5 * time.Second
)

// Build builds the program of the package pkg, as "go build" takes it (".", "./cmd/mail"),
// and returns its path. It is removed at the end of the test.
func Build(t T, pkg string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdktest-")
	if err != nil {
		t.Fatalf("sdktest: make a folder for the program: %v", err)
		return ""
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "plugin")
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("sdktest: go build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// A Plugin is a built plugin. It is safe for concurrent use.
type Plugin struct {
	t    T
	path string
}

// Binary returns the built plugin at path.
func Binary(t T, path string) *Plugin {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	return &Plugin{t: t, path: abs}
}

// Run starts a process of the plugin, has it run one task of the type, ends it, and returns
// how the task ended. See the function Run about the params. A process that ends in the
// middle of the task makes a failure of kind "crash". Whatever happens, the process and its
// process group are gone on return.
func (p *Plugin) Run(typ string, params any, list ...Option) *Outcome {
	p.t.Helper()
	o := newOptions(list)
	out := &Outcome{t: p.t, what: typ}
	raw, ok := encode(p.t, params)
	switch {
	case !ok:
		return out
	case o.clock != nil:
		p.t.Fatalf("sdktest: the option Clock is not for binaries")
		return out
	}
	if o.TimeLimit <= 0 {
		o.TimeLimit = DefaultTimeLimit
	}
	msg := &pluginpb.Task{Id: o.ID, Type: typ, Params: raw, Attempt: int32(max(1, o.Attempt)), Priority: int32(o.Priority),
		TimeLimit: int64(o.TimeLimit), SoftLimit: int64(sdk.SoftLimit(o.TimeLimit)), Revert: o.TryOptions.Revert}
	if msg.Id == "" {
		msg.Id = "try"
	}
	proc, err := start(p.path, o.env)
	if err != nil {
		p.t.Fatalf("sdktest: %v", err)
		return out
	}
	defer proc.close()
	if err := proc.serves(typ); err != nil {
		p.t.Fatalf("sdktest: %v", err)
		return out
	}
	proc.run(o.ctx, msg, &out.Outcome)
	proc.close()
	out.Output = proc.output.String()
	if out.Code == 0 {
		out.Code = sdk.Error
		out.Failure = &sdk.Failure{Kind: "crash", Message: "the process ended in the middle of the task: " + proc.runner.exit()}
		out.Response = []string{out.Failure.Message}
	}
	return out
}

// serves checks that the plugin has the task type.
func (p *process) serves(typ string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	d, err := p.client.Describe(ctx, &pluginpb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("%s: describe: %w", p.path, err)
	}
	names := []string{}
	for _, t := range d.Tasks {
		if t.Name == typ {
			return nil
		}
		names = append(names, t.Name)
	}
	return fmt.Errorf("%s has no task type %q; it has %s", p.path, typ, strings.Join(names, ", "))
}

// run runs one task and notes what comes of it. A task that is over its limit is killed
// with the process.
func (p *process) run(ctx context.Context, msg *pluginpb.Task, out *sdk.Outcome) {
	streamCtx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := p.client.Run(streamCtx)
	if err != nil {
		return // the process has died
	}
	var sending sync.Mutex
	send := func(m *pluginpb.HostMessage) {
		sending.Lock()
		defer sending.Unlock()
		_ = stream.Send(m) // where that fails, so does Recv
	}
	limit := time.Duration(msg.TimeLimit)
	begun := time.Now()
	kill := time.AfterFunc(limit, p.runner.kill)
	defer kill.Stop()
	send(&pluginpb.HostMessage{Tasks: []*pluginpb.Task{msg}})
	stop := context.AfterFunc(ctx, func() {
		send(&pluginpb.HostMessage{Cancel: &pluginpb.Cancel{Id: msg.Id, Reason: context.Cause(ctx).Error()}})
	})
	defer stop()
	for out.Code == 0 {
		m, err := stream.Recv()
		if err != nil {
			if time.Since(begun) >= limit {
				out.GiveUp(limit)
			}
			return
		}
		for _, e := range m.Events {
			if reply := out.Note(e); reply != nil {
				send(&pluginpb.HostMessage{PushReplies: []*pluginpb.PushReply{reply}})
			}
		}
	}
	kill.Stop()
	sending.Lock()
	_ = stream.CloseSend()
	sending.Unlock()
	ended := time.AfterFunc(endLimit, p.runner.kill)
	defer ended.Stop()
	for err == nil {
		_, err = stream.Recv()
	}
}

// tail keeps the last MaxOutputBytes of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if n := len(b.buf); n > 2*MaxOutputBytes {
		b.buf = append(b.buf[:0], b.buf[n-MaxOutputBytes:]...)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.ToValidUTF8(string(b.buf[max(0, len(b.buf)-MaxOutputBytes):]), "\uFFFD")
}
