package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/metastore"
)

const (
	// MaxFileBytes is the size of the largest configuration file that is read.
	MaxFileBytes = 1 << 20
	// FileName is what the configuration file is called where nobody says otherwise.
	FileName = "leptir.hcl"
	// SystemFile is the configuration file of a host that is installed as a service.
	SystemFile = "/etc/leptir/leptir.hcl"
	// EnvFile is the environment variable that names the configuration file.
	EnvFile = "LEPTIR_CONFIG"
)

// ErrNoFile is wrapped by Find's error where no file was named and none lies in the
// usual places, so that a caller can go on with Default.
var ErrNoFile = errors.New("no configuration file")

// Find returns the path of the configuration file: explicit if that is not empty, else
// what $LEPTIR_CONFIG says, else leptir.hcl in the working folder, else the system's. A
// file that was named must be there; the error says which were tried.
func Find(explicit string) (string, error) {
	if explicit != "" {
		return named(explicit, "")
	}
	if path := os.Getenv(EnvFile); path != "" {
		return named(path, " (from $"+EnvFile+")")
	}
	for _, path := range []string{FileName, SystemFile} {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("configuration file: %w", err)
		}
	}
	return "", fmt.Errorf("%w: $%s is not set, and there is neither %s in the working folder nor %s", ErrNoFile, EnvFile, FileName, SystemFile)
}

func named(path, source string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("configuration file%s: %w", source, err)
	}
	return path, nil
}

// Load reads the configuration file at path. The error is an *Error.
func Load(path string, kinds Kinds) (*Config, error) {
	src, err := readFile(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	return Parse(src, path, kinds)
}

// readFile reads a file of at most one byte more than is allowed.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
}

// Parse reads the text of a configuration file. filename names it in messages, and its
// folder is the one that relative paths are taken from. The error is an *Error.
func Parse(src []byte, filename string, kinds Kinds) (*Config, error) {
	path, err := filepath.Abs(filename)
	if err != nil {
		return nil, fileError(filename, err)
	}
	if diag := checkBounds(src, filename); diag != nil {
		var masked []hcl.Range
		if diag.Subject != nil {
			masked = lexicalMask(src, filename, kinds)
		}
		return nil, newError(filename, src, hcl.Diagnostics{diag}, masked)
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok || diags.HasErrors() && !onlyRedefinitions(diags) {
		return nil, newError(filename, src, diags, lexicalMask(src, filename, kinds))
	}
	r := newReader(filepath.Dir(path), kinds)
	r.config.Path = path
	r.start.Filename = filename
	r.refuseLoops(body)
	if !r.diags.HasErrors() {
		r.file(body)
	}
	if diags.HasErrors() {
		r.masked = append(r.masked, lexicalMask(src, filename, kinds)...)
		r.diags = append(r.diags, diags...)
	}
	if r.diags.HasErrors() {
		return nil, newError(filename, src, r.diags, r.masked)
	}
	return r.config, nil
}

// Default returns what an empty file in the folder dir says. What the default kinds would
// be made of and kinds does not have is left out.
func Default(dir string, kinds Kinds) *Config {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	r := newReader(dir, kinds)
	r.file(&hclsyntax.Body{})
	return r.config
}

func newReader(dir string, kinds Kinds) *reader {
	if kinds.Brokers == nil {
		kinds.Brokers = brokers.NewRegistry()
	}
	if kinds.MetaStorages == nil {
		kinds.MetaStorages = metastore.NewRegistry()
	}
	if kinds.Loggers == nil {
		kinds.Loggers = logging.NewRegistry()
	}
	if kinds.ErrorReporting == nil {
		kinds.ErrorReporting = report.NewRegistry()
	}
	return &reader{
		decoder: decoder{dir: dir, eval: newEvalContext()},
		config:  &Config{Dir: dir, Plugins: map[string]Plugin{}},
		kinds:   kinds,
		start:   hcl.Range{Start: hcl.InitialPos, End: hcl.InitialPos},
		names:   map[[2]string]hcl.Range{},
	}
}
