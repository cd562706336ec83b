package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
)

// params are a task's parameters. They are decoded when one is first asked for; values
// are what JSON has (string, bool, []any, map[string]any), with numbers as int where they
// are written as one that fits, else as float64.
type params struct {
	values  map[string]any
	err     error
	decoded bool
	changed bool // SetData was used: the JSON text is out of date
}

// load decodes the parameters once. The lock of the task is held.
func (t *BaseTask) load() (map[string]any, error) {
	p := &t.params
	if !p.decoded {
		p.decoded = true
		p.values, p.err = decodeParams(t.msg.GetParams())
	}
	return p.values, p.err
}

func decodeParams(raw []byte) (map[string]any, error) {
	values := map[string]any{}
	if len(raw) == 0 {
		return values, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil {
		return nil, &InputError{Problem: "not a JSON object"}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &InputError{Problem: "not one JSON object"}
	}
	if values == nil { // the text was "null"
		values = map[string]any{}
	}
	for k, v := range values {
		values[k] = plainNumbers(v)
	}
	return values, nil
}

// plainNumbers replaces the json.Numbers in v by int or float64.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.Atoi(v.String()); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil { // beyond a float64
			return v
		}
		return f
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}

// param returns the value of a parameter as convert reads it, or the default where it is
// not set (or null), or an *InputError.
func param[V any](t *BaseTask, name string, def []V, convert func(any) (V, string)) (V, error) {
	var none V
	t.mu.Lock()
	defer t.mu.Unlock()
	values, err := t.load()
	if err != nil {
		return none, err
	}
	raw := values[name]
	if raw == nil {
		if len(def) > 0 {
			return def[0], nil
		}
		return none, &InputError{Param: name, Problem: "not defined"}
	}
	v, problem := convert(raw)
	if problem != "" {
		return none, &InputError{Param: name, Problem: problem}
	}
	return v, nil
}

// GetInt returns the parameter name as an integer; a number without a fraction (3.0) is
// one, a string ("3") is not. Where it is not defined the default is returned, if there
// is one. The error is an *InputError.
func (t *BaseTask) GetInt(name string, def ...int) (int, error) {
	return param(t, name, def, toInt)
}

// GetFloat returns the parameter name as a number. See GetInt about the default and the
// error.
func (t *BaseTask) GetFloat(name string, def ...float64) (float64, error) {
	return param(t, name, def, toFloat)
}

// GetString returns the parameter name as a string; numbers are none. See GetInt about
// the default and the error.
func (t *BaseTask) GetString(name string, def ...string) (string, error) {
	return param(t, name, def, func(v any) (string, string) {
		if s, ok := v.(string); ok {
			return s, ""
		}
		if r := reflect.ValueOf(v); r.Kind() == reflect.String && r.Type() != numberType {
			return r.String(), ""
		}
		return "", "not a string"
	})
}

// GetBool returns the parameter name as true or false; numbers and strings are neither.
// See GetInt about the default and the error.
func (t *BaseTask) GetBool(name string, def ...bool) (bool, error) {
	return param(t, name, def, func(v any) (bool, string) {
		if r := reflect.ValueOf(v); r.Kind() == reflect.Bool {
			return r.Bool(), ""
		}
		return false, "not a boolean"
	})
}

// GetArray returns the parameter name as an array, whose elements are what GetData
// returns. See GetInt about the default and the error.
func (t *BaseTask) GetArray(name string, def ...[]any) ([]any, error) {
	return param(t, name, def, func(v any) ([]any, string) {
		if a, ok := v.([]any); ok {
			return a, ""
		}
		r := reflect.ValueOf(v)
		if r.Kind() != reflect.Slice && r.Kind() != reflect.Array {
			return nil, "not an array"
		}
		a := make([]any, r.Len())
		for i := range a {
			a[i] = r.Index(i).Interface()
		}
		return a, ""
	})
}

// GetData returns the parameter name as it is: a string, bool, int, float64, []any or
// map[string]any, or whatever SetData set. See GetInt about the default and the error.
func (t *BaseTask) GetData(name string, def ...any) (any, error) {
	return param(t, name, def, func(v any) (any, string) { return v, "" })
}

// SetData sets the parameter name for the rest of this run; nil makes it undefined. It
// does not reach the queue: another attempt starts with the original parameters.
func (t *BaseTask) SetData(name string, value any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	values, err := t.load()
	if err != nil {
		// Parameters that cannot be read are replaced by those that are set.
		values = map[string]any{}
		t.params.values, t.params.err = values, nil
	}
	values[name] = value
	t.params.changed = true
}

var numberType = reflect.TypeFor[json.Number]()

func toInt(v any) (int, string) {
	if i, ok := v.(int); ok {
		return i, ""
	}
	const tooLarge = "not an integer that fits 64 bits"
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return int(r.Int()), ""
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		if r.Uint() > math.MaxInt {
			return 0, tooLarge
		}
		return int(r.Uint()), ""
	case reflect.Float32, reflect.Float64:
		f := r.Float()
		switch {
		case f != math.Trunc(f) || math.IsInf(f, 0): // NaN too
			return 0, "not an integer"
		case f < math.MinInt64 || f >= math.MaxInt64:
			return 0, tooLarge
		}
		return int(f), ""
	case reflect.String:
		if r.Type() == numberType {
			return 0, tooLarge
		}
	}
	return 0, "not an integer"
}

func toFloat(v any) (float64, string) {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Float32, reflect.Float64:
		return r.Float(), ""
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return float64(r.Int()), ""
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return float64(r.Uint()), ""
	case reflect.String:
		if r.Type() == numberType {
			return 0, "not a number that fits a float64"
		}
	}
	return 0, "not a number"
}
