// Package webhook is the error reporter that sends reports as JSON to a web address:
//
//	POST <url>
//	Content-Type: application/json
//	X-Leptir-Delivery: <an id, the same when a delivery is tried again>
//	X-Leptir-Timestamp: <unix seconds>
//	X-Leptir-Signature: sha256=<hex>      (where a secret is set)
//
//	{"version": 1, "reports": [ … ]}
//
// The signature is the HMAC-SHA256 of timestamp, a dot and the body. Every answer of 2xx
// means that the reports have been taken. What fails by the network, 429 or 5xx is tried
// again for as long as the reporter's timeout allows.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpguts"

	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/version"
)

// The headers of a delivery.
const (
	HeaderDelivery  = "X-Leptir-Delivery"
	HeaderTimestamp = "X-Leptir-Timestamp"
	HeaderSignature = "X-Leptir-Signature"
)

const (
	// The waits between tries; a Retry-After of the server counts more.
	waitFirst = 500 * time.Millisecond
	waitMost  = 10 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// Kind returns the kind "webhook".
func Kind() report.Kind {
	return report.Kind{
		Name: "webhook",
		Doc:  "Reports as JSON, sent by HTTP POST to an address, signed where a secret is set.",
		New:  func() report.Settings { return &Settings{Retries: 5, TryTimeout: 10 * time.Second} },
	}
}

// Settings configures a reporter of the kind.
type Settings struct {
	URL        settings.Secret            `config:"url,required" doc:"The address, http or https. It is not shown, since many services take whoever knows it for a friend. Redirects are not followed."`
	Secret     settings.Secret            `config:"secret" doc:"The key of the signature that each delivery carries; without it there is none."`
	Headers    map[string]settings.Secret `config:"headers" doc:"More headers of each delivery. Values are not shown."`
	Retries    int                        `config:"retries" min:"0" max:"100" doc:"How often a delivery that failed is tried again, within the reporter's timeout."`
	TryTimeout time.Duration              `config:"try_timeout" min:"100ms" doc:"How long one try may take."`
}

// Validate reports an address or headers that cannot be used.
func (s *Settings) Validate() error {
	var errs []error
	if s.URL.Reveal() != s.URL.String() { // a configuration that was shown stays a valid one
		errs = append(errs, s.checkURL())
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		value := s.Headers[name]
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			errs = append(errs, fmt.Errorf("headers: %q cannot be the name of a header", name))
		case !httpguts.ValidHeaderFieldValue(value.Reveal()):
			errs = append(errs, fmt.Errorf("headers: the value of %q cannot be that of a header", name))
		}
	}
	return errors.Join(errs...)
}

func (s *Settings) checkURL() error {
	u, err := url.Parse(s.URL.Reveal())
	if err != nil {
		return errors.New("url: it is no address") // the error would show it
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("url: it must begin with https:// or http://")
	case u.Host == "":
		return errors.New("url: it names no host")
	}
	return nil
}

// Open returns the reporter. It does not connect yet.
func (s *Settings) Open(_ context.Context, env report.Env) (report.Reporter, error) {
	if err := errors.Join(s.checkURL(), s.Validate()); err != nil {
		return nil, fmt.Errorf("error reporter %q: %w", env.Name, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 2
	r := &reporter{settings: *s, transport: transport, client: retryablehttp.NewClient()}
	c := r.client
	c.Logger = nil // it would log the address
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = s.Retries, waitFirst, waitMost
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		again, check := retryablehttp.DefaultRetryPolicy(ctx, resp, err)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.last = withoutURL(err)
		case again:
			r.last = answered(resp)
		}
		return again, check
	}
	c.PrepareRetry = func(req *http.Request) error { return r.sign(req) }
	c.HTTPClient = &http.Client{
		Transport: transport,
		Timeout:   s.TryTimeout,
		// What is sent was meant for that address, and so was its signature.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r, nil
}

type reporter struct {
	settings  Settings
	transport *http.Transport
	client    *retryablehttp.Client
	// Of the delivery under way:
	body []byte
	last error // why the last try failed
}

// document is the body of a delivery.
type document struct {
	Version int             `json:"version"`
	Reports []report.Report `json:"reports"`
}

// Report implements report.Reporter.
func (r *reporter) Report(ctx context.Context, batch []report.Report) (int, error) {
	body, err := json.Marshal(document{Version: 1, Reports: batch})
	if err != nil {
		return len(batch), fmt.Errorf("write JSON: %w", err)
	}
	r.body, r.last = body, nil
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.settings.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return len(batch), errors.New("make the request: its url is no address")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "leptir/"+version.String())
	for name, value := range r.settings.Headers {
		req.Header.Set(name, value.Reveal())
	}
	req.Header.Set(HeaderDelivery, uuid.NewString())
	if err := r.sign(req.Request); err != nil {
		return len(batch), err
	}
	resp, err := r.client.Do(req)
	if resp != nil {
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	}
	switch {
	case err != nil && ctx.Err() != nil && r.last != nil:
		return len(batch), fmt.Errorf("%w; the last try: %w", context.Cause(ctx), r.last)
	case err != nil && ctx.Err() != nil:
		return len(batch), context.Cause(ctx)
	case err != nil && r.last != nil:
		return len(batch), r.last
	case err != nil:
		return len(batch), withoutURL(err)
	case resp.StatusCode/100 == 3:
		return len(batch), fmt.Errorf("%w, a redirect; redirects are not followed: set url to where it leads", answered(resp))
	case resp.StatusCode/100 != 2:
		return len(batch), answered(resp)
	}
	return 0, nil
}

func answered(resp *http.Response) error {
	return fmt.Errorf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

// sign sets the time of a try, and its signature.
func (r *reporter) sign(req *http.Request) error {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(HeaderTimestamp, at)
	if key := r.settings.Secret.Reveal(); key != "" {
		req.Header.Set(HeaderSignature, Sign(key, at, r.body))
	}
	return nil
}

// Sign returns the signature of a body that is sent at a time (unix seconds, as text), as
// it stands in the header. Receivers compare it with the header in constant time, and
// refuse a timestamp that is minutes away from their clock.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// withoutURL returns an error of the client without the address, which it repeats.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Close implements report.Reporter.
func (r *reporter) Close() error {
	r.transport.CloseIdleConnections()
	return nil
}
