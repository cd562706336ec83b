// Package sentry is the error reporter that sends reports to Sentry, or to what speaks its
// protocol, by sentry-go with a client of its own: nothing global is set.
package sentry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	sentrygo "github.com/getsentry/sentry-go"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/version"
)

const (
	// How long one try to send an event may take, how often it is tried again after a
	// failure of the network or 5xx, and the waits between, all within the reporter's
	// timeout.
	tryTimeout = 10 * time.Second
	retries    = 3
	waitFirst  = 500 * time.Millisecond
	waitMost   = 5 * time.Second
)

// Kind returns the kind "sentry".
func Kind() report.Kind {
	return report.Kind{
		Name: "sentry",
		Doc:  "Reports as events of Sentry, or of another service that speaks its protocol.",
		New:  func() report.Settings { return &Settings{Environment: "production"} },
	}
}

// Settings configures a reporter of the kind.
type Settings struct {
	DSN         settings.Secret `config:"dsn,required" doc:"The project's DSN (\"Client Keys\" in Sentry). It is not shown."`
	Environment string          `config:"environment" doc:"The environment that the events are filed under."`
}

// Validate reports a DSN that cannot be used.
func (s *Settings) Validate() error {
	if s.DSN.Reveal() == s.DSN.String() {
		return nil // a configuration that was shown stays a valid one
	}
	return s.check()
}

func (s *Settings) check() error {
	if _, err := sentrygo.NewDsn(s.DSN.Reveal()); err != nil {
		return errors.New("dsn: it is not of the form https://KEY@HOST/PROJECT") // the error may show it
	}
	return nil
}

