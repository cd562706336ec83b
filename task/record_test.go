package task_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

func fullRecord() task.Record {
	start := time.Date(2030, 1, 2, 4, 4, 5, 678_000_000, zagreb)
	return task.Record{
		ID: "t1", Status: task.Completed, RetC: task.Error, ExTime: 0.125, RespM: "one two", Type: "mailer.send", ExStart: start,
		Run: task.Run{
			Attempt: 2, Delivery: 3, Failures: task.Failures{Errors: 1, Crashes: 2, Timeouts: 3, HostsLost: 4}, Ended: start.Add(time.Second).UTC(), Retry: start.Add(time.Minute).UTC(), Host: "h", Process: 7, Plugin: "p",
			States: []int{1, -2}, Error: "it failed", Stack: "main.go:1", Note: "n",
			Exit:     &task.Exit{Reason: "crash", Code: 2, Signal: "SIGSEGV", PeakMemory: math.MaxInt64, CPUSeconds: 0.5, Stderr: []string{"oh"}},
			Progress: &task.Progress{Fraction: 0.5, Text: "half"}, Result: json.RawMessage(`{"n":9007199254740993}`),
			Undo: &task.Undo{State: task.UndoPushed, ID: "t2", Type: "mailer.unsend"}, Undoes: "t0",
		},
	}
}

const fullRecordJSON = `{"_id":"t1","status":3,"retC":3,"exTime":0.125,"respM":"one two","type":"mailer.send","exStart":"2030-01-02T03:04:05.678Z",` +
	`"leptir":{"attempt":2,"delivery":3,"errors":1,"crashes":2,"timeouts":3,"hosts_lost":4,"ended":"2030-01-02T03:04:06.678Z","retry":"2030-01-02T03:05:05.678Z","host":"h","process":7,"plugin":"p",` +
	`"states":[1,-2],"error":"it failed","stack":"main.go:1","exit":{"reason":"crash","code":2,"signal":"SIGSEGV","peak_memory":9223372036854775807,"cpu_seconds":0.5,"stderr":["oh"]},"note":"n",` +
	`"progress":{"fraction":0.5,"text":"half"},"result":{"n":9007199254740993},"undo":{"state":"pushed","id":"t2","type":"mailer.unsend"},"undoes":"t0"}}`

func TestRecordJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		record task.Record
		want   string
	}{
		{task.Record{ID: "t1", Status: task.Pending, Type: "a"}, `{"_id":"t1","status":1,"exTime":0,"respM":"","type":"a","leptir":{}}`},
		{fullRecord(), fullRecordJSON},
	} {
		b, err := json.Marshal(c.record)
		require.NoError(t, err)
		require.Equal(t, c.want, string(b))
		var back task.Record
		require.NoError(t, json.Unmarshal(b, &back))
		c.record.ExStart = c.record.ExStart.UTC()
		require.Equal(t, c.record, back)
	}
}

