package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// site is a configuration on SQLite in a folder of its own.
type site struct {
	t    testing.TB
	dir  string
	file string
}

// newSite returns a site with the given configuration. An empty one is that of the
// embedded default.
func newSite(t testing.TB, hcl string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, file: filepath.Join(dir, "leptir.hcl")}
	require.NoError(t, os.WriteFile(s.file, []byte(hcl), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "plugins"), 0o700))
	return s
}

// result is what a run of leptirctl came to. The site's folder is DIR in it.
type result struct {
	code           int
	stdout, stderr string
}

// ctl runs leptirctl on the site.
func (s *site) ctl(args ...string) result {
	s.t.Helper()
	return s.ctlWith(s.t.Context(), "", args...)
}

func (s *site) ctlWith(ctx context.Context, stdin string, args ...string) result {
	s.t.Helper()
	r := run(ctx, stdin, append([]string{"-config", s.file}, args...)...)
	r.stdout, r.stderr = strings.ReplaceAll(r.stdout, s.dir, "DIR"), strings.ReplaceAll(r.stderr, s.dir, "DIR")
	return r
}

func run(ctx context.Context, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// ok runs leptirctl, which must succeed without a word on stderr, and returns its output.
func (s *site) ok(args ...string) string {
	s.t.Helper()
	r := s.ctl(args...)
	require.Empty(s.t, r.stderr)
	require.Zero(s.t, r.code)
	return r.stdout
}

// ids runs a push and returns the ids.
func (s *site) ids(args ...string) []task.ID {
	s.t.Helper()
	var ids []task.ID
	for line := range strings.Lines(s.ok(append([]string{"push"}, args...)...)) {
		ids = append(ids, task.ID(strings.TrimSuffix(line, "\n")))
	}
	return ids
}

func (s *site) config() *config.Config {
	s.t.Helper()
	cfg, err := config.Load(s.file, kinds())
	require.NoError(s.t, err)
	return cfg
}

// broker opens the broker of that name until the test ends.
func (s *site) broker(name string) interface {
	brokers.Broker
	brokers.Inspector
} {
	s.t.Helper()
	cfg := s.config()
	for _, block := range cfg.Brokers {
		if block.Name == name {
			b, err := cfg.OpenBroker(context.Background(), block, nil)
			require.NoError(s.t, err)
			s.t.Cleanup(func() { require.NoError(s.t, b.Handle.Close()) })
			return b.Handle.(interface {
				brokers.Broker
				brokers.Inspector
			})
		}
	}
	s.t.Fatalf("there is no broker %q", name)
	return nil
}

// store opens the meta storage of that name until the test ends.
func (s *site) store(name string) metastore.Store {
	s.t.Helper()
	cfg := s.config()
	for _, block := range cfg.MetaStorages {
		if block.Name == name {
			st, err := cfg.OpenStore(context.Background(), block, nil)
			require.NoError(s.t, err)
			s.t.Cleanup(func() { require.NoError(s.t, st.Handle.Close()) })
			return st.Handle
		}
	}
	s.t.Fatalf("there is no meta storage %q", name)
	return nil
}

// lease takes tasks from a broker, which must have so many.
func lease(t testing.TB, b brokers.Broker, n int) []brokers.Delivery {
	t.Helper()
	ds, err := b.Lease(context.Background(), n, time.Minute)
	require.NoError(t, err)
	require.Len(t, ds, n)
	return ds
}

// settle ends a lease.
func settle(t testing.TB, b brokers.Broker, d brokers.Delivery, v brokers.Verdict, at time.Time, reason string) {
	t.Helper()
	lost, err := b.Settle(context.Background(), []brokers.Settlement{{ID: d.Task.ID, Token: d.Token, Verdict: v, At: at, Reason: reason}})
	require.NoError(t, err)
	require.Empty(t, lost)
}

// bury pushes a task and moves it to the dead letters.
func bury(t testing.TB, b brokers.Broker, tk task.Task, reason string) {
	t.Helper()
	require.NoError(t, b.Push(context.Background(), []task.Task{tk}))
	settle(t, b, lease(t, b, 1)[0], brokers.Bury, time.Time{}, reason)
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to write it")
	require.Equal(t, string(want), got)
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &m), text)
	return m
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, command := range []string{"", "push", "task", "status", "dead", "dead list", "dead show", "dead retry", "dead delete", "dead purge", "cancel", "queue", "queue list", "queue pause", "queue resume", "validate", "version", "completion", "run", "new", "new plugin", "stop", "reload", "running", "install", "uninstall"} {
		args := strings.Fields(command)
		fmt.Fprintf(&all, "$ leptirctl %s\n", strings.Join(append(args, "-help"), " "))
		r := run(t.Context(), "", append(args, "-help")...)
		require.Zero(t, r.code)
		require.Empty(t, r.stderr)
		all.WriteString(r.stdout + "\n")
		for _, same := range [][]string{append(args, "--help"), append(args, "-h"), append([]string{"help"}, args...)} {
			require.Equal(t, r, run(t.Context(), "", same...), same)
		}
	}
	golden(t, "help.txt", all.String())
	for line := range strings.Lines(all.String()) {
		require.LessOrEqual(t, len([]rune(line)), 121, line)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"-version"}, {"--version"}} {
		r := run(t.Context(), "", args...)
		require.Zero(t, r.code)
		require.Regexp(t, `^leptirctl \S+\n$`, r.stdout)
		require.Empty(t, r.stderr)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range shells {
		r := run(t.Context(), "", "completion", shell)
		require.Zero(t, r.code, r.stderr)
		require.Contains(t, r.stdout, "__complete")
	}
	r := run(t.Context(), "", "__complete", "push", "x", "--pri")
	require.Zero(t, r.code)
	require.Contains(t, r.stdout, "--priority")
	r = run(t.Context(), "", "__complete", "dead", "re")
	require.Zero(t, r.code)
	require.Contains(t, r.stdout, "retry\t")
}

