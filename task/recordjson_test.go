package task

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// plainRecord is what json itself makes of the fixed part of a record.
func plainRecord(r *Record) ([]byte, error) {
	return json.Marshal(fields{r.ID, r.Status, r.RetC, r.ExTime, r.RespM, r.Type, r.ExStart.UTC(), r.Run})
}

// fullRecord has a value in every field.
func fullRecord() Record {
	at := time.Date(2026, 11, 23, 10, 11, 12, 131415161, time.UTC)
	return Record{ID: "a-1", Status: Completed, RetC: TimeLimitExceeded, ExTime: 1.5, RespM: `a "b" <c> ü`, Type: "x.y", ExStart: at,
		Run: Run{Attempt: 2, Delivery: 1763000000000002, Failures: Failures{Errors: 1, Crashes: 2, Timeouts: 3, HostsLost: 4},
			Ended: at.Add(time.Second), Retry: at.In(time.FixedZone("", 3600)), Host: "h\\1", Process: 4711, Plugin: "mailer",
			States: []int{1, 2, 3}, Error: "err\n\x00\u2028", Stack: "goroutine 1\n\tmain.go:1", Note: "n",
			Exit:     &Exit{Reason: "signal", Code: 1, Signal: "SIGKILL", PeakMemory: 1 << 40, CPUSeconds: 0.25, Stderr: []string{"a", "<b>"}},
			Progress: &Progress{Fraction: 0.5, Text: "half"}, Result: json.RawMessage(`{ "a" : "<" }`),
			Undo: &Undo{State: UndoPushed, ID: "u", Type: "x.undo", Error: "e"}, Undoes: "z"}}
}

// A field that somebody adds to a record must not be forgotten in what is written.
func TestFullRecordIsFull(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	for _, v := range []reflect.Value{reflect.ValueOf(r), reflect.ValueOf(r.Run), reflect.ValueOf(r.Run.Failures)} {
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Meta" {
				require.Falsef(t, v.Field(i).IsZero(), "field %s of %s", name, v.Type())
			}
		}
	}
}

func TestRecordIsWrittenAsJSONWould(t *testing.T) {
	t.Parallel()
	full := fullRecord()
	for _, r := range []Record{{}, full, {ID: "a", Run: Run{Undoes: "b"}}, {ExTime: 1e-9}, {ExTime: 1e21}, {ExTime: -0.1}, {RetC: -1, Status: -2, Run: Run{Result: json.RawMessage("null")}}} {
		want, err := plainRecord(&r)
		require.NoError(t, err)
		got, err := r.MarshalJSON()
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	for _, r := range []Record{{ExTime: math.NaN()}, {ExTime: math.Inf(1)}, {ExStart: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Run: Run{Ended: time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)}}, {Run: Run{Result: json.RawMessage("{")}}} {
		_, err := plainRecord(&r)
		require.Error(t, err)
		_, err = r.MarshalJSON()
		require.Error(t, err)
	}
}

func FuzzRecordIsWrittenAsJSONWould(f *testing.F) {
	f.Add("id", "mailer.send", "sent", 1, 0.25, int64(1763900000123456789), 3, "error\n", []byte(`{"a":1}`))
	f.Add("", "\xff\x00<>&\u2028\u2029\"\\", "ü", -5, 1e-7, int64(0), 0, "", []byte(nil))
	f.Fuzz(func(t *testing.T, id, typ, text string, n int, took float64, at int64, process int, problem string, result []byte) {
		r := Record{ID: ID(id), Type: typ, RespM: text, Status: Status(n), RetC: ReturnCode(process), ExTime: took, ExStart: time.Unix(0, at),
			Run: Run{Attempt: n, Delivery: process, Host: typ, Plugin: text, Process: process, Error: problem, Ended: time.Unix(at, 1), Result: result}}
		want, wantErr := plainRecord(&r)
		got, err := r.MarshalJSON()
		require.Equal(t, wantErr == nil, err == nil)
		if err == nil {
			require.Equal(t, string(want), string(got))
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	now := time.Now().UTC()
	r := Record{ID: NewID(), Type: "bench.noop", Status: Completed, RetC: Success, ExTime: 0.001, ExStart: now,
		Run: Run{Attempt: 1, Delivery: 1, Host: "bench", Process: 4711, Plugin: "benchplugin", Ended: now}}
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			_, _ = plainRecord(&r)
		}
	})
	b.Run("leptir", func(b *testing.B) {
		for b.Loop() {
			_, _ = r.MarshalJSON()
		}
	})
}
