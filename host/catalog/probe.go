package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backplane/leptir/host/process"
)

const (
	// retireGrace is how long a process that has answered may take to end.
	retireGrace = 2 * time.Second
	// deathWait is how long a failed call waits to hear whether the process has died of
	// it: mostly it has, within a few milliseconds.
	deathWait = 200 * time.Millisecond
)

// prober starts binaries to ask them what they serve.
type prober struct {
	launcher *process.Launcher
	spec     func(name string) process.Spec
	timeout  time.Duration // for Describe; the start has the spec's own
}

// probe starts a copy, asks it what it serves and lets it go. What it learned goes to
// answer, before probe waits for the end of the process. Errors name no plugin.
func (p *prober) probe(ctx context.Context, name, path string, answer func(description, error)) {
	spec := p.spec(name)
	spec.Path = path
	if spec.Plugin == "" {
		spec.Plugin = name
	}
	proc, err := p.launcher.Start(ctx, spec)
	if err != nil {
		answer(description{}, explainStart(err, name))
		return
	}
	d, err := p.ask(ctx, proc, name)
	if err != nil {
		proc.Kill(process.ReasonProtocol, "")
	} else {
		proc.Retire(retireGrace)
	}
	answer(d, err)
	select {
	case <-proc.Done():
	case <-ctx.Done():
		proc.Kill(process.ReasonShutdown, "")
		<-proc.Done()
	}
}

func (p *prober) ask(ctx context.Context, proc *process.Process, name string) (description, error) {
	ctx, stop := context.WithTimeout(ctx, p.timeout)
	defer stop()
	answer, err := proc.Describe(ctx)
	if err == nil {
		return checkDescription(answer)
	}
	if status.Code(errors.Unwrap(err)) == codes.DeadlineExceeded || ctx.Err() != nil {
		return description{}, fmt.Errorf("it did not say within %v what it serves", p.timeout)
	}
	wait := time.NewTimer(deathWait)
	defer wait.Stop()
	select {
	case <-proc.Done():
		exit := proc.Exit()
		err = fmt.Errorf("asked what it serves, its %v", exit)
		if n := len(exit.Output); n > 0 {
			err = fmt.Errorf("%w; its last output: %s", err, strings.Join(exit.Output[max(0, n-5):], " | "))
		}
		return description{}, err
	case <-wait.C:
		return description{}, explainAnswer(err, name)
	}
}

// explainAnswer says in people's words why a plugin has not said what it serves: the SDK answers a
// mistake of its author's by its text alone.
func explainAnswer(err error, name string) error {
	if s, ok := status.FromError(errors.Unwrap(err)); ok && s.Code() == codes.FailedPrecondition {
		err = errors.New(s.Message())
	}
	return withoutName(err, name)
}

// explainStart says in people's words why a start failed.
func explainStart(err error, name string) error {
	var start *process.StartError
	switch {
	case !errors.As(err, &start):
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("this machine cannot run it (exec format error): it is neither a program for %s/%s nor a script with a #! line", runtime.GOOS, runtime.GOARCH)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("this machine cannot run it: the interpreter or the loader that it names is missing (%w)", start.Err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("its copy may not be started (%w); if the state folder lies on a file system mounted with noexec, set state_dir in host {} to another", start.Err)
	}
	return withoutName(err, name)
}

// withoutName cuts the plugin's name from an error: a Problem stands beside it anyway.
func withoutName(err error, name string) error {
	if text, ok := strings.CutPrefix(err.Error(), fmt.Sprintf("plugin %q: ", name)); ok {
		return errors.New(text)
	}
	return err
}
