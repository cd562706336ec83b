package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/schema"
)

const mailer = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{
	"to":{"type":"string"},
	"copies":{"type":["integer","null"],"minimum":1,"maximum":5,"default":1},
	"format":{"type":["string","null"],"enum":["text","html",null]},
	"headers":{"type":["object","null"],"additionalProperties":{"type":"string"}},
	"lines":{"type":["array","null"],"items":{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}}},
	"required":["to"]}`

func TestCheck(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(mailer))
	require.NoError(t, err)
	for params, want := range map[string]string{
		`{"to":"ann"}`:                             "",
		`{"to":"ann","copies":3.0,"more":[1]}`:     "",
		`{"to":"ann","copies":null,"format":null}`: "",
		`{"to":"ann","copies":9007199254740993}`:   `parameter "copies": more than 5: 9007199254740993`,
		``:                                         `parameter "to": not defined`,
		`{}`:                                       `parameter "to": not defined`,
		`{"to":5}`:                                 `parameter "to": not a string: 5`,
		`{"to":"ann","copies":"two"}`:              `parameter "copies": not an integer: "two"`,
		`{"to":"ann","copies":1.5}`:                `parameter "copies": not an integer: 1.5`,
		`{"to":"ann","copies":0}`:                  `parameter "copies": less than 1: 0`,
		`{"to":"ann","format":"pdf"}`:              `parameter "format": not one of "text", "html": "pdf"`,
		`{"to":"ann","headers":{"x":1}}`:           `parameter "headers.x": not a string: 1`,
		`{"to":"ann","lines":[{"n":1},{}]}`:        `parameter "lines[1].n": not defined`,
		`[]`:                                       `parameters: not an object: []`,
		`{"to":"` + strings.Repeat("x", 99) + `","to":{}}`: `parameter "to": not a string: {}`,
	} {
		err := s.Check([]byte(params))
		if want == "" {
			require.NoError(t, err, params)
			continue
		}
		require.EqualError(t, err, want, params)
	}
	require.ErrorContains(t, s.Check([]byte(`{`)), "parameters: ")
	for _, number := range []string{"1e999999999", "1e-999999999", "1e99999999999999999999", strings.Repeat("9", 1000)} {
		require.ErrorContains(t, s.Check([]byte(`{"to":"ann","lines":[{"n":`+number+`}]}`)), "is out of range")
	}
	require.ErrorContains(t, s.Check([]byte(`{"x":`+strings.Repeat("[", 1000))), "deep within each other")
}

func TestCheckNamesAllUpToFive(t *testing.T) {
	t.Parallel()
	props, req := "", ""
	for i := range 9 {
		props += fmt.Sprintf(`,"p%d":{"type":"string"}`, i)
		req += fmt.Sprintf(`,"p%d"`, i)
	}
	s, err := schema.Compile([]byte(`{"type":"object","properties":{` + props[1:] + `},"required":[` + req[1:] + `]}`))
	require.NoError(t, err)
	err = s.Check(nil)
	require.ErrorContains(t, err, `parameter "p0": not defined; `)
	require.ErrorContains(t, err, "; and 4 more")
}

func TestOtherKeywords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, good, bad, want string }{
		{`{"properties":{"a":{"minLength":2}}}`, `{"a":"xy"}`, `{"a":"x"}`, `parameter "a": minLength`},
		{`{"properties":{"a":{"pattern":"^x+$"}}}`, `{"a":"xx"}`, `{"a":"y"}`, `parameter "a": `},
		{`{"additionalProperties":false,"properties":{"a":{}}}`, `{"a":"y"}`, `{"b":1}`, `parameter "b": not known`},
		{`{"anyOf":[{"required":["a"]},{"required":["b"]}]}`, `{"b":1}`, `{}`, "parameters: 'anyOf' failed"},
		{`{"properties":{"a":{"const":1}}}`, `{"a":1}`, `{"a":2}`, `parameter "a": value must be 1`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{"type":"null"}}}`, `{"a":null}`, `{"a":2}`, `parameter "a": must be null or left out: 2`},
		{`{"properties":{"$ref":{"type":"string"}}}`, `{"$ref":"x"}`, `{"$ref":2}`, `parameter "$ref": not a string: 2`},
	} {
		s, err := schema.Compile([]byte(c.schema))
		require.NoError(t, err, c.schema)
		require.NoError(t, s.Check([]byte(c.good)), c.schema)
		require.ErrorContains(t, s.Check([]byte(c.bad)), c.want, c.schema)
	}
}

