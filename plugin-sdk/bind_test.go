package sdk

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestPlainInteger(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "0", "0e999999999999": "0", "12": "12", "-12": "-12", "3.0": "3", "1e3": "1000",
		"1.5e1": "15", "150e-1": "15", "-1.50E+1": "-15", "0.001e3": "1", "9007199254740993.0": "9007199254740993",
		"3.5": "", "1e-1": "", "15e-2": "", "1e-999999999999": "", "1e999999999999": "1" + strings.Repeat("0", 30),
	} {
		got, ok := plainInteger(raw)
		require.Equal(t, want != "", ok, raw)
		require.Equal(t, want, got, raw)
	}
}

type ruled struct {
	Width  int             `json:"width" default:"640" min:"1" max:"4096"`
	Height uint16          `json:"height,omitempty" max:"10"`
	Angle  *float32        `json:"angle" min:"-0.5" max:"0.1"`
	Mode   string          `json:"mode" enum:"fast, good" default:"good"`
	Level  int8            `json:"level,omitempty" enum:"1,2,3"`
	Sizes  []int           `json:"sizes" default:"[1,2]" max:"9"`
	Wait   time.Duration   `json:"wait" default:"2s" min:"1s" max:"1m"`
	At     time.Time       `json:"at" default:"2026-01-02T03:04:05Z"`
	Crop   *crop           `json:"crop"`
	Crops  []crop          `json:"crops,omitempty"`
	ByName map[string]crop `json:"by_name,omitempty"`
	Pair   [2]int          `json:"pair,omitzero"`
	Maybe  []*int          `json:"maybe,omitempty"`
	origin
	*Extra
}

type crop struct {
	X int `json:"x" min:"0"`
	Y int `json:"y,omitempty" default:"7"`
}

type origin struct {
	From string `json:"from"`
	Mode string `json:"mode"` // hidden by the outer one
}

// Extra is embedded by pointer, so its type must be exported.
type Extra struct {
	Note string `json:"note"`
	Tag  string `json:"tag" default:"none"`
}

