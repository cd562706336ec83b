package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// LockFileName is the file, beside the configuration file, that pins plugin binaries.
const LockFileName = "leptir.lock.hcl"

// maxPins is how many binaries of one plugin a lock file may allow: some while a new one
// is being rolled out.
const maxPins = 16

// A Lock says which plugin binaries may be served: those whose sha256 stands in the lock
// file under the name of their file. It does not change.
//
//	plugin "mailer" {
//	  sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//	}
//
// sha256 can be a list as well, while one binary takes the place of another.
type Lock struct {
	// Path is the file that it was read from.
	Path string
	// Pins are the allowed sums, in lower-case hexadecimal, by the plugin's file name.
	Pins map[string][]string
}

// LoadLock reads a lock file. It returns nil and no error if there is none. Another error
// is an *Error.
func LoadLock(path string) (*Lock, error) {
	src, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = pinsSomething(path)
	}
	if err != nil {
		return nil, fileError(path, err)
	}
	return ParseLock(src, path)
}

// pinsSomething returns an error if everybody may change the file.
func pinsSomething(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&0o002 != 0 {
		err = fmt.Errorf("everybody may write it, so that it pins nothing; run: chmod o-w %q", path)
	}
	return err
}

// ParseLock reads the text of a lock file; filename names it in messages. The error is an
// *Error that tells all that is wrong.
func ParseLock(src []byte, filename string) (*Lock, error) {
	if diag := checkBounds(src, filename); diag != nil {
		return nil, newError(filename, src, hcl.Diagnostics{diag}, nil)
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok || diags.HasErrors() {
		return nil, newError(filename, src, diags, nil)
	}
	l := &Lock{Path: filename, Pins: map[string][]string{}}
	refuse := func(at hcl.Range, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf(format, args...), Subject: &at})
	}
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		refuse(body.Attributes[name].NameRange, "there is no attribute %q; a lock file has blocks like plugin \"NAME\" { sha256 = \"…\" }", short(name))
	}
	for _, block := range body.Blocks {
		if block.Type != blockPlugin || len(block.Labels) != 1 || block.Labels[0] == "" {
			refuse(block.TypeRange, "a lock file has only blocks like plugin \"NAME\" { sha256 = \"…\" }")
			continue
		}
		name := block.Labels[0]
		if _, twice := l.Pins[name]; twice {
			refuse(block.LabelRanges[0], "there are two blocks of plugin %q", short(name))
			continue
		}
		l.Pins[name] = nil
		for _, inner := range block.Body.Blocks {
			refuse(inner.TypeRange, "plugin %q has no block %q", short(name), short(inner.Type))
		}
		for _, other := range slices.Sorted(maps.Keys(block.Body.Attributes)) {
			if other != "sha256" {
				refuse(block.Body.Attributes[other].NameRange, "plugin %q has no attribute %q; there is sha256", short(name), short(other))
			}
		}
		attribute := block.Body.Attributes["sha256"]
		if attribute == nil {
			refuse(block.TypeRange, "plugin %q has no sha256", short(name))
			continue
		}
		sums, problem := pins(attribute.Expr)
		if problem != "" {
			refuse(attribute.Expr.Range(), "sha256 of plugin %q %s", short(name), problem)
		}
		l.Pins[name] = sums
	}
	if diags.HasErrors() {
		return nil, newError(filename, src, diags, nil)
	}
	return l, nil
}

// pins reads a sum or a list of sums, or says what is wrong with it.
func pins(expr hclsyntax.Expression) (sums []string, problem string) {
	val, diags := expr.Value(nil)
	if diags.HasErrors() || val.IsNull() || !val.IsWhollyKnown() {
		return nil, "is not a text or a list of texts"
	}
	texts := []cty.Value{val}
	if typ := val.Type(); typ.IsTupleType() || typ.IsListType() {
		texts = val.AsValueSlice()
	}
	if len(texts) == 0 || len(texts) > maxPins {
		return nil, fmt.Sprintf("has %d sums; one to %d are allowed", len(texts), maxPins)
	}
	for _, v := range texts {
		if v.IsNull() || v.Type() != cty.String {
			return nil, "is not a text or a list of texts"
		}
		sum := strings.ToLower(v.AsString())
		if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
			return nil, "is not the 64 hexadecimal digits of a sum"
		}
		sums = append(sums, sum)
	}
	return sums, ""
}

// Check reports why the binary with that sum must not be served as the named plugin. A nil
// Lock allows all.
func (l *Lock) Check(name, sha256 string) error {
	if l == nil {
		return nil
	}
	sums, ok := l.Pins[name]
	switch {
	case !ok:
		return fmt.Errorf("it is not in %s; if it is to be served, run: leptirctl plugins lock", l.Path)
	case !slices.Contains(sums, sha256):
		return fmt.Errorf("its sha256 is %s, and %s allows %s; if it is to be served, run: leptirctl plugins lock", sha256, l.Path, strings.Join(sums, ", "))
	}
	return nil
}

// Write writes the lock to its Path, in place of what is there, all or nothing.
func (l *Lock) Write() error {
	file := hclwrite.NewEmptyFile()
	file.Body().AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment,
		Bytes: []byte("# The plugin binaries that leptir-host may serve. Written by: leptirctl plugins lock\n")}})
	for _, name := range slices.Sorted(maps.Keys(l.Pins)) {
		file.Body().AppendNewline()
		body := file.Body().AppendNewBlock(blockPlugin, []string{name}).Body()
		if sums := l.Pins[name]; len(sums) == 1 {
			body.SetAttributeValue("sha256", cty.StringVal(sums[0]))
		} else {
			var values []cty.Value
			for _, sum := range sums {
				values = append(values, cty.StringVal(sum))
			}
			body.SetAttributeValue("sha256", cty.ListVal(values))
		}
	}
	temp, err := os.CreateTemp(filepath.Dir(l.Path), "."+LockFileName+"-*")
	if err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	_, err = temp.Write(file.Bytes())
	if err == nil {
		err = temp.Chmod(0o644) // nothing in it is secret
	}
	if err == nil {
		err = temp.Sync() // an empty file would refuse every plugin
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), l.Path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}
