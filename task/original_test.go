package task_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

var aliases = map[string]string{
	`Leptir\Task\Test\TestTask`: "demo.test",
	`\Shop\Mailer`:              "mailer.send",
}

func TestDecodeAnyReadsTheOriginal(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	full := task.Task{ID: "5f3a.12", Type: "demo.test", Params: []byte(`{"x":1}`), Priority: 3, TimeLimit: 90 * time.Second, At: at}
	with := func(change func(*task.Task)) task.Task { c := full; change(&c); return c }
	for _, c := range []struct {
		name, json string
		want       task.Task
	}{
		{"all numbers", `{"cn":"Leptir\\Task\\Test\\TestTask","pr":3,"tl":90,"toex":1795341600,"td":{"id":"5f3a.12","parameters":{"x":1}}}`, full},
		{"all strings", `{"cn":"Leptir\\Task\\Test\\TestTask","pr":"3","tl":"90","toex":" 1795341600 ","td":{"id":"5f3a.12","parameters":{"x":1}}}`, full},
		{"leading backslash, fractions", `{"cn":"\\Leptir\\Task\\Test\\TestTask","pr":3.0,"tl":1.5,"toex":1795341600.25,"td":{"id":"5f3a.12","parameters":{"x":1}}}`,
			with(func(t *task.Task) {
				t.TimeLimit, t.At = 1500*time.Millisecond, at.Add(250*time.Millisecond)
			})},
		{"no time, no limit, no parameters", `{"cn":"Leptir\\Task\\Test\\TestTask","pr":0,"tl":0,"toex":"","td":{"id":"5f3a.12","parameters":[]}}`,
			task.Task{ID: "5f3a.12", Type: "demo.test"}},
		{"nulls", `{"cn":"Leptir\\Task\\Test\\TestTask","pr":null,"tl":null,"toex":null,"td":{"id":"5f3a.12","parameters":null}}`,
			task.Task{ID: "5f3a.12", Type: "demo.test"}},
		{"the least", ` {"cn":"Leptir\\Task\\Test\\TestTask","td":{"id":"5f3a.12"}}`, task.Task{ID: "5f3a.12", Type: "demo.test"}},
		{"alias with a backslash in front", `{"cn":"Shop\\Mailer","td":{"id":"a"}}`, task.Task{ID: "a", Type: "mailer.send"}},
		{"no alias", `{"cn":"\\My_App\\Jobs\\SendMail","td":{"id":"a"}}`, task.Task{ID: "a", Type: "my_app.jobs.sendmail"}},
		{"a type without a namespace", `{"cn":"demo.test","td":{"id":"a"}}`, task.Task{ID: "a", Type: "demo.test"}},
		{"a number as the id", `{"cn":"A","td":{"id":17}}`, task.Task{ID: "17", Type: "a"}},
		{"a list of parameters", `{"cn":"A","td":{"id":"a","parameters":["x",{"y":[2]}]}}`, task.Task{ID: "a", Type: "a", Params: []byte(`{"0":"x","1":{"y":[2]}}`)}},
		{"time before 1970", `{"cn":"A","toex":-1,"td":{"id":"a"}}`, task.Task{ID: "a", Type: "a"}},
		{"keys of its own", `{"cn":"A","type":7,"params":"x","more":{},"td":{"id":"a","status":1}}`, task.Task{ID: "a", Type: "a"}},
	} {
		got, err := task.DecodeAny([]byte(c.json), aliases)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, got, c.name)
	}
}