func TestRecordMeta(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		meta map[string]any
		want string // the JSON
		back func(*task.Record)
	}{
		{"beside the fields", map[string]any{"customer": "Ana", "n": 2, "none": nil, "list": []int{1}},
			`{"_id":"t1","status":1,"exTime":0,"respM":"","type":"a","leptir":{},"customer":"Ana","n":2,"none":null,"list":[1]}`,
			func(r *task.Record) {
				r.Meta = map[string]any{"customer": "Ana", "n": 2.0, "none": nil, "list": []any{1.0}}
			}},
		{"over the fields", map[string]any{"respM": "mine", "retC": 2, "exTime": 1.5, "type": "b", "status": 3, "exStart": "2030-01-01T00:00:00Z"},
			`{"_id":"t1","status":3,"retC":2,"exTime":1.5,"respM":"mine","type":"b","exStart":"2030-01-01T00:00:00Z","leptir":{}}`,
			func(r *task.Record) {
				r.RespM, r.RetC, r.ExTime, r.Type, r.Status = "mine", task.Warning, 1.5, "b", task.Completed
				r.ExStart = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
				r.Meta = nil
			}},
		{"over the fields with values of other types", map[string]any{"respM": []int{1}, "status": "gone", "retC": 1.5, "exTime": "long", "exStart": "then"},
			`{"_id":"t1","status":"gone","retC":1.5,"exTime":"long","respM":[1],"type":"a","exStart":"then","leptir":{}}`,
			func(r *task.Record) {
				r.Status = 0
				r.Meta = map[string]any{"respM": []any{1.0}, "status": "gone", "retC": 1.5, "exTime": "long", "exStart": "then"}
			}},
		{"not over the identity", map[string]any{"_id": "x", "id": "y", "leptir": 7, "mine": true},
			`{"_id":"t1","status":1,"exTime":0,"respM":"","type":"a","leptir":{},"mine":true}`,
			func(r *task.Record) { r.Meta = map[string]any{"mine": true} }},
	} {
		r := task.Record{ID: "t1", Status: task.Pending, Type: "a", Meta: c.meta}
		b, err := json.Marshal(r)
		require.NoError(t, err, c.name)
		require.JSONEq(t, c.want, string(b), c.name)
		var back task.Record
		require.NoError(t, json.Unmarshal(b, &back), c.name)
		c.back(&r)
		require.Equal(t, r, back, c.name)
	}
}

// Meta info beside it changes nothing in the rest of a record.
func TestRecordMetaKeepsTheRest(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	r.Meta = map[string]any{"customer": "Ana"}
	b, err := json.Marshal(r)
	require.NoError(t, err)
	var back task.Record
	require.NoError(t, json.Unmarshal(b, &back))
	r.ExStart = r.ExStart.UTC()
	require.Equal(t, r, back)
}

func TestRecordErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[]`:                        "decode record: json: cannot unmarshal array",
		`{"_id":7}`:                 `decode record: field "_id": json: cannot unmarshal number`,
		`{"_id":"a","leptir":"x"}`:  `decode record: field "leptir": json: cannot unmarshal string`,
		`{"_id":"a","mine":1e1000}`: `decode record: field "mine": json: cannot unmarshal number 1e1000`,
	} {
		var r task.Record
		require.ErrorContains(t, json.Unmarshal([]byte(in), &r), want, in)
	}
	for name, r := range map[string]task.Record{
		"a number that JSON has not": {ID: "a", ExTime: math.NaN()},
		"in the meta info":           {ID: "a", Meta: map[string]any{"x": math.Inf(1)}},
		"a function":                 {ID: "a", Meta: map[string]any{"x": func() {}}},
	} {
		_, err := json.Marshal(r)
		require.Error(t, err, name)
	}
}

// FuzzRecord reads what may lie in a store, and checks that writing it and reading it again
// loses nothing.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, fullRecordJSON, `{"_id":"t1","status":"gone","retC":1.5,"mine":{"a":[1,null]},"id":"x"}`,
		`{"_id":"t1","exStart":"0001-01-01T00:00:00Z","leptir":{"delivery":-1,"ended":"9999-12-31T23:59:59Z"}}`,
		`{"_id":"t1","_id":"t2","status":null,"x":1e21,"y":-0.0,"z":"\ud800"}`, `{"leptir":{"exit":null,"states":null}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var one task.Record
		if json.Unmarshal(b, &one) != nil {
			return
		}
		first, err := json.Marshal(one)
		if err != nil {
			require.ErrorContains(t, err, "Time.MarshalJSON") // a zone can carry a time out of JSON's years
			return
		}
		var two task.Record
		require.NoError(t, json.Unmarshal(first, &two), "%s", first)
		second, err := json.Marshal(two)
		require.NoError(t, err)
		require.JSONEq(t, string(first), string(second))
		require.Equal(t, one.ID, two.ID)
		require.Equal(t, one.Run.Delivery, two.Run.Delivery)
	})
}