func TestBindRules(t *testing.T) {
	t.Parallel()
	least := func(change func(*ruled)) ruled {
		want := ruled{Width: 640, Mode: "good", Sizes: []int{1, 2}, Wait: 2 * time.Second,
			At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), origin: origin{From: "x"}, Extra: &Extra{Tag: "none"}}
		if change != nil {
			change(&want)
		}
		return want
	}
	one := 1
	for _, c := range []struct {
		name, params string
		want         func(*ruled) // what differs from the defaults
		err          string
	}{
		{"defaults", `{}`, nil, ""},
		{"null is not given", `{"width":null,"height":null,"angle":null,"mode":null,"crop":null,"at":null}`, nil, ""},
		{"least", `{"width":1}`, func(r *ruled) { r.Width = 1 }, ""},
		{"most", `{"width":4096.0}`, func(r *ruled) { r.Width = 4096 }, ""},
		{"too little", `{"width":0}`, nil, `parameter "width": 0 is less than 1`},
		{"too much", `{"width":4.097e3}`, nil, `parameter "width": 4.097e3 is more than 4096`},
		{"huge", `{"width":` + strings.Repeat("9", 1000) + `}`, nil, `parameter "width": ` + strings.Repeat("9", 100) + ` … (900 bytes left out) is out of the range of int`},
		{"negative of an unsigned", `{"height":-1}`, nil, `parameter "height": -1 is out of the range of uint16`},
		{"minus zero of an unsigned", `{"height":-0}`, nil, ""},
		{"float at its bound", `{"angle":0.1}`, func(r *ruled) { f := float32(0.1); r.Angle = &f }, ""},
		{"float too large", `{"angle":0.10001}`, nil, `parameter "angle": 0.10001 is more than 0.1`},
		{"float out of range", `{"angle":1e39}`, nil, `parameter "angle": 1e39 is out of the range of float32`},
		{"enumerated", `{"mode":"fast","level":3}`, func(r *ruled) { r.Mode, r.Level = "fast", 3 }, ""},
		{"not enumerated", `{"mode":"slow"}`, nil, `parameter "mode": "slow" is none of "fast", "good"`},
		{"given empty", `{"mode":""}`, nil, `parameter "mode": "" is none of "fast", "good"`},
		{"number not enumerated", `{"level":0}`, nil, `parameter "level": 0 is none of 1, 2, 3`},
		{"elements", `{"sizes":[9,-1]}`, func(r *ruled) { r.Sizes = []int{9, -1} }, ""},
		{"empty array", `{"sizes":[]}`, func(r *ruled) { r.Sizes = []int{} }, ""},
		{"element too large", `{"sizes":[1,10]}`, nil, `parameter "sizes[1]": 10 is more than 9`},
		{"null element", `{"sizes":[null]}`, nil, `parameter "sizes[0]": not an integer`},
		{"null element of pointers", `{"maybe":[null,1]}`, func(r *ruled) { r.Maybe = []*int{nil, &one} }, ""},
		{"duration", `{"wait":1000000000}`, func(r *ruled) { r.Wait = time.Second }, ""},
		{"duration too short", `{"wait":5}`, nil, `parameter "wait": 5 is less than 1000000000`},
		{"inner", `{"crop":{"x":0}}`, func(r *ruled) { r.Crop = &crop{0, 7} }, ""},
		{"inner missing", `{"crop":{}}`, nil, `parameter "crop.x": not defined`},
		{"in an array", `{"crops":[{"x":1},{"x":-1}]}`, nil, `parameter "crops[1].x": -1 is less than 0`},
		{"in a map", `{"by_name":{"a":{"x":1,"y":2}}}`, func(r *ruled) { r.ByName = map[string]crop{"a": {1, 2}} }, ""},
		{"wrong in a map", `{"by_name":{"a":{"x":1},"b":[]}}`, nil, `parameter "by_name.b": not an object`},
		{"array of fixed size", `{"pair":[1,2,3]}`, func(r *ruled) { r.Pair = [2]int{1, 2} }, ""},
		{"embedded", `{"from":"y","note":"n"}`, func(r *ruled) { r.From, r.Note = "y", "n" }, ""},
		{"embedded missing", `{"from":null}`, nil, `parameter "from": not defined`},
		{"date", `{"at":3}`, nil, `parameter "at": not a string`},
		{"the last of two counts", `{"width":"x","width":2}`, func(r *ruled) { r.Width = 2 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := c.params
			if !strings.Contains(params, `"from"`) {
				params = strings.Replace(params, "{", `{"from":"x",`, 1)
				params = strings.Replace(params, ",}", "}", 1)
			}
			var got ruled
			err := with(params).Bind(&got)
			if c.err == "" {
				require.NoError(t, err)
				require.Equal(t, least(c.want), got)
				return
			}
			require.EqualError(t, err, c.err)
			var input *InputError
			require.ErrorAs(t, err, &input)
		})
	}
}

func TestBindKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	got := ruled{Width: 100, ByName: map[string]crop{"a": {X: 1}}, origin: origin{From: "before"}}
	require.NoError(t, with(`{"by_name":{"b":{"x":2}}}`).Bind(&got))
	require.Equal(t, 100, got.Width, "not the tag's default")
	require.Equal(t, "before", got.From)
	require.Equal(t, map[string]crop{"a": {X: 1}, "b": {2, 7}}, got.ByName)
}

type node struct {
	Next *node  `json:"next"`
	List []node `json:"list,omitempty"`
}

func TestBindTypesThatContainThemselves(t *testing.T) {
	t.Parallel()
	var n node
	require.NoError(t, with(`{"next":{"list":[{"next":{}}]}}`).Bind(&n))
	require.NotNil(t, n.Next.List[0].Next)
	err := with(strings.Repeat(`{"next":`, 5000) + "1" + strings.Repeat("}", 5000)).Bind(&n)
	var input *InputError
	require.ErrorAs(t, err, &input)
	require.Equal(t, "nested more than 100 deep", input.Problem)
}

type (
	loop   []loop
	tagged []struct {
		T tagged `json:"t" min:"1"`
	}
	pointers *pointers
	self     struct{ *self }
	// Self embeds itself.
	Self struct{ *Self }
)

