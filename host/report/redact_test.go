package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{``, ``}, {`{}`, ``}, {`null`, ``}, {` {} `, ``},
		{`{"to":"ann"}`, `{"to":"ann"}`},
		{`{"password":"x"}`, `{"password":"[redacted]"}`},
		{`{"Password":7,"DB_PASSWORD":null,"old-pass-word":[1],"dbPasswd2":{"a":1}}`,
			`{"Password":"[redacted]","DB_PASSWORD":"[redacted]","old-pass-word":"[redacted]","dbPasswd2":"[redacted]"}`},
		{`{"apiKey":"x","X-Api-Key":"x","api key":"x","accessToken":"x","Set-Cookie":"x","Authorization":"x","client.secret":"x","sessionId":"x"}`,
			`{"apiKey":"[redacted]","X-Api-Key":"[redacted]","api key":"[redacted]","accessToken":"[redacted]","Set-Cookie":"[redacted]","Authorization":"[redacted]","client.secret":"[redacted]","sessionId":"[redacted]"}`},
		{`{"users":[{"name":"ann","auth":{"token":"x","kind":"basic"}},[{"secret":"x"}]]}`,
			`{"users":[{"name":"ann","auth":{"token":"[redacted]","kind":"basic"}},[{"secret":"[redacted]"}]]}`},
		{`{"iban":"x","author":"ann","key":"k"}`, `{"iban":"[redacted]","author":"ann","key":"k"}`},
		{`{"n":12345678901234567890123,"f":1.10,"t":true,"z":null}`, `{"n":12345678901234567890123,"f":1.10,"t":true,"z":null}`},
		{`[1]`, `{"[left out]":"3 bytes that are no JSON object"}`},
		{`{"a":1} x`, `{"[left out]":"9 bytes that are no JSON object"}`},
		{`{"password":"hunter2"`, `{"[left out]":"21 bytes that are no JSON object"}`},
	} {
		got := newRedactor(true, []string{"IBAN", " "}).object(json.RawMessage(tt.in))
		if tt.want == "" {
			require.Nil(t, got, tt.in)
			continue
		}
		require.JSONEq(t, tt.want, string(got), tt.in)
	}
}

func TestRedactBounds(t *testing.T) {
	t.Parallel()
	r := newRedactor(true, nil)
	var many []string
	for i := range 50000 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	for name, in := range map[string]string{
		"long text": `{"a":"` + strings.Repeat("é", 100000) + `"}`,
		"many keys": `{` + strings.Join(many, ",") + `}`,
		"long list": `{"a":[` + strings.Repeat("1,", 200000) + `1]}`,
		"deep":      `{"a":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`,
		"deeper":    strings.Repeat(`{"a":`, 9000) + `1` + strings.Repeat(`}`, 9000),
		"long key":  `{"` + strings.Repeat("k", 500000) + `":1}`,
		"large":     `{"a":"` + strings.Repeat("x", 2<<20) + `"}`,
		"number":    `{"a":` + strings.Repeat("9", 100000) + `}`,
	} {
		got := r.object(json.RawMessage(in))
		require.True(t, json.Valid(got), name)
		require.LessOrEqual(t, len(got), maxObject+8<<10, name)
		require.Contains(t, string(got), "left out", name)
	}
}

func TestRedactReport(t *testing.T) {
	t.Parallel()
	in := Report{Message: strings.Repeat("m", 100000) + "\xff", Stack: strings.Repeat("s", 1<<20), Data: json.RawMessage(`{"token":"x"}`),
		Task: &Task{ID: "t", Params: json.RawMessage(`{"password":"x"}`)}, Exit: &task.Exit{Stderr: []string{strings.Repeat("a", 16<<10), "b\xff", "c"}}}
	out := newRedactor(true, nil).report(in)
	require.LessOrEqual(t, len(out.Message), maxMessage+50)
	require.LessOrEqual(t, len(out.Stack), maxStack+50)
	require.True(t, utf8.ValidString(out.Message))
	require.JSONEq(t, `{"token":"[redacted]"}`, string(out.Data))
	require.JSONEq(t, `{"password":"[redacted]"}`, string(out.Task.Params))
	require.Equal(t, []string{"b\uFFFD", "c"}, out.Exit.Stderr, "the last lines that fit")
	require.Equal(t, `{"password":"x"}`, string(in.Task.Params), "others have it too")
	require.Len(t, in.Exit.Stderr, 3)
	require.Nil(t, newRedactor(false, nil).report(in).Task.Params)
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"password":"hunter2"}`, `{"a":[{"tokenX":"hunter2"}]}`, `{"a":"\ud800"}`, `{"secret":{"b":"hunter2"}}`, "{", `{"a":1e999}`} {
		f.Add([]byte(s))
	}
	r := newRedactor(true, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		got := r.object(b)
		if got == nil {
			return
		}
		require.True(t, json.Valid(got))
		require.LessOrEqual(t, len(got), 6*(maxObject+4*maxText)) // JSON may escape each byte
		// Nothing below a key that hides is shown.
		var shown any
		d := json.NewDecoder(bytes.NewReader(got))
		d.UseNumber()
		require.NoError(t, d.Decode(&shown))
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case []any:
				for _, e := range v {
					walk(e)
				}
			case map[string]any:
				for key, e := range v {
					if r.hides(key) {
						require.Equal(t, redacted, e)
					}
					walk(e)
				}
			}
		}
		walk(shown)
	})
}
