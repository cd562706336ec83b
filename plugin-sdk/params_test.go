package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/pluginpb"
)

// with returns a task that has the parameters, as the host sends them.
func with(params string) *BaseTask {
	return &BaseTask{msg: &pluginpb.Task{Params: []byte(params)}}
}

func TestGetters(t *testing.T) {
	t.Parallel()
	getInt := func(b *BaseTask, name string) (any, error) { return b.GetInt(name) }
	getFloat := func(b *BaseTask, name string) (any, error) { return b.GetFloat(name) }
	getString := func(b *BaseTask, name string) (any, error) { return b.GetString(name) }
	getBool := func(b *BaseTask, name string) (any, error) { return b.GetBool(name) }
	getArray := func(b *BaseTask, name string) (any, error) { return b.GetArray(name) }
	getData := func(b *BaseTask, name string) (any, error) { return b.GetData(name) }
	const large = "not an integer that fits 64 bits"
	for _, c := range []struct {
		name    string
		get     func(*BaseTask, string) (any, error)
		value   string // of "p", as JSON; empty: not given
		want    any
		problem string
	}{
		{"int", getInt, `3`, 3, ""},
		{"negative int", getInt, `-7`, -7, ""},
		{"largest int", getInt, `9223372036854775807`, 9223372036854775807, ""},
		{"int beyond 2^53 is exact", getInt, `9007199254740993`, 9007199254740993, ""},
		{"int with a point", getInt, `3.0`, 3, ""},
		{"int with an exponent", getInt, `1e3`, 1000, ""},
		{"int too large", getInt, `9223372036854775808`, nil, large},
		{"int beyond any float", getInt, `1e999`, nil, large},
		{"int of a fraction", getInt, `3.5`, nil, "not an integer"},
		{"int of a string", getInt, `"3"`, nil, "not an integer"},
		{"int of a boolean", getInt, `true`, nil, "not an integer"},
		{"int of an array", getInt, `[3]`, nil, "not an integer"},
		{"int of null", getInt, `null`, nil, "not defined"},
		{"int of nothing", getInt, ``, nil, "not defined"},
		{"float", getFloat, `3.5`, 3.5, ""},
		{"float of an int", getFloat, `3`, 3.0, ""},
		{"float of a string", getFloat, `"3.5"`, nil, "not a number"},
		{"float of an object", getFloat, `{}`, nil, "not a number"},
		{"float too large", getFloat, `1e999`, nil, "not a number that fits a float64"},
		{"float of nothing", getFloat, ``, nil, "not defined"},
		{"string", getString, `"x"`, "x", ""},
		{"empty string", getString, `""`, "", ""},
		{"string of an int", getString, `3`, nil, "not a string"},
		{"string of a huge number", getString, `1e999`, nil, "not a string"},
		{"string of nothing", getString, ``, nil, "not defined"},
		{"bool", getBool, `false`, false, ""},
		{"bool of an int", getBool, `1`, nil, "not a boolean"},
		{"bool of nothing", getBool, ``, nil, "not defined"},
		{"array", getArray, `[1,2.5,"x",null,[true]]`, []any{1, 2.5, "x", nil, []any{true}}, ""},
		{"empty array", getArray, `[]`, []any{}, ""},
		{"array of a string", getArray, `"abc"`, nil, "not an array"},
		{"array of an object", getArray, `{"0":1}`, nil, "not an array"},
		{"array of nothing", getArray, ``, nil, "not defined"},
		{"data", getData, `{"a":[1,{"b":2}]}`, map[string]any{"a": []any{1, map[string]any{"b": 2}}}, ""},
		{"data of nothing", getData, ``, nil, "not defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			task := with(`{"other":1}`)
			if c.value != "" {
				task = with(fmt.Sprintf(`{"other":1,"p":%s}`, c.value))
			}
			got, err := c.get(task, "p")
			if c.problem == "" {
				require.NoError(t, err)
				require.Equal(t, c.want, got)
				return
			}
			var input *InputError
			require.ErrorAs(t, err, &input)
			require.Equal(t, InputError{"p", c.problem}, *input)
			require.EqualError(t, err, `parameter "p": `+c.problem)
		})
	}
}

