package sdk

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzSplit(f *testing.F) {
	for _, text := range []string{
		`{}`, `[]`, ` [ ] `, `{ }`, `{"a":1}`, `{"a" : "x" , "b":[1,{"c":"}"}], "a":null}`, `[1,2.5e3,true,null,"]",[[]],{"a":{}}]`,
		"\t[\n1 ,\r-2\n]", `{"a\"b":"\\","c\u00e9":"\"","":{"}":"{"}}`, "{\"\xff\":1}", `[[[[1]],2],"a\\\\"]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var value json.RawMessage
		if json.Unmarshal(text, &value) != nil {
			t.Skip()
		}
		switch value[0] {
		case '{':
			var want map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(value, &want))
			got := map[string]json.RawMessage{}
			for name, part := range members(value) {
				got[unquote(name)] = part
				require.True(t, spells(name, unquote(name)))
				require.False(t, spells(name, unquote(name)+"x"))
			}
			require.Equal(t, want, got)
		case '[':
			var want []json.RawMessage
			require.NoError(t, json.Unmarshal(value, &want))
			got := []json.RawMessage{}
			for part := range elements(value) {
				got = append(got, part)
			}
			require.Equal(t, want, got)
		default:
			require.Equal(t, len(value), valueEnd(value, 0))
		}
	})
}

// A name is compared with what it stands for, not with how it is written.
func TestNamesWithEscapes(t *testing.T) {
	t.Parallel()
	var p struct {
		Count int `json:"café"`
	}
	require.NoError(t, with(`{"caf\u00e9":3}`).Bind(&p))
	require.Equal(t, 3, p.Count)
	require.NoError(t, with(`{"caf\u00e9":4,"café":5}`).Bind(&p))
	require.Equal(t, 5, p.Count, "the last one counts")

	require.False(t, spells([]byte(`"a\tb"`), `a\tb`), "a tab is not a backslash and a t")
	require.True(t, spells([]byte(`"a\\tb"`), `a\tb`))
}
