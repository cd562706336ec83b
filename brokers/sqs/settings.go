package sqs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/settings"
)

// Kind is the kind "sqs" as a host's configuration knows it.
var Kind = brokers.Kind{
	Name:   "sqs",
	Doc:    "A queue of Amazon SQS, standard or FIFO.",
	New:    func() brokers.Settings { return Defaults() },
	Server: true,
}

// Settings is the configuration of a broker of this kind.
type Settings struct {
	Connection Connection    `config:"connection,block" doc:"Which queue it is, and who asks."`
	WaitTime   time.Duration `config:"wait_time" min:"1s" max:"20s" doc:"How long one request waits for a message while the queue is empty (long polling), in whole seconds. A longer time saves requests and delays nothing. A host that holds tasks waits for half of its lease_time less a second at most."`

	roundTripper http.RoundTripper // for tests: instead of the network
}

// Connection says which queue it is and who asks.
type Connection struct {
	Queue     string          `config:"sqs_queue,required" doc:"The URI of the queue, as https://sqs.eu-west-1.amazonaws.com/123456789012/tasks."`
	Key       string          `config:"sqs_key" default:"AWS's default credential chain" doc:"The access key id; sqs_secret goes with it. Without both the credentials come from AWS's default chain: the environment, the shared files, the role of the container or machine."`
	Secret    settings.Secret `config:"sqs_secret" doc:"The secret access key that belongs to sqs_key."`
	DeadQueue string          `config:"sqs_dead_queue" default:"the target of the queue's redrive policy" doc:"The URI of the queue for dead letters."`
	Region    string          `config:"region" default:"the region in the queue's URI, else AWS's default chain, else us-east-1" doc:"The AWS region."`
	Endpoint  string          `config:"endpoint" default:"the region's, or the queue URI's server where that is not AWS's public one" doc:"The address of the SQS server, for VPC endpoints and emulators, as http://127.0.0.1:4566."`
}

// Defaults returns the settings of a block that sets nothing.
func Defaults() *Settings { return &Settings{WaitTime: maxWait} }

const (
	maxWait = 20 * time.Second
	// openLimit bounds the opening where ctx does not.
	openLimit = 30 * time.Second
)

// Validate reports what cannot be as it is.
func (s *Settings) Validate() error {
	c := &s.Connection
	switch {
	case c.Queue == "":
		return errors.New("sqs_queue is empty; it is the URI of the queue, as https://sqs.eu-west-1.amazonaws.com/123456789012/tasks")
	case (c.Key == "") != (c.Secret == ""):
		return errors.New("sqs_key and sqs_secret go together; leave out both to use AWS's default credential chain")
	case s.WaitTime < time.Second || s.WaitTime > maxWait:
		return fmt.Errorf("wait_time is %v; SQS waits for 1 to 20 seconds", s.WaitTime)
	case s.WaitTime%time.Second != 0:
		return fmt.Errorf("wait_time is %v; SQS waits for whole seconds", s.WaitTime)
	}
	queue, err := queueURI("sqs_queue", c.Queue)
	if err != nil {
		return err
	}
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("endpoint is %q; it is an address as http://127.0.0.1:4566", c.Endpoint)
		}
	}
	if c.DeadQueue == "" {
		return nil
	}
	dead, err := queueURI("sqs_dead_queue", c.DeadQueue)
	switch {
	case err != nil:
		return err
	case dead.Path == queue.Path && dead.Host == queue.Host:
		return errors.New("sqs_dead_queue is sqs_queue itself; dead letters need a queue of their own")
	case isFIFO(c.DeadQueue) != isFIFO(c.Queue):
		return errors.New("sqs_dead_queue and sqs_queue must both be standard queues or both FIFO queues")
	}
	return nil
}

func queueURI(name, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("%s is %q; it is the URI of a queue, as https://sqs.eu-west-1.amazonaws.com/123456789012/tasks", name, text)
	}
	return u, nil
}

// isFIFO tells a FIFO queue by its name, which has to end so.
func isFIFO(uri string) bool { return strings.HasSuffix(uri, ".fifo") }

var (
	// publicHosts are AWS's public addresses of SQS, old forms included; the region is in
	// one of the groups. queue.amazonaws.com is us-east-1.
	publicHosts = regexp.MustCompile(`^(?:sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)|(?:([a-z0-9-]+)\.)?queue\.amazonaws\.com(?:\.cn)?)$`)
	// vpcHosts are the addresses of SQS inside a VPC.
	vpcHosts = regexp.MustCompile(`\.sqs\.([a-z0-9-]+)\.vpce\.amazonaws\.com(?:\.cn)?$`)
)

// locate returns the region in a queue's URI, "" if there is none, and the endpoint to use
// where none is set, "" for the region's own.
func locate(queue string) (region, endpoint string) {
	u, err := url.Parse(queue)
	if err != nil {
		return "", ""
	}
	if m := publicHosts.FindStringSubmatch(u.Hostname()); m != nil {
		return m[1] + m[2], ""
	}
	if m := vpcHosts.FindStringSubmatch(u.Hostname()); m != nil {
		region = m[1]
	}
	return region, u.Scheme + "://" + u.Host
}

// Open connects to the queue and learns its attributes.
func (s *Settings) Open(ctx context.Context, env brokers.Env) (brokers.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	b, err := s.open(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("broker %q: %w", env.Name, err)
	}
	return b, nil
}

func (s *Settings) open(ctx context.Context, env brokers.Env) (*Broker, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	client, closeIdle, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	b := newBroker(env, s.WaitTime)
	b.closeIdle = closeIdle
	b.main = &queue{name: "sqs_queue", url: s.Connection.Queue, api: client, clock: &b.clock, life: b.life}
	if err := b.learn(ctx, s.Connection.DeadQueue); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// client returns a client of the SQS server, and how to let go of its connections.
func (s *Settings) client(ctx context.Context) (*awssqs.Client, func(), error) {
	c := &s.Connection
	region, endpoint := locate(c.Queue)
	if c.Region != "" {
		region = c.Region
	}
	if c.Endpoint != "" {
		endpoint = c.Endpoint
	}
	cfg := aws.Config{Region: region, HTTPClient: awshttp.NewBuildableClient()}
	if c.Key != "" {
		cfg.Credentials = aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(c.Key, c.Secret.Reveal(), ""))
	} else {
		var err error
		if cfg, err = config.LoadDefaultConfig(ctx); err != nil {
			return nil, nil, fmt.Errorf("AWS's default configuration: %w", err)
		}
		if region != "" {
			cfg.Region = region
		}
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
			return nil, nil, fmt.Errorf("there are no AWS credentials: set sqs_key and sqs_secret, or one of AWS's default chain (AWS_ACCESS_KEY_ID, ~/.aws/credentials, a role): %w", err)
		}
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	// A transport of our own, so that Close can let go of its connections. The default
	// chain's may know certificates of AWS_CA_BUNDLE.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if built, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		transport = built.GetTransport()
	}
	transport.MaxIdleConnsPerHost = maxParallel + 2
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.roundTripper != nil {
		client.Transport = s.roundTripper
	}
	api := awssqs.NewFromConfig(cfg, func(o *awssqs.Options) {
		o.HTTPClient = client
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = maxAttempts
			o.MaxBackoff = maxBackoff
		})
	})
	return api, client.CloseIdleConnections, nil
}
