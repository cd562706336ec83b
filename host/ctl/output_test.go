package ctl

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

func TestJSONDoesNotObeyTerminals(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	o := newOutput(&b)
	text := "<a> & \\u003c \x1b[31m \u009b \x7f \u202e \U000e0001 \u2028 ž 蝶 🦋\n"
	require.NoError(t, o.json(task.Record{ID: "x", RespM: text}, true))
	require.NoError(t, o.Flush())
	require.Contains(t, b.String(), `"respM":"<a> & \\u003c \u001b[31m \u009b \u007f \u202e \udb40\udc01 \u2028 ž 蝶 🦋\n"`)
	var back task.Record
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	require.Equal(t, text, back.RespM)
}

func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"", `\`, `\u003c`, "\x1b\u009b", "\U000e0001\\\\u003c", "a\"b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		var want, got string
		require.NoError(t, json.Unmarshal(text, &want))
		require.NoError(t, json.Unmarshal(escape(text), &got))
		require.Equal(t, want, got)
		escape([]byte(s)) // whatever it is
	})
}

func TestSentence(t *testing.T) {
	t.Parallel()
	require.Equal(t, `a; b c\u001b[31m`, sentence(" a\nb\tc\x1b[31m\n"))
	require.Equal(t, "蝶蝶…", clip("蝶蝶蝶", 2))
	require.Equal(t, "蝶蝶", clip("蝶蝶", 2))
	require.Equal(t, "1 task", count(1, "task", "tasks"))
	require.Equal(t, "0 tasks", count(0, "task", "tasks"))
}
