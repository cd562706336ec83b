package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
)

const (
	// savedName is the file of a state folder that says what a plugin folder serves.
	savedName = "types.json"
	// savedVersion is the version of its form; one of another version is not read.
	savedVersion = 1
	// maxSaved is the longest such file that is read, in bytes.
	maxSaved = 64 << 20
)

// saved is what a host leaves in its state folder for programs beside it, such as
// leptirctl, which then need not start the plugins to know what they serve.
type saved struct {
	Version int                  `json:"v"`
	Dir     string               `json:"dir"`
	Files   map[string]savedFile `json:"files"`
	Types   map[string]KnownType `json:"types"`
	At      time.Time            `json:"at"`
	Plugins []KnownPlugin        `json:"plugins"`
}

// savedFile tells a file of the plugin folder from what has been put in its place since.
type savedFile struct {
	Target string `json:"target"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"`
	Ctime  int64  `json:"ctime"`
}

func saveFile(f fingerprint) savedFile {
	return savedFile{f.target, f.dev, f.ino, f.size, f.mtime.Nano(), f.ctime.Nano()}
}

// A KnownType is a task type as programs beside a host know it.
type KnownType struct {
	Plugin       string          `json:"plugin"` // the name of its file
	Doc          string          `json:"doc,omitempty"`
	ParamsSchema json.RawMessage `json:"params_schema,omitempty"`
	Revertible   bool            `json:"revertible,omitempty"`
}

// A KnownPlugin is a plugin as programs beside a host know it: a Plugin without what only
// the host can use.
type KnownPlugin struct {
	Name       string    `json:"name"`
	Path       string    `json:"path"`
	Status     Status    `json:"status"`
	Problem    string    `json:"problem,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	Generation int       `json:"generation,omitempty"`
	SHA256     string    `json:"sha256,omitempty"`
	Version    string    `json:"version,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	SDKVersion string    `json:"sdk_version,omitempty"`
	Types      []string  `json:"types,omitempty"` // those that it runs
}

// Known returns the plugins for programs beside the host, by name.
func (s *Snapshot) Known() []KnownPlugin {
	all := make([]KnownPlugin, len(s.Plugins))
	for i, p := range s.Plugins {
		all[i] = KnownPlugin{Name: p.Name, Path: p.Path, Status: p.Status, Problem: p.Problem, Since: p.Since.UTC(),
			Generation: p.Generation, SHA256: p.SHA256, Version: p.Version, Commit: p.Commit, SDKVersion: p.SDKVersion}
		for _, t := range p.Types {
			if t.ServedBy == "" {
				all[i].Types = append(all[i].Types, t.Name)
			}
		}
	}
	return all
}

// Types returns the task types that are served, by name.
func (s *Snapshot) Types() map[string]KnownType {
	known := make(map[string]KnownType, len(s.byType))
	for i := range s.Plugins {
		p := &s.Plugins[i]
		for _, t := range p.Types {
			if by, ok := s.byType[t.Name]; ok && by == i {
				known[t.Name] = KnownType{Plugin: p.Name, Doc: t.Doc, ParamsSchema: t.ParamsSchema, Revertible: t.Revertible}
			}
		}
	}
	return known
}

// Save writes down in a state folder what the plugin folder dir serves, for Saved.
func (s *Snapshot) Save(stateDir, dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write down what plugins serve: %w", err)
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	out := saved{Version: savedVersion, Dir: dir, Files: map[string]savedFile{}, Types: s.Types(), At: time.Now().UTC(), Plugins: s.Known()}
	for i := range s.Plugins {
		out.Files[s.Plugins[i].Name] = saveFile(s.Plugins[i].verdict)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(stateDir, "."+savedName+"-*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(stateDir, savedName))
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Saved returns the task types that the plugin folder dir serves, by name, as far as that
// is known without starting a plugin: known is false if nothing has been written down in
// the state folder, or the plugin folder has changed since. A folder that is missing or
// has no plugin in it serves nothing, and that is known. An error is one of reading the
// plugin folder.
func Saved(stateDir, dir string) (types map[string]KnownType, known bool, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, false, fmt.Errorf("plugin folder %q: %w", dir, err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	list, _, err := (&folder{path: dir, uid: uint32(os.Geteuid())}).list()
	if err != nil || len(list) == 0 {
		return nil, err == nil, err
	}
	s := readSaved(stateDir)
	if s == nil || s.Dir != dir {
		return nil, false, nil
	}
	now := map[string]savedFile{}
	for _, f := range list {
		now[f.name] = saveFile(f.print)
	}
	if !maps.Equal(now, s.Files) {
		return nil, false, nil
	}
	return s.Types, true, nil
}

// SavedPlugins returns the plugins as a host of that state folder has last written them
// down, and when; none at the zero time if it has written nothing.
func SavedPlugins(stateDir string) ([]KnownPlugin, time.Time) {
	s := readSaved(stateDir)
	if s == nil {
		return nil, time.Time{}
	}
	return s.Plugins, s.At
}

// readSaved reads what a host has left; nil if there is nothing that can be used.
func readSaved(stateDir string) *saved {
	file, err := os.Open(filepath.Join(stateDir, savedName))
	if err != nil {
		return nil
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxSaved {
		return nil
	}
	var s saved
	if json.NewDecoder(file).Decode(&s) != nil || s.Version != savedVersion {
		return nil
	}
	return &s
}
