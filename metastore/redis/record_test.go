package redis

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

// FuzzDecode: whatever can be read is written in a form that is read as the same, and put.lua
// finds leptir's part at its end.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"id":"a","status":3,"retC":1,"exTime":0.5,"respM":"x","type":"t","exStart":"2026-11-22T10:00:00Z","leptir":{"attempt":1,"delivery":2}}`,
		`{"status":1,"id":"a","mine":[1,{}],"leptir":{}}`, `{}`, `{"id":"a","_id":"b"}`, `{"id":"a","status":"odd","":null}`, `{"_id":"a"}`, "rubbish", `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		written, err := encode(&r)
		if err != nil {
			return // a time that JSON cannot write
		}
		require.True(t, json.Valid(written), "%s", written)
		again, err := decode(written)
		require.NoError(t, err)
		require.Equal(t, r.ID, again.ID)
		require.Equal(t, r.Run.Delivery, again.Run.Delivery)
		twice, err := encode(&again)
		require.NoError(t, err)
		require.JSONEq(t, string(written), string(twice))
		require.Regexp(t, `^\{"id":.*,"leptir":\{.*\}\}$`, string(written))
	})
}

func TestNewest(t *testing.T) {
	t.Parallel()
	r := func(id task.ID, delivery int) task.Record {
		return task.Record{ID: id, Run: task.Run{Delivery: delivery}}
	}
	var got []int
	for i := range newest([]task.Record{r("a", 1), r("b", 3), r("a", 2), r("b", 2), r("c", 0), r("c", 0)}) {
		got = append(got, i)
	}
	require.Equal(t, []int{1, 2, 5}, got)
}
