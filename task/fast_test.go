package task

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzDecodeOwn: what the short way reads, the long way reads as the same.
func FuzzDecodeOwn(f *testing.F) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	for _, t := range []Task{
		{ID: "a", Type: "b"},
		{ID: NewID(), Type: "b.c", Params: []byte(`{"x":"}{\"\\","y":[{}]}`), Priority: -3, TimeLimit: 1500 * time.Millisecond, At: at, PushedAt: at},
		{ID: "a<b", Type: "b", Params: []byte(`{}`), TimeLimit: NoTimeLimit, PushedAt: at},
		{ID: "žaba", Type: "b", At: at},
		{ID: "a", Type: "b", PushedAt: at, Undoes: "c"},
		{ID: "a", Type: "b", PushedAt: at, Undoes: "c", MaxAttempts: 7},
	} {
		b, err := Encode(&t)
		require.NoError(f, err)
		f.Add(b)
	}
	for _, s := range []string{
		`{"v":1,"id":"a","type":"b","params":{"x":1}}}`, `{"v":1,"id":"a","type":"b","params":{]}`, `{"v":1,"id":"a","type":"b","params":{},"priority":01}`,
		`{"v":1,"id":"a","type":"b","time_limit":-1}`, `{"v":1,"id":"a","type":"b","time_limit":-}`, `{"v":1,"id":"a","type":"b","time_limit":1.}`,
		`{"v":1,"id":"a","type":"b","priority":1.5}`, `{"v":1,"id":"a","type":"b","priority":-0}`, `{"v":1,"id":"a","type":"b","priority":99999999999999999999}`,
		`{"v":1,"id":"a","type":"b","at":"2026-11-22T10:00:00+02:00"}`, `{"v":1,"id":"a","type":"b","at":""}`, `{"v":1,"id":"a","type":"b"} `,
		`{"v":1,"id":"a","type":"b","params":null}`, `{"v":1,"id":"a","type":"b","params":"x"}`, `{"v":1,"id":"a","type":"b","time_limit":0.1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fast, ok := decodeOwn(b)
		if !ok {
			require.Zero(t, fast)
			return
		}
		slow, err := decodeJSON(b)
		require.NoError(t, err)
		require.Equal(t, slow, fast)
	})
}

// FuzzEncodeOwn: what the short way writes, the long way writes as the same, but for spaces
// and such in the parameters, which it leaves as they are.
func FuzzEncodeOwn(f *testing.F) {
	f.Add("a", "b", []byte(`{"x":"<>&"}`), 3, int64(1500), int64(0), "", 0)
	f.Add("ž", "", []byte(`{ "x" : 1 }`), -1, int64(-1), int64(1763900000123456789), "u", 9)
	f.Add("\"", "b", []byte(`{`), 0, int64(0), int64(-1), "", -1)
	f.Fuzz(func(t *testing.T, id, typ string, params []byte, priority int, limit, at int64, undoes string, attempts int) {
		in := Task{ID: ID(id), Type: typ, Params: params, Priority: priority, TimeLimit: time.Duration(limit), Undoes: ID(undoes), MaxAttempts: attempts}
		if at != 0 {
			in.At, in.PushedAt = time.Unix(0, at), time.Unix(at, 0)
		}
		fast, ok := encodeOwn(&in)
		if !ok {
			return
		}
		slow, err := encodeJSON(&in)
		require.NoError(t, err)
		require.JSONEq(t, string(slow), string(fast))
		if len(params) == 0 {
			require.Equal(t, string(slow), string(fast))
		}
	})
}

// TestDecodeOwnReadsWhatEncodeWrites: else the short way would be no short way.
func TestDecodeOwnReadsWhatEncodeWrites(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 5000, time.UTC)
	for _, want := range []Task{
		{ID: "a", Type: "b"},
		{ID: NewID(), Type: "b", Params: []byte(`{"text":"hello <world> \"ж\"","list":[1,{"a":{}}]}`), PushedAt: at},
		{ID: NewID(), Type: "b", Priority: -10, TimeLimit: 90 * time.Second, At: at, PushedAt: at},
		{ID: NewID(), Type: "b", TimeLimit: NoTimeLimit},
		{ID: NewID(), Type: "b", TimeLimit: 1500 * time.Millisecond},
		{ID: NewID(), Type: "b", PushedAt: at, Undoes: "another"},
		{ID: NewID(), Type: "b", PushedAt: at, MaxAttempts: 3},
	} {
		own, ok := encodeOwn(&want)
		require.True(t, ok)
		byJSON, err := encodeJSON(&want)
		require.NoError(t, err)
		require.JSONEq(t, string(byJSON), string(own))
		b, err := Encode(&want)
		require.NoError(t, err)
		require.Equal(t, string(own), string(b))
		got, ok := decodeOwn(b)
		require.True(t, ok, "%s", b)
		slow, err := decodeJSON(b)
		require.NoError(t, err)
		require.Equal(t, slow, got)
	}
}

func BenchmarkDecode(b *testing.B) {
	t := Task{ID: NewID(), Type: "bench.echo", Params: []byte(`{"text":"hello, world","n":42}`), PushedAt: time.Now()}
	text, err := Encode(&t)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