func TestAuthorsMistakes(t *testing.T) {
	t.Parallel()
	for want, dst := range map[string]any{
		`parameter "n": min is for numbers, not for string`: &struct {
			N string `json:"n" min:"1"`
		}{},
		`parameter "n": max:"x": not an integer`: &struct {
			N int `json:"n" max:"x"`
		}{},
		`parameter "n": max:"1.5": not an integer`: &struct {
			N int `json:"n" max:"1.5"`
		}{},
		`parameter "n": min:"NaN": not a number`: &struct {
			N float64 `json:"n" min:"NaN"`
		}{},
		`parameter "n": max:"300": 300 is out of the range of int8`: &struct {
			N int8 `json:"n" max:"300"`
		}{},
		`parameter "n": min is 2, which is more than max, 1`: &struct {
			N int `json:"n" min:"2" max:"1"`
		}{},
		`parameter "n": enum is for strings and numbers, not for bool`: &struct {
			N bool `json:"n" enum:"true"`
		}{},
		`parameter "n": enum "b": not an integer`: &struct {
			N int `json:"n" enum:"1,b"`
		}{},
		`default of parameter "n": 11 is more than 10`: &struct {
			N int `json:"n" default:"11" max:"10"`
		}{},
		`default of parameter "n": "c" is none of "a", "b"`: &struct {
			N string `json:"n" default:"c" enum:"a,b"`
		}{},
		`default of parameter "n": not an integer`: &struct {
			N int `json:"n" default:"true"`
		}{},
		`parameter "n": default:"x" is not a JSON value`: &struct {
			N []int `json:"n" default:"x"`
		}{},
		`parameter "n": the option string of the json tag is not supported`: &struct {
			N int `json:"n,string"`
		}{},
		`parameter "n": chan int cannot be decoded from JSON`: &struct {
			N chan int `json:"n"`
		}{},
		`parameter "n": io.Reader cannot be decoded: it is an interface with methods`: &struct {
			N io.Reader `json:"n"`
		}{},
		`parameter "n": map[int]int cannot be decoded: its keys are not strings`: &struct {
			N map[int]int `json:"n"`
		}{},
		`parameter "t": parameter "t": min is for numbers, not for sdk.tagged`: &struct {
			T tagged `json:"t"`
		}{},
		`sdk.pointers points to itself`: new(pointers),
		`sdk.Self embeds itself`:        &Self{},
		`field self of sdk.self is an embedded pointer that cannot be set: export its type`: &self{},
	} {
		err := with(`{}`).Bind(dst)
		require.EqualError(t, err, "bind: "+want)
		require.NotErrorIs(t, err, &InputError{})
	}
}

func TestMistakesInTheParametersOfAPlugin(t *testing.T) {
	t.Parallel()
	type wrong struct {
		N int `json:"n" min:"x"`
	}
	f := Func("t.f", "", func(context.Context, *BaseTask, wrong) error { return nil })
	p := &Plugin{Name: "p", Tasks: []TaskType{f}}
	mistake := `plugin "p": task type "t.f": the type of its parameters: parameter "n": min:"x": not an integer`
	require.EqualError(t, p.checkParams(), mistake)
	_, err := newService(p, nil).Describe(t.Context(), nil)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.ErrorContains(t, err, mistake)
	require.Contains(t, Try(context.Background(), f, nil).Failure.Message, `bind: parameter "n"`)

	for want, params := range map[string]any{
		"WithParams of nil":      nil,
		"which int cannot hold":  1,
		"which loop cannot hold": loop{},
		"at most 262144":         map[string]string{"never": "used"},
	} {
		typ := Type[noop]("t.noop", "").WithParams(params)
		if want == "at most 262144" {
			typ = Type[noop]("t.noop", "").WithParams(struct {
				S string `json:"s"`
			}{strings.Repeat("x", maxSchemaBytes)})
		}
		require.ErrorContains(t, (&Plugin{Name: "p", Tasks: []TaskType{typ}}).checkParams(), strings.Replace(want, "loop", "sdk.loop", 1))
	}
}

func BenchmarkBind(b *testing.B) {
	type mail struct {
		To      string   `json:"to"`
		Subject string   `json:"subject"`
		Copies  []string `json:"copies,omitempty"`
		Urgent  bool     `json:"urgent,omitempty"`
	}
	task := with(`{"to":"somebody@example.org","subject":"hello","copies":["a@example.org","b@example.org"]}`)
	b.Run("Bind", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m mail
			if err := task.Bind(&m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json.Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m mail
			if err := json.Unmarshal(task.msg.Params, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}
