package sqs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

func text(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

// A state is cut to the room that there is: the oldest history first, the counters never.
func TestStateFits(t *testing.T) {
	t.Parallel()
	full := state{Attempts: 7, Sequence: 9, Lost: 1, Note: strings.Repeat("n", 300), Reason: strings.Repeat("r", 300)}
	for i := range brokers.MaxHistory {
		full.History = append(full.History, brokers.Event{Attempt: i, What: "retry", Reason: strings.Repeat("š", 100)})
	}
	own := map[string]types.MessageAttributeValue{"trace": text("1-2-3")}
	for room := 100; room < 12_000; room += 131 {
		attributes, size, err := full.attributes(own, room)
		require.NoError(t, err)
		require.LessOrEqual(t, size, room)
		require.Equal(t, size, sizeOf(attributes))
		got, ok, err := parseState(attributes)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []int{7, 9, 1}, []int{got.Attempts, got.Sequence, got.Lost})
		if n := len(got.History); n > 0 {
			require.Equal(t, brokers.MaxHistory-1, got.History[n-1].Attempt, "the newest stays")
		}
	}
	_, _, err := full.attributes(own, 40)
	require.ErrorIs(t, err, errNoRoom)
	require.Len(t, full.History, brokers.MaxHistory, "the original is left as it is")
}

func FuzzParseState(f *testing.F) {
	f.Add(`{}`)
	f.Add(`{"attempts":1,"sequence":2,"lost":0,"due":"2030-01-02T03:04:05Z","note":"no plugin","history":[{"time":"2030-01-02T03:04:05Z","attempt":1,"what":"retry"}]}`)
	f.Add(`{"id":"x","dead":true,"buried":"0001-01-01T00:00:00Z"}`)
	f.Add(`{"history":null,"attempts":-1}`)
	f.Fuzz(func(t *testing.T, s string) {
		st, ok, err := parseState(map[string]types.MessageAttributeValue{stateAttribute: text(s)})
		require.True(t, ok)
		if err != nil {
			return
		}
		attributes, _, err := st.attributes(nil, 256<<10)
		if err != nil {
			var marshal *json.MarshalerError // a time that RFC 3339 cannot write
			require.ErrorAs(t, err, &marshal)
			return
		}
		again, _, err := parseState(attributes)
		require.NoError(t, err)
		require.Equal(t, st.Attempts, again.Attempts)
		require.Equal(t, st.ID, again.ID)
		require.LessOrEqual(t, len(again.History), brokers.MaxHistory)
	})
}

// FuzzRead reads messages that anybody may have sent.
func FuzzRead(f *testing.F) {
	f.Add(`{"v":1,"id":"t","type":"a"}`, `{"attempts":1}`, "1", "1700000000000", "id")
	f.Add(`{"cn":"A","td":{"id":1}}`, `{"due":"2030-01-02T03:04:05Z"}`, "-1", "x", "")
	f.Add("\x00", "", "99999999999999999999", "-5", "a b\n")
	b := newBroker(brokers.Env{Name: "x"}, time.Second)
	b.known.Store(&traits{maxMessage: 1 << 20, retention: time.Hour})
	f.Fuzz(func(t *testing.T, body, st, count, stamp, id string) {
		m := b.read(types.Message{
			Body: &body, MessageId: &id,
			Attributes:        map[string]string{"ApproximateReceiveCount": count, "SentTimestamp": stamp, "ApproximateFirstReceiveTimestamp": stamp},
			MessageAttributes: map[string]types.MessageAttributeValue{stateAttribute: text(st)},
		}, time.Now(), 30)
		require.NoError(t, m.task.ID.Validate())
		if m.unreadable != nil {
			require.Empty(t, m.task.Type)
		}
		d := m.delivery("x")
		require.Positive(t, d.Attempt)
		require.Positive(t, d.Sequence)
		require.GreaterOrEqual(t, d.Lost, 0)
		if _, err := b.copyOf(m, m.next(), m.due()); err != nil && len(body) < 1<<19 {
			var marshal *json.MarshalerError
			require.ErrorAs(t, err, &marshal)
		}
	})
}
