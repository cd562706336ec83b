package host_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/internal/testbin"
	"github.com/backplane/leptir/task"
)

// A host with a lock file starts no binary that is not in it, until it is pinned and the
// host reloads.
func TestPinnedPlugins(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	b.install("plugins/demo", "demo")
	ctl := func(args ...string) (string, error) {
		out, err := exec.Command(testbin.Build(t, "cmd/leptirctl"), append([]string{"-config", b.path}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := ctl("plugins", "lock")
	require.NoError(t, err, out)
	h := b.host()
	h.waitFor("leptir-host is running")
	b.install("examples/hello", "hello")
	h.waitFor("it is not in " + filepath.Join(b.dir, config.LockFileName))
	waiting, fine := newTask("hello.greet", ""), newTask("demo.noop", "")
	b.push(waiting, fine)
	require.Equal(t, task.Success, b.records([]task.Task{fine}, 30*time.Second)[fine.ID].RetC)

	out, err = ctl("plugins", "list")
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^hello +broken .* it is not in `, out)
	out, err = ctl("plugins", "lock")
	require.NoError(t, err, out)
	out, err = ctl("plugins", "reload")
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^hello +ready .* pinned`, out)
	require.Equal(t, task.Success, b.records([]task.Task{waiting}, 30*time.Second)[waiting.ID].RetC)
}

// dev_override serves a plugin that is not pinned, and says so.
func TestUnpinnedByOverride(t *testing.T) {
	t.Parallel()
	b := setup(t, "plugin \"hello\" {\n  dev_override = true\n}\n")
	b.install("plugins/demo", "demo")
	out, err := exec.Command(testbin.Build(t, "cmd/leptirctl"), "-config", b.path, "plugins", "lock").CombinedOutput()
	require.NoError(t, err, string(out))
	b.install("examples/hello", "hello")
	h := b.host()
	h.waitFor("plugin is served although it is not pinned, by its dev_override")
	greeting := newTask("hello.greet", "")
	b.push(greeting)
	require.Equal(t, task.Success, b.records([]task.Task{greeting}, 30*time.Second)[greeting.ID].RetC)
}
