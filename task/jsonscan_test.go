package task

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// whole reports what json says: whether b is a valid object with nothing around it.
func whole(b []byte) bool {
	return len(b) > 0 && b[0] == '{' && b[len(b)-1] == '}' && json.Valid(b)
}

// FuzzObjectEnd: what is an object here is one for json, and the other way round.
func FuzzObjectEnd(f *testing.F) {
	for _, s := range []string{
		`{}`, `{ }`, `{"a":1}`, `{"a":[]}`, `{"a":[1,2,{"b":null}],"c":true,"d":false}`, `{"a":-0.5e+10,"b":1E9,"c":0}`,
		`{"a":"\u00e9\n\"\\\/ ü 12345678"}`, "{\"a\":\"\x7f\xff\x80\"}", "{\"a\":\"tab\there\"}", "{\"12345678\x1f\":1}", `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`,
		`{"a":-}`, `{"a":+1}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":tru}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":[1,]}`, `{"a":[}`, `{"a":[1}}`,
		`{"a":{]}`, `{"a":1}}`, `{"a":1} `, ` {}`, `[]`, `1`, ``, `{`, `{"`, `{"a":"\`, `{"a":"\u123`, "{\n\t\"a\" :\r 1 , \"b\" : [ 1 , 2 ] }", `{"a":nul}`, `{"a" 1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := objectEnd(b)
		require.Equal(t, whole(b), n > 0 && n == len(b))
		if n > 0 {
			require.True(t, whole(b[:n]))
		}
	})
}

func TestObjectEndDepth(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{1, 31, 32, 33, maxDepth - 1, maxDepth, maxDepth + 1} {
		b := []byte(strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth))
		require.Equal(t, json.Valid(b), objectEnd(b) == len(b), depth)
		b = []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}")
		require.Equal(t, json.Valid(b), objectEnd(b) == len(b), depth)
	}
}

// A string is looked at eight bytes at a time: every length, and every place in it.
func TestObjectEndStrings(t *testing.T) {
	t.Parallel()
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				text := bytes.Repeat([]byte{'x'}, length)
				text[at] = byte(c)
				b := append(append([]byte(`{"a":"`), text...), `"}`...)
				require.Equalf(t, whole(b), objectEnd(b) == len(b), "%q", b)
			}
		}
	}
}

func BenchmarkObjectEnd(b *testing.B) {
	text := []byte(`{"data":"` + strings.Repeat("lorem ipsum ", 64<<10/12) + `"}`)
	many, err := json.Marshal(map[string]any{"list": make([]map[string]int, 5000)})
	require.NoError(b, err)
	for _, c := range []struct {
		name string
		b    []byte
	}{{"a long string", text}, {"many values", many}} {
		b.Run(c.name+"/leptir", func(b *testing.B) {
			b.SetBytes(int64(len(c.b)))
			for b.Loop() {
				objectEnd(c.b)
			}
		})
		b.Run(c.name+"/json", func(b *testing.B) {
			b.SetBytes(int64(len(c.b)))
			for b.Loop() {
				json.Valid(c.b)
			}
		})
	}
}
