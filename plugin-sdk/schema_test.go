package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

func TestParamsSchema(t *testing.T) {
	t.Parallel()
	type resize struct {
		Path  string        `json:"path" doc:"The image."`
		Width int16         `json:"width" default:"640" min:"1" doc:"In pixels."`
		Scale float64       `json:"scale,omitempty" max:"10"`
		Mode  string        `json:"mode,omitempty" enum:"fast,good"`
		Level uint8         `json:"level" enum:"1,2"`
		Wait  time.Duration `json:"wait" min:"1s" max:"1h"`
		At    time.Time     `json:"at,omitzero"`
		Tags  []string      `json:"tags" enum:"a,b"`
		Crop  *struct {
			X float32 `json:"x"`
		} `json:"crop"`
		Sizes map[string]int8 `json:"sizes,omitempty"`
		Any   any             `json:"any"`
		Raw   json.RawMessage `json:"raw,omitempty"`
		Maybe []*bool         `json:"maybe"`
	}
	const want = `{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"type": "object",
		"properties": {
			"path": {"type": "string", "description": "The image."},
			"width": {"type": ["integer", "null"], "description": "In pixels.", "minimum": 1, "maximum": 32767, "default": 640},
			"scale": {"type": ["number", "null"], "maximum": 10},
			"mode": {"type": ["string", "null"], "enum": ["fast", "good", null]},
			"level": {"type": "integer", "minimum": 0, "maximum": 255, "enum": [1, 2]},
			"wait": {"type": "integer", "minimum": 1000000000, "maximum": 3600000000000},
			"at": {"type": ["string", "null"]},
			"tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
			"crop": {"type": ["object", "null"], "required": ["x"], "properties": {
				"x": {"type": "number", "minimum": -3.4028234663852886e+38, "maximum": 3.4028234663852886e+38}}},
			"sizes": {"type": ["object", "null"], "additionalProperties": {"type": "integer", "minimum": -128, "maximum": 127}},
			"any": {"type": ["boolean", "number", "string", "array", "object"]},
			"raw": {},
			"maybe": {"type": "array", "items": {"type": ["boolean", "null"]}}
		},
		"required": ["path", "level", "wait", "tags", "any", "maybe"]
	}`
	byFunc := Func("t.resize", "", func(context.Context, *BaseTask, resize) error { return nil })
	require.JSONEq(t, want, string(byFunc.ParamsSchema()))
	require.JSONEq(t, want, string(Func("t.resize", "", func(context.Context, *BaseTask, *resize) error { return nil }).ParamsSchema()))
	require.JSONEq(t, want, string(Type[noop]("t.noop", "").WithParams(&resize{}).ParamsSchema()))
	require.JSONEq(t, want, string(Type[noop]("t.noop", "").WithParams((*resize)(nil)).ParamsSchema()))

	preset := Type[noop]("t.noop", "").WithParams(resize{Path: "a.png", Tags: []string{"a"}}).ParamsSchema()
	var s schema
	require.NoError(t, json.Unmarshal(preset, &s))
	require.Equal(t, []string{"level", "wait", "any", "maybe"}, s.Required)
	require.JSONEq(t, `"a.png"`, string(s.Properties["path"].Default))
	require.JSONEq(t, `["a"]`, string(s.Properties["tags"].Default))
	require.JSONEq(t, `640`, string(s.Properties["width"].Default))

	for _, anything := range []TaskType{
		Type[noop]("t.noop", ""),
		Func("t.any", "", func(context.Context, *BaseTask, map[string]any) error { return nil }),
		Func("t.any", "", func(context.Context, *BaseTask, any) error { return nil }),
		Func("t.any", "", func(context.Context, *BaseTask, json.RawMessage) error { return nil }),
	} {
		require.Nil(t, anything.ParamsSchema())
		require.NoError(t, (&Plugin{Name: "p", Tasks: []TaskType{anything}}).checkParams())
	}

	p := &Plugin{Name: "p", Tasks: []TaskType{byFunc}}
	require.NoError(t, p.checkParams())
	require.JSONEq(t, want, string(p.describe().Tasks[0].ParamsSchema))
	var out bytes.Buffer
	require.Zero(t, runByHand(p, []string{"p", "-describe"}, &out, &out))
	require.Contains(t, out.String(), `"description": "In pixels."`)
}

