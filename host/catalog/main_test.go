package catalog

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/process"
	"github.com/backplane/leptir/internal/testbin"
)

func TestMain(m *testing.M) {
	testbin.Main(m)
}

// bundle is a catalog of a folder of its own, with what it logs.
type bundle struct {
	*Catalog
	t       *testing.T
	dir     string
	options Options

	probes atomic.Int64

	mu  sync.Mutex
	env map[string]map[string]string // by plugin
	log bytes.Buffer
}

// setup makes an empty plugin folder; open opens its catalog.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: private(t), env: map[string]map[string]string{}}
	l, err := process.NewLauncher(t.TempDir(), slog.New(slog.DiscardHandler), hclog.NewNullLogger(), func(process.Line) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	b.options = Options{Dir: b.dir, StateDir: private(t), Launcher: l, Logger: slog.New(slog.NewTextHandler(b, nil)),
		ProbeTimeout: 20 * time.Second, Spec: func(name string) process.Spec {
			b.probes.Add(1)
			b.mu.Lock()
			defer b.mu.Unlock()
			s := process.Spec{StartTimeout: 20 * time.Second}
			for k, v := range b.env[name] {
				s.Env = append(s.Env, k+"="+v)
			}
			return s
		}}
	return b
}

// private returns a new folder that only this user can write to.
func private(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// Write takes what is logged.
func (b *bundle) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bundle) logged(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.log.String(), text)
}

// set sets variables of the environment that plugin name gets from now on, as NAME=value.
func (b *bundle) set(name string, vars ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	env := maps.Clone(b.env[name])
	if env == nil {
		env = map[string]string{}
	}
	for _, v := range vars {
		k, v, _ := strings.Cut(v, "=")
		env[k] = v
	}
	b.env[name] = env
}

func (b *bundle) open() {
	b.t.Helper()
	c, err := Open(b.t.Context(), b.options)
	require.NoError(b.t, err)
	b.Catalog = c
	b.t.Cleanup(func() { require.NoError(b.t, c.Close()) })
}

// chaos returns the bytes of a real plugin; those of another version have another hash.
func chaos(t *testing.T, version string) []byte {
	t.Helper()
	bin, err := os.ReadFile(testbin.Build(t, "internal/chaosplugin"))
	require.NoError(t, err)
	return append(bin, version...)
}

// drop puts a file into the plugin folder, at once.
func (b *bundle) drop(name string, content []byte) {
	b.t.Helper()
	put(b.t, filepath.Join(b.dir, name), content)
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".drop")
	require.NoError(t, os.WriteFile(tmp, content, 0o700))
	require.NoError(t, os.Chmod(tmp, 0o755))
	require.NoError(t, os.Rename(tmp, path))
}

// dropPlugin puts a plugin into the folder that serves the given types.
func (b *bundle) dropPlugin(name, version string, types ...string) {
	b.t.Helper()
	b.set(name, "LEPTIR_TEST_TYPES="+strings.Join(types, ","))
	b.drop(name, chaos(b.t, version))
}

func (b *bundle) remove(name string) { require.NoError(b.t, os.Remove(filepath.Join(b.dir, name))) }

func (b *bundle) rescan() {
	b.t.Helper()
	require.NoError(b.t, b.Rescan(b.t.Context()))
}

// plugin returns what Current says of a plugin; its zero value if nothing.
func (b *bundle) plugin(name string) Plugin {
	p, _ := b.Current().Plugin(name)
	return p
}

func (b *bundle) forType(typ string) string {
	p, _ := b.Current().ForType(typ)
	return p.Name
}

func (b *bundle) eventually(what string, f func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			require.Fail(b.t, "waited in vain until "+what, "%+v", b.Current())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run starts a staged copy, as the pool does.
func (b *bundle) run(path string) error {
	p, err := b.options.Launcher.Start(b.t.Context(), process.Spec{Plugin: "test", Path: path, StartTimeout: 20 * time.Second})
	if err == nil {
		p.Kill(process.ReasonShutdown, "")
		<-p.Gone()
	}
	return err
}

func typeNames(p Plugin) []string {
	var names []string
	for _, t := range p.Types {
		names = append(names, t.Name)
	}
	return names
}
