// Package settings holds the value types that configuration structs are made of, so that
// a back end can declare its settings without knowing the configuration language.
//
// A settings struct is a plain struct whose fields carry tags:
//
//	Path settings.Path `config:"path" doc:"The database file."`
//	Key  string        `config:"key,required" doc:"…"`
//	Connection Connection `config:"connection,block" doc:"…"`
//
// Its defaults are the values that the field has before decoding. Fields may be string,
// bool, int, int64, float64, time.Duration (seconds, or a text like "1m30s"), []string,
// map[string]string, the types of this package, and, with ",block", a struct (or pointer
// to one, nil where the block is absent) of the same form. The fields of an embedded
// struct stand among those of the struct around it.
//
// ",required" refuses a configuration that leaves the field at its zero value; ",secret"
// keeps the values of a list or map from being shown, as Secret does for a text (the
// elements may be Secrets too). More tags, all optional: oneof:"a|b" are the texts allowed,
// min:"1" and max:"10m" the least and greatest number, duration or amount, and
// default:"the host's name" is the default in words, for the reference.
package settings

// Path is a file or folder; a relative one is taken from the configuration file's folder.
type Path string

// A FileWriter is a settings struct of something that writes files: whoever confines the
// program must let it.
type FileWriter interface {
	// Writes returns the files that are written.
	Writes() []Path
}

// Bytes is an amount of memory or disk: a number of bytes, or a text like "256MiB".
type Bytes int64

// Secret is a text that must not be shown: it prints as asterisks wherever it lands.
// Reveal gives the text itself.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the secret from JSON and from text encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
