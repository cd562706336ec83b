// Package plugin is the error reporter that is somebody's own: a plugin of the plugin
// folder that implements the SDK's ErrorReporter. It runs in a process of its own, which is
// started again, after a while, when it dies, hangs, or its binary changes.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/pluginpb"
)

const (
	// The process is started again after a backoff between these, which begins anew once
	// it has taken a report.
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 10 * time.Second
	// triesMost is how often the call for a single report is made, each time in a new
	// process, if the process dies of it.
	triesMost = 2
	// retireGrace is how long the process may take to end when it is told to.
	retireGrace = 2 * time.Second
	// callMost is the most reports in one call, which bounds its size far below what a
	// message may have.
	callMost = 20
	// deathWait is how long a failed call waits to hear whether the process has died.
	deathWait = 500 * time.Millisecond
)

// Kind returns the kind "plugin".
func Kind() report.Kind {
	return report.Kind{
		Name: "plugin",
		Doc:  "Reports to a plugin of the plugin folder that is an error reporter of somebody's own.",
		New:  func() report.Settings { return &Settings{CallTimeout: 10 * time.Second} },
	}
}

// Settings configures a reporter of the kind.
type Settings struct {
	Plugin      string        `config:"plugin,required" doc:"The plugin's name: its file name in plugin_dir without an ending. Its plugin block says how it is started."`
	CallTimeout time.Duration `config:"call_timeout" min:"10ms" doc:"How long the plugin may take for a call with up to 20 reports, within the reporter's timeout; after it the process is killed and started again."`
}

// Open returns the reporter. The process is started with the first report.
func (s *Settings) Open(_ context.Context, env report.Env) (report.Reporter, error) {
	if env.Launcher == nil || env.Plugin == nil {
		return nil, fmt.Errorf("error reporter %q: no plugins can be started here", env.Name)
	}
	return &reporter{settings: *s, env: env, logger: env.Logger.With("reporter", env.Name, "plugin", s.Plugin)}, nil
}

type reporter struct {
	settings Settings
	env      report.Env
	logger   *slog.Logger

	process *process.Process // nil: none runs
	path    string           // its binary
	backoff time.Duration    // before the next start
	startAt time.Time
	problem error // why the last start failed, or the process is gone
}

// Report implements report.Reporter.
func (r *reporter) Report(ctx context.Context, batch []report.Report) (lost int, err error) {
	for len(batch) > 0 {
		part := batch[:min(len(batch), callMost)]
		n, problem := r.deliver(ctx, part)
		if problem != nil {
			lost, err = lost+n, problem
		}
		if batch = batch[len(part):]; ctx.Err() != nil {
			return lost + len(batch), err
		}
	}
	return lost, err
}

// deliver makes the calls for some reports, all at once, and one by one if the process dies
// of that: then only the one is lost that it dies of.
func (r *reporter) deliver(ctx context.Context, part []report.Report) (int, error) {
	var calls []*pluginpb.ReportCall
	var ends []int // where the calls of each report end
	for i := range part {
		calls = append(calls, callsOf(&part[i])...)
		ends = append(ends, len(calls))
	}
	for try := 1; ; try++ {
		p, err := r.running(ctx)
		if err != nil {
			return len(part), err
		}
		resp, err := r.call(ctx, p, calls)
		if err == nil {
			r.backoff, r.problem = 0, nil
			return outcome(resp, ends)
		}
		switch died := r.givenUp(ctx, p, err); {
		case !died || len(part) == 1 && try == triesMost:
			return len(part), r.problem
		case len(part) > 1:
			return r.deliverSingly(ctx, part)
		}
	}
}

func (r *reporter) deliverSingly(ctx context.Context, part []report.Report) (lost int, err error) {
	for i := range part {
		if n, problem := r.deliver(ctx, part[i:i+1]); problem != nil {
			lost, err = lost+n, problem
		}
	}
	return lost, err
}

// call makes the calls within the call's time limit. Where that is not before the end of
// ctx, ctx has ended when the call fails by it: gRPC may know of a deadline a little earlier.
func (r *reporter) call(ctx context.Context, p *process.Process, calls []*pluginpb.ReportCall) (*pluginpb.ReportResponse, error) {
	limited, cancel := context.WithTimeout(ctx, r.settings.CallTimeout)
	defer cancel()
	resp, err := p.Report(limited, calls)
	if status.Code(err) == codes.DeadlineExceeded {
		own, _ := limited.Deadline()
		if end, ok := ctx.Deadline(); ok && end.Equal(own) {
			<-ctx.Done()
		}
	}
	return resp, err
}

