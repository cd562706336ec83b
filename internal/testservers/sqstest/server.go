// Package sqstest gives tests an SQS server: the pinned emulator of package sqsserver,
// started once for a test binary, or the one at LEPTIR_TEST_SQS_ENDPOINT, which may be the
// real one. It knows SQS's interface and nothing of leptir.
package sqstest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/goleak"
)

const endpointVariable = "LEPTIR_TEST_SQS_ENDPOINT"

// startTime bounds the start of the server.
const startTime = 30 * time.Second

// Server is an SQS server.
type Server struct {
	// Endpoint is its address, for example http://127.0.0.1:39571.
	Endpoint string
	// Region is what requests must be signed for.
	Region string
	// Key and Secret are for the emulator; both are empty for a server of one's own,
	// which takes the credentials of AWS's default chain.
	Key, Secret string
	// Client talks to it.
	Client *sqs.Client
}

var shared struct {
	sync.Mutex
	once    sync.Once
	server  *Server
	missing string // why tests must skip
	err     error
	stop    func() error
}

// Start returns the server of this test binary, which the first call starts. It skips the
// test where there is no Node.js to run it with, and fails it where it does not start. The
// package's TestMain must call Main.
func Start(tb testing.TB) *Server {
	tb.Helper()
	shared.once.Do(func() {
		shared.Lock()
		defer shared.Unlock()
		shared.server, shared.stop, shared.missing, shared.err = start()
	})
	shared.Lock()
	defer shared.Unlock()
	if shared.missing != "" {
		tb.Skip(shared.missing)
	}
	if shared.err != nil {
		tb.Fatalf("start the SQS server for tests: %v", shared.err)
	}
	return shared.server
}

// Launch starts a server for a program that is no test; stop ends it. Methods that take a
// test cannot be used.
func Launch() (s *Server, stop func() error, err error) {
	s, stop, missing, err := start()
	if missing != "" {
		err = errors.New(missing)
	}
	return s, stop, err
}

// Main is the TestMain of a package that calls Start: it stops the server, and fails if
// goroutines are left at the end.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(stopping{m}, options...)
}

type stopping struct{ m *testing.M }

// Run implements goleak.TestingM.
func (s stopping) Run() int {
	code := s.m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.stop != nil {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the SQS server for tests:", err)
			code = max(code, 1)
		}
	}
	return code
}

func start() (s *Server, stop func() error, missing string, err error) {
	s = &Server{Endpoint: os.Getenv(endpointVariable), Region: "us-east-1"}
	if s.Endpoint != "" {
		cfg, err := config.LoadDefaultConfig(context.Background())
		if err != nil {
			return nil, nil, "", err
		}
		if cfg.Region != "" {
			s.Region = cfg.Region
		}
		s.connect(cfg.Credentials)
		return s, func() error { return nil }, "", nil
	}
	node, npm, missing := tools()
	if missing != "" {
		return nil, nil, missing, nil
	}
	dir, err := install(npm)
	if err != nil {
		return nil, nil, "", err
	}
	s.Endpoint, stop, err = run(node, dir)
	if err != nil {
		return nil, nil, "", err
	}
	s.Key, s.Secret = "test", "test"
	s.connect(credentials.NewStaticCredentialsProvider(s.Key, s.Secret, ""))
	return s, stop, "", nil
}

// run starts the server in dir. stop ends it by closing its stdin, which also happens
// when this process dies.
func run(node, dir string) (endpoint string, stop func() error, err error) {
	var stderr strings.Builder
	cmd := exec.Command(node, "start.mjs")
	cmd.Dir = dir
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	late := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if !late.Stop() || err != nil {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return "", nil, fmt.Errorf("node %s/start.mjs did not print its endpoint within %v: %w\n%s", dir, startTime, err, stderr.String())
	}
	stop = func() error {
		_ = stdin.Close()
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w\n%s", err, stderr.String())
		}
		return nil
	}
	return strings.TrimSpace(line), stop, nil
}

// connect makes the client, which keeps no idle connections: they would look like leaks.
func (s *Server) connect(c aws.CredentialsProvider) {
	s.Client = sqs.New(sqs.Options{
		Region: s.Region, BaseEndpoint: aws.String(s.Endpoint), Credentials: c,
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true }),
	})
}

// NewQueue makes a queue with the given attributes under a name that nobody else uses, and
// returns its URL; the end of the test deletes it.
func (s *Server) NewQueue(tb testing.TB, attributes map[string]string) string {
	tb.Helper()
	name := "leptir-test-" + rand.Text()
	if attributes[string(types.QueueAttributeNameFifoQueue)] == "true" {
		name += ".fifo"
	}
	out, err := s.Client.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		tb.Fatalf("create queue: %v", err)
	}
	tb.Cleanup(func() {
		if _, err := s.Client.DeleteQueue(context.Background(), &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl}); err != nil {
			tb.Errorf("delete queue: %v", err)
		}
	})
	return *out.QueueUrl
}

// RedrivePolicy returns the value of a queue's attribute "RedrivePolicy" with which SQS
// moves a message to the queue at deadURL when it is received more often than max times.
func (s *Server) RedrivePolicy(tb testing.TB, deadURL string, max int) string {
	tb.Helper()
	out, err := s.Client.GetQueueAttributes(context.Background(), &sqs.GetQueueAttributesInput{
		QueueUrl: &deadURL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	if err != nil {
		tb.Fatalf("ask for the queue's ARN: %v", err)
	}
	policy, err := json.Marshal(map[string]any{"deadLetterTargetArn": out.Attributes["QueueArn"], "maxReceiveCount": max})
	if err != nil {
		tb.Fatal(err)
	}
	return string(policy)
}

// Send puts a message into the queue as it is.
func (s *Server) Send(tb testing.TB, url, body string) {
	tb.Helper()
	if _, err := s.Client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}); err != nil {
		tb.Fatalf("send message: %v", err)
	}
}
