package mongodb

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/backplane/leptir/task"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":            "",
		"customer":    "customer",
		"a.b.c":       "a．b．c",
		"$set":        "＄set",
		"US$":         "US$",
		"a\x00b":      "a␀b",
		"ключ 100%":   "ключ 100%",
		"a．b":         "a％．b",
		"＄set":        "％＄set",
		"100％":        "100％％",
		"$.\x00．％":    "＄．␀％．％％",
		"％．":          "％％％．",
		"already＄mid": "already＄mid",
	} {
		require.Equal(t, want, escape(name), "%q", name)
		require.Equal(t, name, unescape(want), "%q", want)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a.b", "$x", "＄x", "％．", "a\x00", "％", "％＄", "$＄％．␀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) {
			return // names come from JSON
		}
		e := escape(name)
		require.Equal(t, name, unescape(e))
		require.NotContains(t, e, ".")
		require.NotContains(t, e, "\x00")
		require.False(t, strings.HasPrefix(e, "$"))
	})
}

// write returns the document of a record as it goes over the wire.
func write(t testing.TB, r task.Record, expires time.Time) bson.Raw {
	d, err := newDocument(&r, expires)
	require.NoError(t, err)
	b, err := bson.Marshal(d)
	require.NoError(t, err)
	return b
}

// TestTypes checks that people and programs find in the shell what docs/metadata/mongodb.md
// promises.
func TestTypes(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.FixedZone("somewhere", 3600))
	raw := write(t, task.Record{
		ID: "t1", Status: task.Completed, RetC: task.Success, ExTime: 12, RespM: "sent", Type: "mailer.send", ExStart: start,
		Meta: map[string]any{"n": 3, "big": int64(1) << 53, "half": 0.5, "whole": 2.0, "at": start, "nothing": nil, "a.b": map[string]any{"$x": true}},
		Run: task.Run{Attempt: 1, Delivery: 2, Ended: start.Add(12 * time.Second), Host: "h", Process: 7,
			Exit: &task.Exit{Reason: "crash", PeakMemory: 1 << 40, Stderr: []string{"oh"}}},
	}, start.Add(time.Hour))
	var order []string
	elements, err := raw.Elements()
	require.NoError(t, err)
	for _, e := range elements {
		order = append(order, e.Key())
	}
	require.Equal(t, "_id", order[0])
	want := map[string]any{
		"_id": "t1", "status": int32(3), "retC": int32(1), "exTime": float64(12), "respM": "sent", "type": "mailer.send",
		"exStart": bson.NewDateTimeFromTime(start),
		"n":       int32(3), "big": int64(1) << 53, "half": 0.5, "whole": int32(2), "at": "2026-11-23T10:00:00.123456789+01:00", "nothing": nil,
		"a．b": bson.D{{Key: "＄x", Value: true}},
		"leptir": bson.D{{Key: "delivery", Value: int32(2)}, {Key: "attempt", Value: int32(1)},
			{Key: "ended", Value: bson.NewDateTimeFromTime(start.Add(12 * time.Second))},
			{Key: "host", Value: "h"}, {Key: "process", Value: int32(7)},
			{Key: "exit", Value: bson.D{{Key: "reason", Value: "crash"}, {Key: "peak_memory", Value: int64(1) << 40}, {Key: "stderr", Value: bson.A{"oh"}}}},
			{Key: "expires", Value: bson.NewDateTimeFromTime(start.Add(time.Hour))}},
	}
	var got bson.D
	require.NoError(t, bson.Unmarshal(raw, &got))
	require.Len(t, got, len(want))
	for _, e := range got {
		require.Equal(t, want[e.Key], e.Value, "field %s", e.Key)
	}

	r, err := readDocument(raw)
	require.NoError(t, err)
	require.True(t, start.Truncate(time.Millisecond).Equal(r.ExStart))
	require.True(t, start.Add(12*time.Second).Truncate(time.Millisecond).Equal(r.Run.Ended))
	require.Equal(t, float64(1<<53), r.Meta["big"])
}