// outcome says how many reports the plugin could not deliver, by its own word.
func outcome(resp *pluginpb.ReportResponse, ends []int) (lost int, err error) {
	failed := map[int]bool{}
	for _, f := range resp.GetFailures() {
		i, _ := slices.BinarySearch(ends, int(f.GetIndex())+1)
		if i < len(ends) && f.GetIndex() >= 0 {
			failed[i] = true
			err = fmt.Errorf("the plugin says: %.500s", strings.ToValidUTF8(f.GetError(), "\uFFFD"))
		}
	}
	return len(failed), err
}

// running returns the process, started if need be, for which it waits until ctx ends.
func (r *reporter) running(ctx context.Context) (*process.Process, error) {
	for {
		spec, err := r.env.Plugin(r.settings.Plugin)
		if r.process != nil {
			select {
			case <-r.process.Done():
				r.died(r.process.Exit())
			default:
				if err != nil || spec.Path == r.path {
					return r.process, nil // what works is used as long as nothing better is known
				}
				r.retire() // another binary is served
			}
		}
		if wait := time.Until(r.startAt); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
				return nil, r.notRunning(ctx)
			}
		}
		var p *process.Process
		if err == nil {
			spec.NoTasks = true
			p, err = r.env.Launcher.Start(ctx, spec)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, r.notRunning(ctx)
			}
			r.failed(err)
			continue
		}
		r.process, r.path = p, spec.Path
		r.logger.Info("error reporter is running", "worker", p.PID())
	}
}

func (r *reporter) notRunning(ctx context.Context) error {
	if r.problem != nil {
		return fmt.Errorf("%w; %w", context.Cause(ctx), r.problem)
	}
	return context.Cause(ctx)
}

// failed takes note that the process is gone, or does not come up: it is started again
// after a while.
func (r *reporter) failed(err error) {
	r.process, r.problem = nil, err
	r.backoff = min(backoffMost, max(backoffFirst, 2*r.backoff))
	r.startAt = time.Now().Add(r.backoff)
	r.logger.Warn("error reporter does not run; it will be started again", "error", err, "in", r.backoff.String())
}

// died takes note of how the process ended.
func (r *reporter) died(exit process.Exit) {
	err := fmt.Errorf("its %v", exit)
	if n := len(exit.Output); n > 0 {
		err = fmt.Errorf("%w; its last output: %s", err, strings.Join(exit.Output[max(0, n-5):], " | "))
	}
	r.failed(err)
}

// givenUp deals with a call that failed. A process that hangs, or answers nonsense, is
// killed. It reports whether the process had died by itself, so that another one may do.
func (r *reporter) givenUp(ctx context.Context, p *process.Process, err error) (died bool) {
	if status.Code(err) == codes.Unimplemented {
		r.kill(p, errors.New("the plugin does not serve the error reporter's calls, although it says so"))
		return false
	}
	if ctx.Err() != nil {
		r.kill(p, fmt.Errorf("no answer: %w", context.Cause(ctx)))
		return false
	}
	if status.Code(err) == codes.DeadlineExceeded {
		r.kill(p, fmt.Errorf("no answer within %v", r.settings.CallTimeout))
		return false
	}
	wait := time.NewTimer(deathWait)
	defer wait.Stop()
	select {
	case <-p.Done():
		r.died(p.Exit())
		return true
	case <-wait.C:
		r.kill(p, fmt.Errorf("the call failed: %w", err))
		return false
	}
}

func (r *reporter) kill(p *process.Process, why error) {
	p.Kill(process.ReasonLost, why.Error())
	r.failed(why)
}

// retire lets the process end.
func (r *reporter) retire() {
	r.process.Retire(retireGrace)
	r.process = nil
}

// Close implements report.Reporter.
func (r *reporter) Close() error {
	if r.process != nil {
		p := r.process
		r.retire()
		<-p.Done() // after retireGrace at the latest
	}
	return nil
}