func TestDecodeAnyReadsTheEnvelope(t *testing.T) {
	t.Parallel()
	want := task.Task{ID: "a", Type: "Leptir.Test", Params: []byte(`{"cn":"x"}`), TimeLimit: task.NoTimeLimit}
	b, err := task.Encode(&want)
	require.NoError(t, err)
	got, err := task.DecodeAny(b, map[string]string{"Leptir.Test": "not for envelopes"})
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestDecodeAnyRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ json, want string }{
		{``, "unexpected end of JSON"},
		{`hello`, "invalid character"},
		{`{}`, "envelope version 0"},
		{`[]`, "cannot unmarshal array"},
		{`{"v":2,"cn":"A","td":{"id":"a"}}`, "envelope version 2"},
		{`{"v":1,"cn":"A","td":{"id":"a"}}`, "task id is empty"},
		{`{"cn":7}`, "original's format"},
		{`{"cn":"","td":{"id":"a"}}`, "task type is empty"},
		{`{"cn":"A b","td":{"id":"a"}}`, `"a b"`},
		{`{"cn":"A"}`, "td.id: missing"},
		{`{"cn":"A","td":[]}`, "original's format"},
		{`{"cn":"A","td":{"id":{}}}`, "td.id: neither"},
		{`{"cn":"A","td":{"id":null}}`, "td.id: neither"},
		{`{"cn":"A","td":{"id":""}}`, "task id is empty"},
		{`{"cn":"A","td":{"id":"a b"}}`, "white space"},
		{`{"cn":"A","pr":"high","td":{"id":"a"}}`, `pr (priority): "high" is not a number`},
		{`{"cn":"A","pr":1.5,"td":{"id":"a"}}`, "pr (priority): 1.5 is not a whole"},
		{`{"cn":"A","pr":1e99,"td":{"id":"a"}}`, "pr (priority)"},
		{`{"cn":"A","pr":true,"td":{"id":"a"}}`, "pr (priority): neither"},
		{`{"cn":"A","tl":-5,"td":{"id":"a"}}`, "-5 seconds is negative"},
		{`{"cn":"A","tl":"inf","td":{"id":"a"}}`, `"inf" is not a number`},
		{`{"cn":"A","toex":"tomorrow","td":{"id":"a"}}`, `toex (time of execution): "tomorrow"`},
		{`{"cn":"A","toex":1e12,"td":{"id":"a"}}`, "year 9999"},
		{`{"cn":"A","toex":1e999,"td":{"id":"a"}}`, "not a number"},
		{`{"cn":"A","td":{"id":"a","parameters":"x"}}`, "td.parameters: not an object"},
	} {
		_, err := task.DecodeAny([]byte(c.json), nil)
		require.ErrorContains(t, err, c.want, c.json)
	}
	_, err := task.DecodeAny([]byte(strings.Repeat(" ", task.MaxEnvelopeBytes+1)), nil)
	require.ErrorIs(t, err, task.ErrTooLarge)
}

// FuzzDecodeAny: whatever is read is valid, can be written in today's format, and means
// the same then.
func FuzzDecodeAny(f *testing.F) {
	for _, s := range []string{
		`{"cn":"Leptir\\Task\\Test\\TestTask","pr":"3","tl":90.5,"toex":"1795341600","td":{"id":"5f3a","parameters":{"x":1}}}`,
		`{"cn":"\\A\\B","pr":0,"tl":-1,"toex":"","td":{"id":17,"parameters":["a",[]]}}`,
		`{"cn":"A","toex":253402300799.9999999,"td":{"id":"a","parameters":[]}}`,
		`{"v":1,"id":"a","type":"b","params":{"c":[1]},"at":"2026-11-22T10:00:00Z","time_limit":-1}`,
		`{"V":1,"CN":"x"}`, `null`, `{"cn":null}`, "\x00\xff", `{"cn":"A","td":{"id":"\ud800"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := task.DecodeAny(b, aliases)
		if err != nil {
			require.Zero(t, got)
			return
		}
		require.NoError(t, got.Validate())
		written, err := task.Encode(&got)
		require.NoError(t, err)
		again, err := task.Decode(written)
		require.NoError(t, err)
		require.True(t, got.At.Equal(again.At), "%v, then %v", got.At, again.At)
		if len(got.Params) > 0 {
			require.JSONEq(t, string(got.Params), string(again.Params))
		}
		got.Params, again.Params, got.At, again.At = nil, nil, time.Time{}, time.Time{}
		require.InDelta(t, got.TimeLimit, again.TimeLimit, float64(time.Microsecond)*float64(got.TimeLimit)/1e12+2)
		got.TimeLimit, again.TimeLimit = 0, 0
		require.Equal(t, got, again)
	})
}

func ExampleDecodeAny() {
	t, err := task.DecodeAny(
		[]byte(`{"cn":"Leptir\\Task\\Test\\TestTask","pr":0,"tl":60,"toex":"","td":{"id":"65a1f","parameters":{"n":3}}}`),
		map[string]string{`Leptir\Task\Test\TestTask`: "demo.test"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.ID, t.Type, t.TimeLimit, string(t.Params), json.Valid(t.Params))
	// Output: 65a1f demo.test 1m0s {"n":3} true
}