func TestNotBegun(t *testing.T) {
	t.Parallel()
	raw := write(t, task.Record{ID: "t1", Status: task.Pending, Type: "a"}, time.Time{})
	text, err := bson.MarshalExtJSON(raw, false, false)
	require.NoError(t, err)
	require.JSONEq(t, `{"_id":"t1","status":1,"exTime":0.0,"respM":"","type":"a","leptir":{"delivery":0}}`, string(text))
}

// TestDepth writes meta info that is deeper than MongoDB takes.
func TestDepth(t *testing.T) {
	t.Parallel()
	for _, open := range []string{`[`, `{"a":`} {
		deep := strings.Repeat(open, 500) + "1" + strings.Repeat(map[string]string{"[": "]", `{"a":`: "}"}[open], 500)
		raw := write(t, task.Record{ID: "t1", Meta: map[string]any{"deep": json.RawMessage(deep)}}, time.Time{})
		require.NoError(t, raw.Validate())
		v, levels := raw.Lookup("deep"), 1
		for v.Type == bson.TypeArray || v.Type == bson.TypeEmbeddedDocument {
			inner := bson.Raw(v.Value)
			elements, err := inner.Elements()
			require.NoError(t, err)
			v = elements[0].Value()
			levels++
		}
		require.Equal(t, maxDepth, levels)
		rest, ok := v.StringValueOK()
		require.True(t, ok)
		require.True(t, json.Valid([]byte(rest)))
		_, err := readDocument(raw)
		require.NoError(t, err)
	}
	// A plain value at the last level stays what it is.
	dec := json.NewDecoder(strings.NewReader(strings.Repeat("[", maxDepth) + "7" + strings.Repeat("]", maxDepth)))
	dec.UseNumber()
	v, err := value(dec, 0)
	require.NoError(t, err)
	for range maxDepth {
		v = v.(bson.A)[0]
	}
	require.Equal(t, int32(7), v)
}

// TestForeignRecords reads what others than leptir have written.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1700000000500)
	for name, c := range map[string]struct {
		doc  bson.D
		want task.Record
	}{
		"the original's": {
			bson.D{{Key: "_id", Value: "t1"}, {Key: "status", Value: int64(3)}, {Key: "retC", Value: int64(2)}, {Key: "exTime", Value: 0.25},
				{Key: "respM", Value: "a b"}, {Key: "type", Value: `Leptir\\Test`}, {Key: "exStart", Value: start}, {Key: "mine", Value: "x"}},
			task.Record{ID: "t1", Status: task.Completed, RetC: task.Warning, ExTime: 0.25, RespM: "a b", Type: `Leptir\\Test`, ExStart: start.UTC(),
				Meta: map[string]any{"mine": "x"}},
		},
		"types that JSON does not know": {
			bson.D{{Key: "_id", Value: "t1"}, {Key: "oid", Value: bson.NilObjectID}, {Key: "retC", Value: "one"}, {Key: "exTime", Value: 1.0}},
			task.Record{ID: "t1", ExTime: 1, Meta: map[string]any{"oid": `ObjectID("000000000000000000000000")`, "retC": "one"}},
		},
	} {
		raw, err := bson.Marshal(c.doc)
		require.NoError(t, err)
		got, err := readDocument(raw)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

// FuzzDocument writes and reads back records with any meta info, and reads any bytes.
func FuzzDocument(f *testing.F) {
	f.Add("a.b", `{"x":[1,2.5,-0,1e400,"\u0000"]}`, []byte{5, 0, 0, 0, 0})
	f.Add("$set", `[[[[]]]]`, []byte("\x0c\x00\x00\x00\x10a\x00\x01\x00\x00\x00\x00"))
	f.Add("leptir", `123456789012345678901234567890`, []byte{})
	f.Fuzz(func(t *testing.T, name, meta string, raw []byte) {
		_, _ = readDocument(raw)
		if !json.Valid([]byte(meta)) || !utf8.ValidString(name) {
			return
		}
		r := task.Record{ID: "t1", Run: task.Run{Delivery: 3}, Meta: map[string]any{name: json.RawMessage(meta)}}
		got, err := readDocument(write(t, r, time.Now()))
		require.NoError(t, err)
		require.Equal(t, r.ID, got.ID)
		require.Equal(t, 3, got.Run.Delivery)
	})
}
