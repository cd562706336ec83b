package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Status says how a plugin stands: a closed set, the same in the API, metrics and logs.
type Status string

// The statuses. Tasks run on a plugin that is StatusReady or StatusConflict.
const (
	// StatusProbing: new; it is being copied, or asked what it serves.
	StatusProbing Status = "probing"
	// StatusReady: served.
	StatusReady Status = "ready"
	// StatusConflict: served, but for the types that another plugin served before.
	StatusConflict Status = "conflict"
	// StatusBroken: not served, because the binary does not do.
	StatusBroken Status = "broken"
	// StatusRefused: not served, because of its file's kind, owner or permissions; it
	// has not been started.
	StatusRefused Status = "refused"
)

// Type is one task type that a plugin says it can run.
type Type struct {
	// Name is the type, for example "mailer.send". It is valid by task.ValidateType.
	Name string
	// Doc is one sentence about it, for people; often empty.
	Doc string
	// ParamsSchema is the JSON Schema of its parameters; nil: anything goes. It is valid
	// JSON, whether it is a schema nobody has checked.
	ParamsSchema json.RawMessage
	// Revertible says that the plugin can be asked for the task that undoes one.
	Revertible bool
	// ServedBy names the other plugin that runs this type, because it came first; empty
	// where this plugin does.
	ServedBy string
}

// Plugin is one file of the plugin folder, and what is served of it. From Staged to
// SDKVersion the fields are about the binary that is served, which is not always the one
// that lies in the folder (see Problem); they are zero where none is.
type Plugin struct {
	// Name is the file's name, Path the file.
	Name string
	Path string
	// Staged is the private copy of the binary, the one to start.
	Staged string
	// SHA256 is the binary's, in hexadecimal.
	SHA256 string
	// Generation counts the binaries that were served under this name since the host
	// has started. It rises whenever another one takes over, also when that one is an
	// earlier one come back.
	Generation int
	// Types are sorted by name. They must not be changed. An error reporter may have none.
	Types []Type
	// ErrorReporter says that it can be used as an error reporter, too, or, where there
	// are no Types, only as one.
	ErrorReporter bool
	// Version, Commit and SDKVersion are what the plugin says of itself, cleaned of
	// everything that could not be shown; each may be empty.
	Version, Commit, SDKVersion string
	Status                      Status
	// Problem says, for people, what is wrong: why nothing is served, why the newest
	// binary is not, or which types another plugin serves. Empty where all is well.
	Problem string
	// Since is when Status, Problem and Generation have become what they are.
	Since time.Time

	// verdict is about the file of this fingerprint; zero while one is to be reached.
	verdict fingerprint
}

// Serving reports whether tasks can run on the plugin.
func (p *Plugin) Serving() bool { return p.Status == StatusReady || p.Status == StatusConflict }

// Snapshot is what the plugin folder held at one moment. It never changes.
type Snapshot struct {
	// Plugins are sorted by name. They must not be changed.
	Plugins []Plugin
	// Problem says why the folder cannot be read now; Plugins is what it held before.
	// Empty where all is well.
	Problem string

	byType map[string]int
}

// NewSnapshot returns a snapshot of the given plugins, which it sorts. A type belongs to
// the first plugin that is served and lists it without a ServedBy.
func NewSnapshot(plugins []Plugin) *Snapshot {
	s := &Snapshot{Plugins: plugins, byType: map[string]int{}}
	slices.SortFunc(s.Plugins, func(a, b Plugin) int { return strings.Compare(a.Name, b.Name) })
	for i := range s.Plugins {
		if !s.Plugins[i].Serving() {
			continue
		}
		for _, t := range s.Plugins[i].Types {
			if _, taken := s.byType[t.Name]; !taken && t.ServedBy == "" {
				s.byType[t.Name] = i
			}
		}
	}
	return s
}

// ForType returns the plugin that runs tasks of the given type, and whether there is one.
func (s *Snapshot) ForType(taskType string) (Plugin, bool) {
	i, ok := s.byType[taskType]
	if !ok {
		return Plugin{}, false
	}
	return s.Plugins[i], true
}

// Plugin returns the plugin of that name, and whether there is one, served or not.
func (s *Snapshot) Plugin(name string) (Plugin, bool) {
	i, ok := slices.BinarySearchFunc(s.Plugins, name, func(p Plugin, name string) int { return strings.Compare(p.Name, name) })
	if !ok {
		return Plugin{}, false
	}
	return s.Plugins[i], true
}

// equal reports whether two snapshots say the same, but for Since.
func (s *Snapshot) equal(o *Snapshot) bool {
	return s.Problem == o.Problem && slices.EqualFunc(s.Plugins, o.Plugins, func(a, b Plugin) bool {
		return a.Name == b.Name && a.same(&b) &&
			slices.EqualFunc(a.Types, b.Types, func(a, b Type) bool { return a.Name == b.Name && a.ServedBy == b.ServedBy })
	})
}

// same reports whether Since of two states of one plugin is one time.
func (p *Plugin) same(o *Plugin) bool {
	return p.Status == o.Status && p.Problem == o.Problem && p.Generation == o.Generation
}
