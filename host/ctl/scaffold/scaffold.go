// Package scaffold writes the beginnings of a plugin: a small Go module that compiles, with
// a task, its test and a Makefile. It owns the templates, and knows nothing of command
// lines.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// sdkModule is the module that the plugin SDK is part of.
const sdkModule = "github.com/backplane/leptir"

// goVersion is the Go version of a plugin whose SDK's is not at hand.
const goVersion = "1.26.0"

//go:embed plugin/*.tmpl
var templates embed.FS

// renamed are the files whose name cannot be that of a template: of a .gitignore git would
// think that it is meant.
var renamed = map[string]string{"gitignore": ".gitignore"}

// Plugin says what plugin to write.
type Plugin struct {
	// Name is the plugin's, its binary's and the first part of its task type's name.
	Name string
	// Module is the Go module's path; empty: example.com/NAME.
	Module string
	// Dir is the folder to write to, which must not be there, or be empty; empty: NAME.
	Dir string
	// SDK is the folder of a copy of leptir's source that the plugin is built against, by
	// a replace directive; it needs no network then. Empty: the published module.
	SDK string
	// Version is the published version to be built against; anything but a semantic
	// version of a release leaves it to "go mod tidy" to find the newest.
	Version string
}

var goodName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// Check reports what cannot be as it is, and fills in what is left out.
func (p *Plugin) Check() error {
	if !goodName.MatchString(p.Name) {
		return fmt.Errorf("plugin name %.100q: it must be a lower-case letter, then up to 63 lower-case letters, digits, dashes and underscores", p.Name)
	}
	if p.Module == "" {
		p.Module = "example.com/" + p.Name
	}
	if err := module.CheckImportPath(p.Module); err != nil {
		return fmt.Errorf("module path: %w", err)
	}
	if p.Module == sdkModule || strings.HasPrefix(p.Module, sdkModule+"/") {
		return fmt.Errorf("module path %s: it is leptir's own", p.Module)
	}
	if p.Dir == "" {
		p.Dir = p.Name
	}
	return nil
}

// Write writes the plugin and returns the paths of the files, sorted. Nothing that is there
// is overwritten; of a plugin that cannot be written as a whole nothing is left.
func (p Plugin) Write() (files []string, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	contents, err := p.contents()
	if err != nil {
		return nil, err
	}
	if err := mustBeFree(p.Dir); err != nil {
		return nil, err
	}
	_, statErr := os.Stat(p.Dir)
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		for _, file := range files {
			_ = os.Remove(file)
		}
		if errors.Is(statErr, fs.ErrNotExist) {
			_ = os.Remove(p.Dir)
		}
		files = nil
	}()
	for name, text := range contents {
		path := filepath.Join(p.Dir, name)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return files, err
		}
		files = append(files, path)
		_, err = file.Write(text)
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return files, err
		}
	}
	slices.Sort(files)
	return files, nil
}

// mustBeFree fails if there is something in the folder.
func mustBeFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty, and nothing is overwritten; name another folder", dir)
	}
	return nil
}

// contents returns the files by name.
func (p Plugin) contents() (map[string][]byte, error) {
	files := map[string][]byte{}
	if err := p.module(files); err != nil {
		return nil, err
	}
	all, err := template.ParseFS(templates, "plugin/*.tmpl")
	if err != nil {
		return nil, err
	}
	for _, t := range all.Templates() {
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		if other, ok := renamed[name]; ok {
			name = other
		}
		var b bytes.Buffer
		if err := t.Execute(&b, struct {
			Plugin
			Tidy bool
		}{p, files["go.sum"] == nil}); err != nil {
			return nil, err
		}
		files[name] = b.Bytes()
	}
	return files, nil
}

// module adds go.mod and, with an SDK at hand, go.sum.
func (p Plugin) module(files map[string][]byte) error {
	mod := &modfile.File{}
	if err := mod.AddModuleStmt(p.Module); err != nil {
		return err
	}
	if p.SDK == "" {
		if err := mod.AddGoStmt(goVersion); err != nil {
			return err
		}
		if semver.IsValid(p.Version) && semver.Build(p.Version) == "" && !module.IsPseudoVersion(p.Version) {
			if err := mod.AddRequire(sdkModule, p.Version); err != nil {
				return err
			}
		}
		files["go.mod"] = modfile.Format(mod.Syntax)
		return nil
	}
	if err := p.replaceSDK(mod, files); err != nil {
		return fmt.Errorf("leptir's source in %s: %w", p.SDK, err)
	}
	mod.Cleanup()
	files["go.mod"] = modfile.Format(mod.Syntax)
	return nil
}

// replaceSDK makes mod use the SDK's source. All that leptir requires is copied, with its
// sums, so that nothing need be asked of the network; "go mod tidy" removes what is too much.
func (p Plugin) replaceSDK(mod *modfile.File, files map[string][]byte) error {
	dir, err := filepath.Abs(p.SDK)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	theirs, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return err
	}
	if theirs.Module == nil || theirs.Module.Mod.Path != sdkModule {
		return fmt.Errorf("it is not module %s", sdkModule)
	}
	version := goVersion
	if theirs.Go != nil {
		version = theirs.Go.Version
	}
	if err := mod.AddGoStmt(version); err != nil {
		return err
	}
	const unpublished = "v0.0.0"
	mod.AddNewRequire(sdkModule, unpublished, false)
	for _, r := range theirs.Require {
		mod.AddNewRequire(r.Mod.Path, r.Mod.Version, true)
	}
	if err := mod.AddReplace(sdkModule, "", dir, ""); err != nil {
		return err
	}
	files["go.sum"], err = os.ReadFile(filepath.Join(dir, "go.sum"))
	return err
}