func TestWantsText(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(`{"properties":{"a":{"type":"string"},"b":{"type":["null","string"]},"c":{"type":["string","integer"]},
		"d":{"type":["integer","string"]},"e":{},"f":true,"g":{"type":"integer"},"h":{"type":["null"]}}}`))
	require.NoError(t, err)
	for name, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false, "e": false, "f": false, "g": false, "h": false, "z": false} {
		require.Equal(t, want, s.WantsText(name), name)
	}
	require.False(t, (*schema.Schema)(nil).WantsText("a"))
}

func TestNoSchema(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(nil)
	require.NoError(t, err)
	require.Nil(t, s)
	require.NoError(t, s.Check([]byte(`{"a":1}`)))
}

// A plugin is somebody else's: its schema must not make the host read files, or work for
// long.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"$ref":"file:///etc/passwd"}`, `{"$ref":"#"}`, `{"allOf":[{"$dynamicRef":"#x"}]}`, `{"properties":{"a":{"uniqueItems":true}}}`,
	} {
		_, err := schema.Compile([]byte(text))
		require.ErrorIs(t, err, schema.ErrUnchecked, text)
	}
	for _, text := range []string{
		`{`, `[]`, `7`, `{"type":5}`, `{"type":"thing"}`, `{"pattern":"("}`, `{"$schema":"file:///etc/passwd"}`, `{"minimum":"x"}`, `{"minimum":1e999999999}`,
		strings.Repeat(`{"not":`, 10_000) + `{}` + strings.Repeat(`}`, 10_000),
	} {
		_, err := schema.Compile([]byte(text))
		require.Error(t, err, "%.50s", text)
		require.NotErrorIs(t, err, schema.ErrUnchecked, "%.50s", text)
	}
	// A list of many values, each to be compared with many.
	enum := `"first"` + strings.Repeat(`,"abcdefgh"`, 20_000)
	long, err := schema.Compile([]byte(`{"properties":{"a":{"items":{"enum":[` + enum + `]}}}}`))
	require.NoError(t, err)
	begin := time.Now()
	require.NoError(t, long.Check([]byte(`{"a":[`+strings.TrimSuffix(strings.Repeat(`"x",`, 250_000), ",")+`]}`)))
	require.Less(t, time.Since(begin), 10*time.Second)
}

// FuzzCheck: whatever plugins publish and producers push, nothing panics, and what is said
// fits on a line.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(mailer), []byte(`{"to":"ann","copies":1e400,"lines":[{"n":"x"}]}`))
	f.Add([]byte(`{"properties":{"a":{"multipleOf":0.1}}}`), []byte(`{"a":1e999999}`))
	f.Add([]byte(`{"propertyNames":{"maxLength":1},"dependentRequired":{"a":["b"]},"contains":{}}`), []byte(`{"a":1,"cc":2}`))
	f.Add([]byte(`true`), []byte(`null`))
	f.Add([]byte(`false`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, text, params []byte) {
		s, err := schema.Compile(text)
		if err == nil {
			err = s.Check(params)
		}
		if err != nil && len(params) < 1000 && len(text) < 1000 {
			require.LessOrEqual(t, len(err.Error()), 8000)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s, err := schema.Compile([]byte(mailer))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Check([]byte(`{"to":"ann@example.com","copies":2}`)); err != nil {
			b.Fatal(err)
		}
	}
}
