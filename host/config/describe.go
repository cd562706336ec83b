package config

import (
	"reflect"

	"github.com/backplane/leptir/internal/registry"
)

// BlockDoc describes a block of the file, or the top level itself.
type BlockDoc struct {
	// Name is what the block is called, "" of the top level.
	Name string
	// Kind is the kind that the block is described for, "" where there are none.
	Kind string
	// Labels says in words what each label of the block is.
	Labels []string
	// Doc is a sentence or two.
	Doc string
	// Attributes are in the order of the reference: what all kinds share comes first.
	Attributes []AttributeDoc
	// Blocks are the blocks inside.
	Blocks []BlockDoc
	// Many says that the block may be there more than once.
	Many bool
}

// AttributeDoc describes an attribute.
type AttributeDoc struct {
	Name string
	// Type is what its value is, in words: "duration", "list of texts".
	Type string
	// Default is the default as it would be written in a file, or, if DefaultInWords, a
	// description of it; "" where there is none.
	Default        string
	DefaultInWords bool
	Required       bool
	// Secret says that the value is never shown.
	Secret bool
	// OneOf are the texts allowed, where it is not any text.
	OneOf []string
	// Min and Max are the least and the greatest value, "" where there is no limit. Where
	// Min is "", amounts, durations and sizes are 0 at least.
	Min, Max string
	Doc      string
}

// Describe returns the reference of the configuration file for a program with the given
// kinds: the top level, the host and admin blocks, a block for each kind, the plugin block.
func Describe(kinds Kinds) []BlockDoc {
	host := defaultHost()
	plugin := pluginDefaults(host)
	docs := []BlockDoc{
		describe(BlockDoc{Doc: "What stands outside all blocks."}, &topLevel{}),
		describe(BlockDoc{Name: blockHost, Doc: "The host itself."}, &host),
		describe(BlockDoc{Name: blockAdmin, Doc: "Where the host answers those who look after it."}, &Admin{}),
	}
	broker, store := defaultBrokerCommon(), defaultMetaStorageCommon()
	docs = append(docs, describeKinds(blockBroker, kinds.Brokers, &broker)...)
	docs = append(docs, describeKinds(blockMetaStorage, kinds.MetaStorages, &store)...)
	docs = append(docs, describeKinds(blockLogger, kinds.Loggers)...)
	reporting := defaultErrorReportingCommon()
	docs = append(docs, describeKinds(blockErrorReporting, kinds.ErrorReporting, &reporting)...)
	return append(docs, describe(BlockDoc{
		Name:   blockPlugin,
		Labels: []string{"the plugin: its file name without an ending"},
		Many:   true,
		Doc:    "What holds for one plugin. A plugin without a block has the defaults.",
	}, &plugin))
}

func describeKinds[S any](block string, kinds *registry.Registry[S], common ...any) []BlockDoc {
	if kinds == nil {
		return nil
	}
	var docs []BlockDoc
	for _, name := range kinds.Names() {
		kind, _ := kinds.Kind(name)
		doc := BlockDoc{
			Name:   block,
			Kind:   name,
			Labels: []string{"its kind", "its name"},
			Doc:    kind.Doc,
			Many:   true,
		}
		docs = append(docs, describe(doc, append(append([]any(nil), common...), kind.New())...))
	}
	return docs
}

// describe adds the attributes and blocks of settings structs to a block's doc.
func describe(doc BlockDoc, settings ...any) BlockDoc {
	for _, s := range settings {
		describeStruct(&doc, reflect.Indirect(reflect.ValueOf(s)))
	}
	return doc
}

func describeStruct(doc *BlockDoc, v reflect.Value) {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return // reported where the struct is decoded
	}
	for _, f := range fields {
		value := v.FieldByIndex(f.index)
		if f.form != formBlock {
			doc.Attributes = append(doc.Attributes, describeField(f, value))
			continue
		}
		if f.pointer && value.IsNil() {
			value = reflect.New(value.Type().Elem())
		}
		inner := BlockDoc{Name: f.name, Doc: f.doc}
		describeStruct(&inner, reflect.Indirect(value))
		doc.Blocks = append(doc.Blocks, inner)
	}
}

func describeField(f field, value reflect.Value) AttributeDoc {
	doc := AttributeDoc{
		Name:     f.name,
		Type:     f.form.String(),
		Required: f.required,
		Secret:   f.secret,
		OneOf:    f.oneOf,
		Min:      f.min,
		Max:      f.max,
		Doc:      f.doc,
	}
	switch {
	case f.defaults != "":
		doc.Default, doc.DefaultInWords = f.defaults, true
	case !f.required && !(value.IsZero() && emptyIsNone(f.form)):
		doc.Default = literal(f, value, "")
	}
	return doc
}

// emptyIsNone reports whether the zero value of a form means that nothing is set.
func emptyIsNone(f form) bool {
	switch f {
	case formText, formPath, formSecret, formList, formMap:
		return true
	}
	return false
}
