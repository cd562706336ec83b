package sqs

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	const queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"
	cases := []struct {
		name string
		edit func(*Settings)
		want string
	}{
		{"all is well", func(*Settings) {}, ""},
		{"with a key", func(s *Settings) { s.Connection.Key, s.Connection.Secret = "k", "s" }, ""},
		{"no queue", func(s *Settings) { s.Connection.Queue = "" }, "sqs_queue is empty"},
		{"a name for a queue", func(s *Settings) { s.Connection.Queue = "tasks" }, `sqs_queue is "tasks"; it is the URI of a queue`},
		{"a host for a queue", func(s *Settings) { s.Connection.Queue = "https://sqs.eu-west-1.amazonaws.com/" }, "it is the URI of a queue"},
		{"an ARN for a queue", func(s *Settings) { s.Connection.Queue = "arn:aws:sqs:eu-west-1:1:tasks" }, "it is the URI of a queue"},
		{"a key alone", func(s *Settings) { s.Connection.Key = "k" }, "sqs_key and sqs_secret go together"},
		{"a secret alone", func(s *Settings) { s.Connection.Secret = "s" }, "sqs_key and sqs_secret go together"},
		{"no wait", func(s *Settings) { s.WaitTime = 0 }, "wait_time is 0s; SQS waits for 1 to 20 seconds"},
		{"a long wait", func(s *Settings) { s.WaitTime = time.Minute }, "wait_time is 1m0s; SQS waits for 1 to 20 seconds"},
		{"half a second", func(s *Settings) { s.WaitTime = 1500 * time.Millisecond }, "whole seconds"},
		{"an odd endpoint", func(s *Settings) { s.Connection.Endpoint = "localhost:4566" }, `endpoint is "localhost:4566"`},
		{"dead letters in circles", func(s *Settings) { s.Connection.DeadQueue = queue }, "sqs_dead_queue is sqs_queue itself"},
		{"dead letters nowhere", func(s *Settings) { s.Connection.DeadQueue = "dead" }, `sqs_dead_queue is "dead"`},
		{"two sorts", func(s *Settings) { s.Connection.DeadQueue = queue + "-dead.fifo" }, "both be standard queues or both FIFO"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := Kind.New().(*Settings)
			s.Connection.Queue = queue
			c.edit(s)
			err := s.Validate()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			_, err = s.Open(t.Context(), brokers.Env{Name: "mail", Logger: slog.New(slog.DiscardHandler)})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	cases := []struct{ uri, region, endpoint string }{
		{"https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1", ""},
		{"https://sqs.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1", ""},
		{"https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1", ""},
		{"https://sqs-fips.us-east-2.amazonaws.com/1/q", "us-east-2", ""},
		{"https://sqs.us-east-2.api.aws/1/q", "us-east-2", ""},
		{"https://ap-south-1.queue.amazonaws.com/1/q", "ap-south-1", ""},
		{"https://queue.amazonaws.com/1/q", "", ""},
		{"https://vpce-0a-1b.sqs.eu-west-3.vpce.amazonaws.com/1/q", "eu-west-3", "https://vpce-0a-1b.sqs.eu-west-3.vpce.amazonaws.com"},
		{"http://localhost:4566/000000000000/q", "", "http://localhost:4566"},
		{"https://sqs.eu-west-1.amazonaws.com.evil.example/1/q", "", "https://sqs.eu-west-1.amazonaws.com.evil.example"},
	}
	for _, c := range cases {
		region, endpoint := locate(c.uri)
		require.Equal(t, c.region, region, c.uri)
		require.Equal(t, c.endpoint, endpoint, c.uri)
	}
}

// Without a key the credentials come from AWS's default chain; where it has none either,
// the error says what to do.
func TestDefaultChain(t *testing.T) {
	for _, v := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(v, "")
	}
	none := t.TempDir() + "/none"
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	f := newFake()
	s := f.settings()
	s.Connection.Key, s.Connection.Secret = "", ""

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := s.Open(t.Context(), brokers.Env{Name: "mail", Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "there are no AWS credentials: set sqs_key and sqs_secret, or one of AWS's default chain")

	t.Setenv("AWS_ACCESS_KEY_ID", fakeKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", fakeSecret)
	b, err := s.Open(t.Context(), brokers.Env{Name: "mail", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, b.Close())
}