// Open returns the reporter. It does not connect yet.
func (s *Settings) Open(_ context.Context, env report.Env) (report.Reporter, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("error reporter %q: %w", env.Name, err)
	}
	r := &reporter{base: http.DefaultTransport.(*http.Transport).Clone(), http: retryablehttp.NewClient()}
	r.base.MaxIdleConns = 2
	c := r.http
	c.HTTPClient = &http.Client{Transport: r.base, Timeout: tryTimeout, CheckRedirect: noRedirect}
	c.Logger = nil // it would log the address
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = retries, waitFirst, waitMost
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if resp != nil && resp.StatusCode == http.StatusTooManyRequests {
			return false, nil // sentry-go knows how long to be silent
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	transport := &transport{HTTPSyncTransport: sentrygo.NewHTTPSyncTransport(), reporter: r}
	var err error
	r.client, err = sentrygo.NewClient(sentrygo.ClientOptions{
		Dsn: s.DSN.Reveal(), Environment: s.Environment, ServerName: env.Host, Release: "leptir@" + version.String(),
		Transport: transport, DisableClientReports: true,
		HTTPClient: &http.Client{Transport: roundTripper{r}, CheckRedirect: noRedirect},
		// What they add is about this process: its modules, its runtime, its variables.
		Integrations: func([]sentrygo.Integration) []sentrygo.Integration { return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("error reporter %q: dsn: it is refused", env.Name)
	}
	return r, nil
}

type reporter struct {
	client *sentrygo.Client
	base   *http.Transport
	http   *retryablehttp.Client // on base

	// Of the event under way. All of it happens on the goroutine that calls Report.
	ctx     context.Context
	outcome error
}

var errNotSent = errors.New("it was not sent: the server has asked for fewer events for a while")

// Report implements report.Reporter.
func (r *reporter) Report(ctx context.Context, batch []report.Report) (lost int, err error) {
	for i := range batch {
		if ctx.Err() != nil {
			return lost + len(batch) - i, context.Cause(ctx)
		}
		r.ctx, r.outcome = ctx, errNotSent
		r.client.CaptureEvent(eventOf(&batch[i]), nil, nil)
		if r.outcome != nil {
			lost, err = lost+1, r.outcome
		}
	}
	return lost, err
}

// Close implements report.Reporter.
func (r *reporter) Close() error {
	r.client.Close()
	r.base.CloseIdleConnections()
	return nil
}

// transport sends events at once, and within the context of the call.
type transport struct {
	*sentrygo.HTTPSyncTransport
	reporter *reporter
}

// SendEvent implements sentry's Transport.
func (t *transport) SendEvent(event *sentrygo.Event) { t.SendEventWithContext(t.reporter.ctx, event) }

// roundTripper notes what became of an event, which sentry-go keeps to itself.
type roundTripper struct{ reporter *reporter }

// RoundTrip implements http.RoundTripper.
func (rt roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := (&retryablehttp.RoundTripper{Client: rt.reporter.http}).RoundTrip(req)
	switch {
	case err != nil:
		rt.reporter.outcome = withoutURL(req.Context(), err)
	case resp.StatusCode/100 != 2:
		rt.reporter.outcome = fmt.Errorf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	default:
		rt.reporter.outcome = nil
	}
	return resp, err
}

// withoutURL returns an error of the client without the address, which it repeats.
func withoutURL(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// noRedirect keeps events from going elsewhere than they were meant to.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// eventOf makes a report into an event.
func eventOf(rep *report.Report) *sentrygo.Event {
	e := sentrygo.NewEvent()
	e.EventID = sentrygo.EventID(strings.ReplaceAll(rep.ID, "-", ""))
	e.Timestamp = rep.Time
	e.Level = sentrygo.LevelError
	e.ServerName = rep.Host
	e.Logger = "leptir"
	e.Tags = map[string]string{"kind": rep.Kind}
	e.Fingerprint = []string{"{{ default }}", rep.Kind}
	about := sentrygo.Context{}
	if t := rep.Task; t != nil {
		e.Transaction = t.Type
		e.Tags["task_type"] = t.Type
		e.Fingerprint = append(e.Fingerprint, t.Type)
		about["id"], about["type"], about["attempt"] = string(t.ID), t.Type, t.Attempt
		e.Tags["task_id"] = string(t.ID)
		e.Tags["attempt"] = strconv.Itoa(t.Attempt)
		if params := object(t.Params); params != nil {
			e.Contexts["parameters"] = params
		}
	}
	if rep.Final || !rep.RetryAt.IsZero() {
		e.Tags["final"] = strconv.FormatBool(rep.Final)
		about["final"] = rep.Final
		if !rep.RetryAt.IsZero() {
			about["retry_at"] = rep.RetryAt
		}
	}
	if len(about) > 0 {
		e.Contexts["task"] = about
	}
	if rep.Plugin != "" {
		e.Tags["plugin"] = rep.Plugin
	}
	if data := object(rep.Data); data != nil {
		e.Contexts["data"] = data
	}
	process := sentrygo.Context{}
	if rep.PID != 0 {
		process["pid"] = rep.PID
	}
	if x := rep.Exit; x != nil {
		e.Tags["exit"] = x.Reason
		if x.Signal != "" {
			e.Tags["signal"] = x.Signal
			process["signal"] = x.Signal
		}
		process["exit"], process["code"], process["peak_memory"], process["output"] = x.Reason, x.Code, x.PeakMemory, x.Stderr
	}
	frames := framesOf(rep.Stack)
	if rep.Stack != "" && frames == nil {
		process["stack"] = rep.Stack // of another language
	}
	if len(process) > 0 {
		e.Contexts["process"] = process
	}
	if !rep.Exception {
		e.Message = rep.Message
		return e
	}
	exception := sentrygo.Exception{Type: rep.Kind, Value: rep.Message}
	if frames != nil {
		exception.Stacktrace = &sentrygo.Stacktrace{Frames: frames}
	} else {
		// By its text alone Sentry would make a group of every id in it.
		e.Fingerprint[0] = firstLine(rep.Message)
	}
	e.Exception = []sentrygo.Exception{exception}
	return e
}

// firstLine returns what a message without a stack is grouped by: its first line without
// its digits, which are ids and sizes mostly.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, limit(s))
}

// object decodes a JSON object; nil where there is none.
func object(raw json.RawMessage) (m sentrygo.Context) {
	if len(raw) > 0 && json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}