func TestGettersWithDefaults(t *testing.T) {
	t.Parallel()
	for _, params := range []string{``, `{}`, `null`, `{"i":null,"f":null,"s":null,"b":null,"a":null,"d":null}`} {
		task := with(params)
		i, err := task.GetInt("i", 5)
		require.NoError(t, err)
		require.Equal(t, 5, i)
		f, err := task.GetFloat("f", 5.5)
		require.NoError(t, err)
		require.Equal(t, 5.5, f)
		s, err := task.GetString("s", "x")
		require.NoError(t, err)
		require.Equal(t, "x", s)
		b, err := task.GetBool("b", true)
		require.NoError(t, err)
		require.True(t, b)
		a, err := task.GetArray("a", nil)
		require.NoError(t, err)
		require.Nil(t, a)
		d, err := task.GetData("d", "any")
		require.NoError(t, err)
		require.Equal(t, "any", d)
	}
	// A default is no excuse for another type.
	_, err := with(`{"i":"x"}`).GetInt("i", 5)
	require.EqualError(t, err, `parameter "i": not an integer`)
}

func TestParametersThatAreNoObject(t *testing.T) {
	t.Parallel()
	for _, params := range []string{`[]`, `3`, `"x"`, `{`, `{}{}`, `{} x`} {
		task := with(params)
		for range 2 { // the second answer is the first
			_, err := task.GetString("s", "x")
			var input *InputError
			require.ErrorAs(t, err, &input, "%s", params)
		}
		require.Error(t, task.Bind(&struct{}{}), "%s", params)
		task.SetData("s", "set")
		s, err := task.GetString("s")
		require.NoError(t, err)
		require.Equal(t, "set", s)
	}
}

func TestSetData(t *testing.T) {
	t.Parallel()
	type text string
	var task BaseTask // without a host
	for _, v := range []any{int8(3), int64(3), uint16(3), float32(3), 3.0} {
		task.SetData("n", v)
		i, err := task.GetInt("n")
		require.NoError(t, err)
		require.Equal(t, 3, i)
		f, err := task.GetFloat("n")
		require.NoError(t, err)
		require.Equal(t, 3.0, f)
	}
	task.SetData("n", uint64(1<<63))
	_, err := task.GetInt("n")
	require.Error(t, err)
	task.SetData("s", text("x"))
	s, err := task.GetString("s")
	require.NoError(t, err)
	require.Equal(t, "x", s)
	task.SetData("a", []string{"x", "y"})
	a, err := task.GetArray("a")
	require.NoError(t, err)
	require.Equal(t, []any{"x", "y"}, a)
	task.SetData("s", nil)
	_, err = task.GetString("s")
	require.EqualError(t, err, `parameter "s": not defined`)

	changed := with(`{"to":"a","n":1}`)
	changed.SetData("n", 2)
	var p struct {
		To string `json:"to"`
		N  int    `json:"n"`
	}
	require.NoError(t, changed.Bind(&p))
	require.Equal(t, "a", p.To)
	require.Equal(t, 2, p.N)
	changed.SetData("n", make(chan int))
	require.ErrorContains(t, changed.Bind(&p), "chan int")
}

type picky struct {
	N int `json:"n"`
}

func (p *picky) Validate() error {
	if p.N > 10 {
		return &InputError{"n", "more than 10"}
	}
	if p.N < 0 {
		return errors.New("nothing to do")
	}
	return nil
}