// TestConfigIsFound looks in all the places where the configuration can be.
func TestConfigIsFound(t *testing.T) {
	named, env, here := newSite(t, ""), newSite(t, ""), newSite(t, "")
	for _, s := range []*site{named, env, here} {
		s.ids("found", "-id", filepath.Base(filepath.Dir(s.dir))+filepath.Base(s.dir))
	}
	knows := func(s *site) {
		t.Helper()
		r := run(t.Context(), "", "task", filepath.Base(filepath.Dir(s.dir))+filepath.Base(s.dir))
		require.Zero(t, r.code, r.stderr)
	}
	empty := t.TempDir()
	t.Chdir(empty)
	t.Setenv(config.EnvFile, "")
	if _, err := os.Stat(config.SystemFile); errors.Is(err, os.ErrNotExist) {
		r := run(t.Context(), "", "status")
		require.Equal(t, result{1, "", "leptirctl: no configuration file: $LEPTIR_CONFIG is not set, and there is neither leptir.hcl in the working folder nor /etc/leptir/leptir.hcl; name one with -config FILE\n"}, r)
	}
	t.Chdir(here.dir)
	knows(here)
	t.Setenv(config.EnvFile, env.file)
	knows(env)
	r := run(t.Context(), "", "task", "-config", named.file, filepath.Base(filepath.Dir(named.dir))+filepath.Base(named.dir))
	require.Zero(t, r.code, r.stderr)
	t.Setenv(config.EnvFile, filepath.Join(empty, "nowhere.hcl"))
	r = run(t.Context(), "", "status")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "leptirctl: configuration file (from $LEPTIR_CONFIG): ")
}

func TestABadConfigurationIsShownWhole(t *testing.T) {
	t.Parallel()
	s := newSite(t, "host {\n  number_of_wrkers = 4\n}\nbrokr \"x\" \"y\" {}\n")
	for _, args := range [][]string{{"push", "x"}, {"task", "x"}, {"status"}, {"validate"}, {"dead", "list"}} {
		r := s.ctl(args...)
		require.Equal(t, 1, r.code)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, `DIR/leptir.hcl:2:3: error: host has no attribute "number_of_wrkers"; did you mean "number_of_workers"?`)
		require.Contains(t, r.stderr, `did you mean "broker"?`)
		require.True(t, strings.HasSuffix(r.stderr, "\nleptirctl: 2 errors in DIR/leptir.hcl\n"), r.stderr)
	}
}

// fullWriter fails as a full disk does.
type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputThatCannotBeWrittenIsReported(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	for _, args := range [][]string{{"push", "x", "-id", "x"}, {"push", "x", "-json"}, {"task", "x"}, {"status"}, {"status", "-json"}, {"version"}, {"validate"}, {"dead", "purge"}, {"push", "-help"}} {
		var stderr bytes.Buffer
		code := Run(t.Context(), append(args, "-config", s.file), strings.NewReader(""), fullWriter{}, &stderr)
		require.Equal(t, 1, code, args)
		require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
		require.Contains(t, stderr.String(), "no space left on device", args)
	}
}
