package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Bind decodes the parameters into the struct (or map) that dst points to, after the rules
// of encoding/json. Every exported field of the struct must be given, unless
//
//   - its tag says omitempty or omitzero,
//   - it is a pointer, or
//   - it holds a value other than zero already: that is its default.
//
// Parameters that the struct does not have are ignored. A *struct with a method
// Validate() error is asked at the end; what it returns becomes the error. The error is an
// *InputError that names the parameter.
func (t *BaseTask) Bind(dst any) error {
	raw, err := t.rawParams()
	if err != nil {
		return err
	}
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("bind: %T is not a pointer to a struct or map", dst)
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		return bindError(raw, v.Type().Elem(), err)
	}
	if v = v.Elem(); v.Kind() == reflect.Struct {
		if err := missing(raw, v); err != nil {
			return err
		}
	}
	if d, ok := dst.(interface{ Validate() error }); ok {
		if err := d.Validate(); err != nil {
			var input *InputError
			if errors.As(err, &input) {
				return err
			}
			return &InputError{Problem: err.Error()}
		}
	}
	return nil
}

// rawParams returns the parameters as JSON, with the changes of SetData.
func (t *BaseTask) rawParams() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.params.changed {
		raw, err := json.Marshal(t.params.values)
		if err != nil {
			return nil, fmt.Errorf("bind: a value of SetData: %w", err)
		}
		return raw, nil
	}
	if raw := t.msg.GetParams(); len(raw) > 0 {
		return raw, nil
	}
	return []byte("{}"), nil
}

// missing reports the first field of v that has no value and must have one.
func missing(raw []byte, v reflect.Value) error {
	var given map[string]json.RawMessage
	for i := range v.NumField() {
		name, must := mustBeGiven(v.Type().Field(i))
		if !must || !v.Field(i).IsZero() {
			continue
		}
		if given == nil {
			if err := json.Unmarshal(raw, &given); err != nil {
				return &InputError{Problem: "not a JSON object"}
			}
		}
		if !has(given, name) {
			return &InputError{Param: name, Problem: "not defined"}
		}
	}
	return nil
}

// mustBeGiven returns the name of a field's parameter and whether it must be given.
func mustBeGiven(f reflect.StructField) (name string, must bool) {
	tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	options = "," + options + ","
	switch {
	case !f.IsExported(), tag == "-" && options == ",,", f.Anonymous && tag == "",
		f.Type.Kind() == reflect.Pointer,
		strings.Contains(options, ",omitempty,"), strings.Contains(options, ",omitzero,"):
		return "", false
	case tag == "":
		return f.Name, true
	}
	return tag, true
}

// has reports whether name is given, in any case of letters as encoding/json matches it.
func has(given map[string]json.RawMessage, name string) bool {
	v, ok := given[name]
	for k := range given {
		if !ok && strings.EqualFold(k, name) {
			v, ok = given[k], true
		}
	}
	return ok && string(v) != "null"
}

// bindError says in an InputError what json.Unmarshal of raw to a value of type typ found.
func bindError(raw []byte, typ reflect.Type, err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field == "" {
			return &InputError{Problem: "not a JSON object"}
		}
		return &InputError{Param: wrong.Field, Problem: wanted(wrong)}
	}
	// A field's own UnmarshalJSON or UnmarshalText; it does not say whose.
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return &InputError{Problem: "not a JSON object"}
	}
	for name, value := range given {
		one, encErr := json.Marshal(map[string]json.RawMessage{name: value})
		if encErr == nil && json.Unmarshal(one, reflect.New(typ).Interface()) != nil {
			return &InputError{Param: name, Problem: err.Error()}
		}
	}
	return &InputError{Problem: err.Error()}
}

// wanted says what a parameter of the wrong type should have been.
func wanted(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := strings.CutPrefix(e.Value, "number "); ok && !strings.ContainsAny(n, ".eE") {
			return fmt.Sprintf("%s is out of the range of %v", n, e.Type)
		}
		return "not an integer"
	case reflect.Float32, reflect.Float64:
		return "not a number"
	case reflect.String:
		return "not a string"
	case reflect.Bool:
		return "not a boolean"
	case reflect.Slice, reflect.Array:
		return "not an array"
	case reflect.Struct, reflect.Map:
		return "not an object"
	}
	return fmt.Sprintf("%s does not fit %v", e.Value, e.Type)
}
