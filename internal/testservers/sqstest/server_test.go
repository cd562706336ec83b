package sqstest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testservers/sqstest"
)

func TestMain(m *testing.M) { sqstest.Main(m) }

func TestServer(t *testing.T) {
	t.Parallel()
	s := sqstest.Start(t)
	require.Same(t, s, sqstest.Start(t), "one server for all tests")
	dead := s.NewQueue(t, nil)
	url := s.NewQueue(t, map[string]string{"RedrivePolicy": s.RedrivePolicy(t, dead, 1)})
	s.Send(t, url, "hello")
	// The counts are right without a receive between: a visibility timeout that is over
	// makes its message visible.
	zero := &sqs.ReceiveMessageInput{QueueUrl: &url, VisibilityTimeout: 1}
	got, err := s.Client.ReceiveMessage(t.Context(), zero)
	require.NoError(t, err)
	require.Len(t, got.Messages, 1)
	require.Equal(t, "hello", *got.Messages[0].Body)
	require.Eventually(t, func() bool { return count(t, s, url) == "1" }, waitFor, tick)

	got, err = s.Client.ReceiveMessage(t.Context(), zero)
	require.NoError(t, err)
	require.Empty(t, got.Messages, "the redrive policy moves it at the second receive")
	require.Eventually(t, func() bool { return count(t, s, dead) == "1" }, waitFor, tick)
	if s.Key != "" {
		require.True(t, strings.HasPrefix(s.Endpoint, "http://127.0.0.1:"))
	}
}

func count(t *testing.T, s *sqstest.Server, url string) string {
	const visible = types.QueueAttributeNameApproximateNumberOfMessages
	out, err := s.Client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []types.QueueAttributeName{visible}})
	require.NoError(t, err)
	return out.Attributes[string(visible)]
}

const (
	waitFor = 10 * time.Second
	tick    = 50 * time.Millisecond
)