func TestBind(t *testing.T) {
	t.Parallel()
	type inner struct {
		B int `json:"b"`
	}
	type params struct {
		To     string        `json:"to"`
		N      int8          `json:"n,omitempty"`
		F      float64       `json:"f,omitzero"`
		Flag   *bool         `json:"flag"`
		List   []string      `json:"list,omitempty"`
		Inner  inner         `json:"inner,omitzero"`
		At     time.Time     `json:"at,omitzero"`
		Wait   time.Duration `json:"wait,omitempty"`
		NoTag  string
		Ignore string `json:"-"`
		hidden string
	}
	for _, c := range []struct {
		name, params string
		want         params
		err          string
	}{
		{"all", `{"to":"x","n":1,"f":2,"list":["a"],"inner":{"b":3},"NoTag":"y","more":1}`,
			params{To: "x", N: 1, F: 2, List: []string{"a"}, Inner: inner{3}, NoTag: "y"}, ""},
		{"least", `{"to":"x","NoTag":"y"}`, params{To: "x", NoTag: "y"}, ""},
		{"names are exact", `{"to":"x","notag":"y"}`, params{}, `parameter "NoTag": not defined`},
		{"names in other letters are others", `{"to":"x","TO":1,"NoTag":"y"}`, params{To: "x", NoTag: "y"}, ""},
		{"empty is given", `{"to":"","NoTag":""}`, params{}, ""},
		{"missing", `{"NoTag":""}`, params{}, `parameter "to": not defined`},
		{"null", `{"to":null,"NoTag":""}`, params{}, `parameter "to": not defined`},
		{"missing without a tag", `{"to":"x"}`, params{}, `parameter "NoTag": not defined`},
		{"string", `{"to":3}`, params{}, `parameter "to": not a string`},
		{"integer", `{"n":"3"}`, params{}, `parameter "n": not an integer`},
		{"fraction", `{"n":3.5}`, params{}, `parameter "n": not an integer`},
		{"range", `{"n":300}`, params{}, `parameter "n": 300 is out of the range of int8`},
		{"number", `{"f":"x"}`, params{}, `parameter "f": not a number`},
		{"boolean", `{"flag":1}`, params{}, `parameter "flag": not a boolean`},
		{"array", `{"list":"x"}`, params{}, `parameter "list": not an array`},
		{"element", `{"list":["x",1]}`, params{}, `parameter "list[1]": not a string`},
		{"object", `{"inner":[]}`, params{}, `parameter "inner": not an object`},
		{"deep", `{"inner":{"b":"x"}}`, params{}, `parameter "inner.b": not an integer`},
		{"own decoder", `{"to":"x","at":"yesterday"}`, params{}, `parameter "at": parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`},
		{"no object", `[]`, params{}, `parameters: not a JSON object`},
		{"no JSON", `{`, params{}, `parameters: not a JSON object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var p params
			err := with(c.params).Bind(&p)
			if c.err == "" {
				require.NoError(t, err)
				require.Equal(t, c.want, p)
				require.Empty(t, p.hidden)
				return
			}
			require.EqualError(t, err, c.err)
			var input *InputError
			require.ErrorAs(t, err, &input)
		})
	}

	var p params
	p.To, p.NoTag = "default", "default"
	require.NoError(t, with(`{"to":"given"}`).Bind(&p))
	require.Equal(t, params{To: "given", NoTag: "default"}, p)

	var m map[string]any
	require.NoError(t, with(`{"a":"x"}`).Bind(&m))
	require.Equal(t, map[string]any{"a": "x"}, m)

	require.NoError(t, with(`{"n":10}`).Bind(&picky{}))
	require.EqualError(t, with(`{"n":11}`).Bind(&picky{}), `parameter "n": more than 10`)
	require.EqualError(t, with(`{"n":-1}`).Bind(&picky{}), `parameters: nothing to do`)

	require.ErrorContains(t, with(`{}`).Bind(params{}), "not a pointer")
	require.ErrorContains(t, with(`{}`).Bind((*params)(nil)), "not a pointer")
	require.ErrorContains(t, with(`{}`).Bind(nil), "not a pointer")
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{`{"p":1}`, `{"p":1e999}`, `{"P":"x","p":null}`, `{"p":[{"a":-0.0}]}`, `[`, `{"p":"\ud800"}`, "{\"p\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		task := &BaseTask{msg: &pluginpb.Task{Params: raw}}
		data, err := task.GetData("p", "default")
		if err != nil {
			require.False(t, json.Valid(raw) && raw[0] == '{', "%q: %v", raw, err)
			return
		}
		i, intErr := task.GetInt("p", 0)
		fl, floatErr := task.GetFloat("p", 0)
		if intErr == nil && floatErr == nil {
			require.InDelta(t, fl, float64(i), 1024) // what a float64 near 2^63 can tell apart
		}
		if s, err := task.GetString("p", "default"); err == nil {
			require.Equal(t, data, s)
		}
		var p struct {
			P any `json:"p,omitempty"`
		}
		_ = task.Bind(&p)
	})
}
