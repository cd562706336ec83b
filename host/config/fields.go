package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/backplane/leptir/internal/settings"
)

// form says how the value of an attribute is written.
type form int

const (
	formText form = iota + 1
	formPath
	formSecret
	formBool
	formInt
	formFloat
	formDuration
	formBytes
	formList  // of texts
	formMap   // of texts
	formBlock // a nested block
)

// String returns the form in words, for error messages and the reference.
func (f form) String() string {
	return [...]string{"", "text", "path", "text", "true or false", "whole number", "number",
		"duration", "amount of bytes", "list of texts", "map of texts", "block"}[f]
}

// field is one field of a settings struct, as its tags describe it:
//
//	config:"name[,required][,secret][,block]"
//	doc:"one or two sentences"
//	oneof:"a|b"          the texts allowed
//	min:"1" max:"10m"    the numbers, durations or amounts allowed
//	default:"the host's" the default in words, for the reference
type field struct {
	index    []int
	name     string
	form     form
	required bool
	secret   bool // its value is not shown
	pointer  bool // a block that may be absent
	doc      string
	oneOf    []string
	min, max string
	defaults string
}

// fieldsOf returns the fields of the struct type t that have a config tag, those of
// embedded structs included. An error is a mistake in the program.
func fieldsOf(t reflect.Type) ([]field, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings are a %s, not a struct", t)
	}
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("config")
		if !tagged {
			if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
				inner, err := fieldsOf(sf.Type)
				if err != nil {
					return nil, err
				}
				for _, f := range inner {
					f.index = append([]int{i}, f.index...)
					fields = append(fields, f)
				}
			}
			continue
		}
		f, err := fieldOf(sf, tag)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", sf.Name, t, err)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func fieldOf(sf reflect.StructField, tag string) (field, error) {
	name, options, _ := strings.Cut(tag, ",")
	f := field{
		index:    sf.Index,
		name:     name,
		doc:      sf.Tag.Get("doc"),
		min:      sf.Tag.Get("min"),
		max:      sf.Tag.Get("max"),
		defaults: sf.Tag.Get("default"),
	}
	if s := sf.Tag.Get("oneof"); s != "" {
		f.oneOf = strings.Split(s, "|")
	}
	block := false
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "required":
			f.required = true
		case "secret":
			f.secret = true
		case "block":
			block = true
		default:
			return field{}, fmt.Errorf("config tag has the unknown option %q", option)
		}
	}
	if !sf.IsExported() {
		return field{}, fmt.Errorf("it has a config tag and is not exported")
	}
	t := sf.Type
	if block {
		f.form = formBlock
		if t.Kind() == reflect.Pointer {
			f.pointer, t = true, t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return field{}, fmt.Errorf("a block cannot be a %s", sf.Type)
		}
		return f, nil
	}
	f.form = formOf(t)
	if f.form == 0 {
		return field{}, fmt.Errorf("an attribute cannot be a %s", t)
	}
	switch f.form {
	case formSecret:
		f.secret = true
	case formList, formMap:
		f.secret = f.secret || t.Elem() == reflect.TypeFor[settings.Secret]()
	}
	return f, nil
}

// formOf returns the form of the values of a type, 0 if there is none.
func formOf(t reflect.Type) form {
	switch t {
	case reflect.TypeFor[settings.Path]():
		return formPath
	case reflect.TypeFor[settings.Secret]():
		return formSecret
	case reflect.TypeFor[settings.Bytes]():
		return formBytes
	case reflect.TypeFor[time.Duration]():
		return formDuration
	}
	switch t.Kind() {
	case reflect.String:
		return formText
	case reflect.Bool:
		return formBool
	case reflect.Int, reflect.Int64:
		return formInt
	case reflect.Float64:
		return formFloat
	case reflect.Slice:
		if isText(t.Elem()) {
			return formList
		}
	case reflect.Map:
		if t.Key() == reflect.TypeFor[string]() && isText(t.Elem()) {
			return formMap
		}
	}
	return 0
}

// isText reports whether a type can be an element of a list or map.
func isText(t reflect.Type) bool {
	return t == reflect.TypeFor[string]() || t == reflect.TypeFor[settings.Secret]()
}

// eachField calls do with every attribute field of a settings struct and its value,
// nested blocks included.
func eachField(v reflect.Value, do func(field, reflect.Value)) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return // reported where the struct is decoded
	}
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		switch {
		case f.form != formBlock:
			do(f, fv)
		case !f.pointer:
			eachField(fv, do)
		case !fv.IsNil():
			eachField(fv.Elem(), do)
		}
	}
}

// hasSecret reports whether a settings struct type has a field that must not be shown.
func hasSecret(t reflect.Type) bool {
	fields, err := fieldsOf(t)
	if err != nil {
		return true
	}
	for _, f := range fields {
		if f.secret {
			return true
		}
		if f.form == formBlock {
			inner := t.FieldByIndex(f.index).Type
			if f.pointer {
				inner = inner.Elem()
			}
			if hasSecret(inner) {
				return true
			}
		}
	}
	return false
}
