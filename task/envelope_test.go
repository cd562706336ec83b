package task_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

var zagreb = time.FixedZone("CET", 3600)

func TestEncode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		task task.Task
		want string
	}{
		{task.Task{ID: "t1", Type: "a"}, `{"v":1,"id":"t1","type":"a"}`},
		{
			task.Task{
				ID: "t1", Type: "mailer.send", Params: json.RawMessage(` { "to" : "ana" } `), Priority: -2, TimeLimit: 1500 * time.Millisecond,
				At: time.Date(2030, 1, 2, 4, 4, 5, 6, zagreb), PushedAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
			},
			`{"v":1,"id":"t1","type":"mailer.send","params":{"to":"ana"},"priority":-2,"time_limit":1.5,"at":"2030-01-02T03:04:05.000000006Z","pushed_at":"2030-01-01T00:00:00Z"}`,
		},
		{task.Task{ID: "t2", Type: "a", Undoes: "t1"}, `{"v":1,"id":"t2","type":"a","undoes":"t1"}`},
		{task.Task{ID: "t3", Type: "a", MaxAttempts: 5}, `{"v":1,"id":"t3","type":"a","max_attempts":5}`},
		{task.Task{ID: "t1", Type: "a", TimeLimit: task.NoTimeLimit}, `{"v":1,"id":"t1","type":"a","time_limit":-1}`},
	} {
		b, err := task.Encode(&c.task)
		require.NoError(t, err)
		require.Equal(t, c.want, string(b))
	}
	_, err := task.Encode(&task.Task{ID: "t1", Type: "a", At: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.ErrorContains(t, err, "encode task t1: ", "a time that JSON cannot hold")
	_, err = task.Encode(&task.Task{ID: "t1", Type: "a", Params: json.RawMessage(`{`)})
	require.ErrorContains(t, err, "encode task t1: ")
}

func TestDecode(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	for in, want := range map[string]task.Task{
		`{"v":1,"id":"t1","type":"a"}`:                                                     {ID: "t1", Type: "a"},
		`{"v":1,"id":"t2","type":"a","undoes":"t1"}`:                                       {ID: "t2", Type: "a", Undoes: "t1"},
		`{"v":1,"id":"t3","type":"a","max_attempts":5}`:                                    {ID: "t3", Type: "a", MaxAttempts: 5},
		` {"v":1,"id":"t1","type":"a","params":null,"at":null} `:                           {ID: "t1", Type: "a"},
		`{"v":1,"id":"t1","type":"a","params":{"n":9007199254740993},"x":[1],"more":null}`: {ID: "t1", Type: "a", Params: json.RawMessage(`{"n":9007199254740993}`)},
		`{"v":1,"id":"t1","type":"a","time_limit":-1,"priority":7}`:                        {ID: "t1", Type: "a", TimeLimit: task.NoTimeLimit, Priority: 7},
		`{"v":1,"id":"t1","type":"a","time_limit":0.25}`:                                   {ID: "t1", Type: "a", TimeLimit: 250 * time.Millisecond},
		`{"v":1,"id":"t1","type":"a","at":"2030-01-02T04:04:05.000000006+01:00"}`:          {ID: "t1", Type: "a", At: at},
		`{"v":1,"id":"t1","type":"a","pushed_at":"2030-01-02T03:04:05.000000006Z"}`:        {ID: "t1", Type: "a", PushedAt: at},
	} {
		got, err := task.Decode([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		``:                       "decode task: unexpected end of JSON input",
		`{`:                      "decode task: unexpected end of JSON input",
		`[]`:                     "decode task: json: cannot unmarshal array",
		`null`:                   "decode task: envelope version 0, this leptir reads version 1",
		`{"id":"t1","type":"a"}`: "decode task: envelope version 0, this leptir reads version 1",
		`{"v":1,"id":"t","type":"a","undoes":"a b"}`:      `task t undoes another: task id "a b" has white space`,
		`{"v":1,"id":"t","type":"a","max_attempts":-1}`:   "max_attempts of task t is -1; it can be 1 to 1000",
		`{"v":1,"id":"t","type":"a","max_attempts":1001}`: "max_attempts of task t is 1001",
		`{"v":2,"id":"t","type":"a"}`:                     "decode task: envelope version 2, this leptir reads version 1",
		`{"v":-1,"id":"t","type":"a"}`:                    "decode task: envelope version -1, this leptir reads version 1",
		`{"v":1,"type":"a"}`:                              "decode task: task id is empty",
		`{"v":1,"id":"a b","type":"a"}`:                   `decode task: task id "a b" has white space`,
		`{"v":1,"id":"t"}`:                                "decode task: task type is empty",
		`{"v":1,"id":7,"type":"a"}`:                       "decode task: json: cannot unmarshal number",
		`{"v":1,"id":"t","type":"a","params":[]}`:         "decode task: parameters of task t are not a JSON object",
		`{"v":1,"id":"t","type":"a","params":"{}"}`:       "decode task: parameters of task t are not a JSON object",
		`{"v":1,"id":"t","type":"a","time_limit":-2}`:     "decode task t: time limit of -2 seconds is negative",
		`{"v":1,"id":"t","type":"a","time_limit":-1e-9}`:  "decode task t: time limit of -1e-09 seconds is negative",
		`{"v":1,"id":"t","type":"a","time_limit":1e300}`:  "decode task t: time limit of 1e+300 seconds is beyond what can be counted",
		`{"v":1,"id":"t","type":"a","priority":1.5}`:      "decode task: json: cannot unmarshal number 1.5",
		`{"v":1,"id":"t","type":"a","at":"tomorrow"}`:     "decode task: ",
		`{"v":1,"id":"t","type":"a"} {}`:                  "decode task: invalid character '{' after top-level value",
		"\xff\x00 not JSON":                               "decode task: invalid character",
		`{"v":1,"id":"t","type":"a","params":{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`: "exceeded max depth",
	} {
		_, err := task.Decode([]byte(in))
		require.ErrorContains(t, err, want, "%.100s", in)
	}

	_, err := task.Decode([]byte(`{"v":1,"id":"t","type":"a","params":{"x":"` + strings.Repeat("x", task.MaxParamsBytes) + `"}}`))
	require.ErrorIs(t, err, task.ErrTooLarge)
	_, err = task.Decode(make([]byte, task.MaxEnvelopeBytes+1))
	require.EqualError(t, err, "decode task: message is 1114113 bytes, at most 1114112 are allowed: too large")
	require.ErrorIs(t, err, task.ErrTooLarge)
}

// What is appended to the parameters must not overwrite the message that they are a part of.
func TestDecodedParamsHaveNoRoom(t *testing.T) {
	t.Parallel()
	b := []byte(`{"v":1,"id":"t1","type":"a","params":{"x":1},"priority":7}`)
	before := string(b)
	got, err := task.Decode(b)
	require.NoError(t, err)
	_ = append(got.Params, "#####"...)
	require.Equal(t, before, string(b))
}

// The largest task that is valid can be written and read.
func TestLargestTask(t *testing.T) {
	t.Parallel()
	want := task.Task{
		ID: task.ID(strings.Repeat("i", task.MaxIDBytes)), Type: strings.Repeat("t", task.MaxTypeBytes), Priority: math.MinInt32,
		Params: json.RawMessage(`{"x":"` + strings.Repeat("x", task.MaxParamsBytes-8) + `"}`), TimeLimit: time.Hour, At: time.Now().UTC(), PushedAt: time.Now().UTC(),
	}
	require.NoError(t, want.Validate())
	b, err := task.Encode(&want)
	require.NoError(t, err)
	got, err := task.Decode(b)
	require.NoError(t, err)
	require.True(t, want.At.Equal(got.At))
	require.Equal(t, string(want.Params), string(got.Params))
}

// TestLargestTaskOfAnyCharacters holds Encode to not escaping what need not be escaped: the
// largest task would be too large to be read again.
func TestLargestTaskOfAnyCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"<", "&", "\u2028", "ž"} {
		params := `{"x":"` + strings.Repeat(c, (task.MaxParamsBytes-8)/len(c)) + `"}`
		in := task.Task{ID: "t1", Type: "a", Params: json.RawMessage(params)}
		require.NoError(t, in.Validate())
		b, err := task.Encode(&in)
		require.NoError(t, err)
		out, err := task.Decode(b)
		require.NoError(t, err)
		require.True(t, params == string(out.Params), "the parameters of %q have changed", c)
	}
}

func TestTimeLimitsComeBack(t *testing.T) {
	t.Parallel()
	for d := time.Millisecond; d < 90*24*time.Hour; d = d*103/100 + time.Millisecond {
		in := task.Task{ID: "t", Type: "a", TimeLimit: d.Truncate(time.Millisecond)}
		b, err := task.Encode(&in)
		require.NoError(t, err)
		out, err := task.Decode(b)
		require.NoError(t, err)
		require.Equal(t, in.TimeLimit, out.TimeLimit)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		``, `{`, `null`, `{"v":1,"id":"t1","type":"a"}`,
		`{"v":1,"id":"t1","type":"mailer.send","params":{"to":"ana"},"priority":-2,"time_limit":1.5,"at":"2030-01-02T03:04:05.000000006Z","pushed_at":"2030-01-01T00:00:00Z"}`,
		`{"v":1,"id":"t1","type":"a","time_limit":-1,"params":null}`,
		`{"v":1,"id":"t1","type":"a","time_limit":1e-12,"params":{"a":"\ud800"}}`,
		`{"v":1,"id":"t1","type":"a","at":"9999-12-31T23:59:59-23:59"}`,
		`{"v":1,"id":"t1","type":"a","at":"0000-01-01T00:00:00+23:59"}`,
		`{"v":1,"ID":"t1","tYpe":"a","V":1}`, "\xff\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := task.Decode(b)
		if err != nil {
			require.Zero(t, got, "nothing comes with an error")
			return
		}
		require.NoError(t, got.Validate(), "what Decode returns is valid")
		again, err := task.Encode(&got)
		if err != nil {
			// A time with a zone can lie outside of the years that UTC has in JSON.
			require.ErrorContains(t, err, "year outside of range")
			return
		}
		back, err := task.Decode(again)
		require.NoError(t, err, "%s", again)
		require.True(t, got.At.Equal(back.At))
		require.True(t, got.PushedAt.Equal(back.PushedAt))
		require.Equal(t, got.TimeLimit, back.TimeLimit)
		require.Equal(t, got.ID, back.ID)
		require.Equal(t, got.Type, back.Type)
		require.Equal(t, got.Priority, back.Priority)
		if len(got.Params) == 0 {
			require.Empty(t, back.Params)
		} else {
			require.JSONEq(t, string(got.Params), string(back.Params))
		}
	})
}