func TestParamsSchemaOfTypesThatContainThemselves(t *testing.T) {
	t.Parallel()
	require.JSONEq(t, `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {
		"next": {"type": ["object", "null"]}, "list": {"type": ["array", "null"], "items": {"type": "object"}}}}`,
		string(Type[noop]("t.noop", "").WithParams(node{}).ParamsSchema()))
	require.JSONEq(t, `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {
		"l": {"type": "array", "items": {}}}}`,
		strings.Replace(string(Type[noop]("t.noop", "").WithParams(struct {
			L loop `json:"l"`
		}{}).ParamsSchema()), `,"required":["l"]`, "", 1))
}

// simple has parameters of all the simple types.
type simple struct {
	Text   string   `json:"text"`
	Mode   string   `json:"mode,omitempty" enum:"a,b"`
	Int    int      `json:"int"`
	Small  int8     `json:"small,omitempty" min:"-3"`
	Unit   uint64   `json:"unit" default:"5"`
	Num    float64  `json:"num" min:"0" max:"0.1" default:"0"`
	Single float32  `json:"single,omitempty"`
	Flag   bool     `json:"flag" default:"true"`
	Ptr    *int     `json:"ptr" enum:"1,2,3"`
	List   []string `json:"list" enum:"a,b" default:"[]"`
	Grid   [][]int  `json:"grid,omitempty" max:"9"`
	Maybe  []*bool  `json:"maybe,omitempty"`
	In     struct {
		N int    `json:"n" min:"1"`
		T string `json:"t" default:"x"`
	} `json:"in,omitzero"`
	Map map[string]float64 `json:"map,omitempty"`
	Any any                `json:"any"`
}

var simpleSchema = func() map[string]any {
	raw := Func("t.simple", "", func(context.Context, *BaseTask, simple) error { return nil }).ParamsSchema()
	return mustDecode(raw).(map[string]any)
}()

// mustDecode decodes valid JSON, its numbers as they are written.
func mustDecode(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		panic(err)
	}
	return v
}

// accepts is a JSON Schema checker for as much of it as is published. Numbers that are no
// integers are float64s to it, as to most.
func accepts(schema map[string]any, value any) bool {
	is := func(typ string) bool {
		switch v := value.(type) {
		case nil:
			return typ == "null"
		case bool:
			return typ == "boolean"
		case string:
			return typ == "string"
		case []any:
			return typ == "array"
		case map[string]any:
			return typ == "object"
		case json.Number:
			return typ == "number" || typ == "integer" && rational(v).IsInt()
		}
		panic(fmt.Sprintf("%T", value))
	}
	var types []any
	switch t := schema["type"].(type) {
	case string:
		types = []any{t}
	case []any:
		types = t
	}
	if types != nil && !slices.ContainsFunc(types, func(t any) bool { return is(t.(string)) }) {
		return false
	}
	compare := func(a, b json.Number) int {
		if slices.Contains(types, any("integer")) {
			return rational(a).Cmp(rational(b))
		}
		x, _ := a.Float64()
		y, _ := b.Float64()
		return big.NewFloat(x).Cmp(big.NewFloat(y))
	}
	n, isNumber := value.(json.Number)
	if enum, ok := schema["enum"].([]any); ok && !slices.ContainsFunc(enum, func(e any) bool {
		if m, ok := e.(json.Number); ok && isNumber {
			return compare(n, m) == 0
		}
		return e == value
	}) {
		return false
	}
	if least, ok := schema["minimum"].(json.Number); ok && isNumber && compare(n, least) < 0 {
		return false
	}
	if most, ok := schema["maximum"].(json.Number); ok && isNumber && compare(n, most) > 0 {
		return false
	}
	switch v := value.(type) {
	case []any:
		items, ok := schema["items"].(map[string]any)
		return !ok || !slices.ContainsFunc(v, func(e any) bool { return !accepts(items, e) })
	case map[string]any:
		required, _ := schema["required"].([]any)
		if slices.ContainsFunc(required, func(name any) bool { _, ok := v[name.(string)]; return !ok }) {
			return false
		}
		properties, _ := schema["properties"].(map[string]any)
		additional, strict := schema["additionalProperties"].(map[string]any)
		for name, e := range v {
			if p, ok := properties[name].(map[string]any); ok && !accepts(p, e) || !ok && strict && !accepts(additional, e) {
				return false
			}
		}
	}
	return true
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		panic(n)
	}
	return r
}

// extreme reports whether v has a number that no float64 holds, or that is too long for
// the checker.
func extreme(v any) bool {
	switch v := v.(type) {
	case json.Number:
		_, err := strconv.ParseFloat(string(v), 64)
		_, exponent, _ := strings.Cut(strings.ToLower(string(v)), "e")
		return err != nil || len(exponent) > 5
	case []any:
		return slices.ContainsFunc(v, extreme)
	case map[string]any:
		for _, e := range v {
			if extreme(e) {
				return true
			}
		}
	}
	return false
}

// agree checks that Bind takes just what the schema accepts, and binds it to something
// that the schema accepts.
func agree(t *testing.T, raw []byte) (accepted bool) {
	value := mustDecode(raw)
	accepted = accepts(simpleSchema, value)
	var bound simple
	err := (&BaseTask{msg: &pluginpb.Task{Params: raw}}).Bind(&bound)
	require.Equal(t, accepted, err == nil, "%s: %v", raw, err)
	if !accepted {
		var input *InputError
		require.ErrorAs(t, err, &input)
		return false
	}
	again, err := json.Marshal(bound)
	require.NoError(t, err)
	require.True(t, accepts(simpleSchema, mustDecode(again)), "%s became %s", raw, again)
	return true
}

// TestSchemaAndBindAgree tries values of all kinds at all places.
func TestSchemaAndBindAgree(t *testing.T) {
	t.Parallel()
	values := []string{`null`, `true`, `""`, `"a"`, `"b"`, `"c"`, `"\u0061"`, `0`, `-0`, `1`, `3.0`, `3.5`, `-3`, `-4`, `9`, `1e1`, `127`, `128`,
		`0.1`, `0.10000000000000001`, `0.11`, `1e-400`, `1e38`, `3.5e38`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`,
		`-9223372036854775809`, `18446744073709551615`, `18446744073709551616`, `[]`, `[null]`, `["a"]`, `["c"]`, `[1]`, `[[9],[]]`, `[[10]]`, `[null,true]`,
		`{}`, `{"n":1}`, `{"n":0}`, `{"n":null}`, `{"n":1,"t":null}`, `{"n":1,"t":3}`, `{"x":1.5}`}
	names := []string{"text", "mode", "int", "small", "unit", "num", "single", "flag", "ptr", "list", "grid", "maybe", "in", "map", "any", "other", "Text"}
	try := func(change map[string]string) bool {
		params := map[string]json.RawMessage{"text": []byte(`"x"`), "int": []byte(`1`), "any": []byte(`1`)}
		for name, v := range change {
			if params[name] = json.RawMessage(v); v == "" {
				delete(params, name)
			}
		}
		raw, err := json.Marshal(params)
		require.NoError(t, err)
		return agree(t, raw)
	}
	accepted, refused := 0, 0
	count := func(ok bool) {
		if ok {
			accepted++
		} else {
			refused++
		}
	}
	for _, name := range names {
		for _, v := range append(values, "") {
			count(try(map[string]string{name: v}))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		change := map[string]string{}
		for range random.IntN(5) {
			change[names[random.IntN(len(names))]] = values[random.IntN(len(values))]
		}
		count(try(change))
	}
	require.Greater(t, accepted, 100)
	require.Greater(t, refused, 100)
}

func FuzzSchemaAndBindAgree(f *testing.F) {
	for _, s := range []string{`{"text":"x","int":1,"any":1}`, `{"text":"x","int":1e2,"any":[],"num":0.05,"list":["a",null]}`,
		`{"text":"x","int":1.0,"any":{},"in":{"n":1},"map":{"":-0.0},"grid":[[1],[9.0]],"ptr":2,"unit":18446744073709551615}`,
		`{"text":"x","text":1,"TEXT":2,"int":null,"any":false}`, `[]`, `{"text":"\ud800","int":-0,"any":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			var bound simple
			require.Error(t, (&BaseTask{msg: &pluginpb.Task{Params: append([]byte(" "), raw...)}}).Bind(&bound))
			return
		}
		if v := mustDecode(raw); v == nil || extreme(v) {
			t.Skip()
		}
		agree(t, raw)
	})
}
