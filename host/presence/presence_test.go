package presence_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/backplane/leptir/host/pidfile"
	"github.com/backplane/leptir/host/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPresence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, presence.PidFile), filepath.Join(dir, "other")}
	var p presence.Presence
	for _, path := range paths {
		stale, err := p.Appear(path)
		require.NoError(t, err)
		require.Zero(t, stale)
	}
	require.Equal(t, paths, p.Paths())
	_, err := p.Appear(paths[0])
	require.ErrorAs(t, err, new(*pidfile.RunningError))

	says := presence.Status{PID: os.Getpid(), State: presence.Stopping, Since: time.Now().UTC().Truncate(time.Second), Tasks: 3,
		Version: "v1", Config: "/x.hcl", Reloads: 2, Reload: presence.Reload{Number: 1, Failed: true, Lines: []string{"a", "b"}}}
	require.NoError(t, p.Say(says))
	for _, path := range paths {
		id, err := pidfile.Read(path)
		require.NoError(t, err)
		got, err := presence.ReadStatus(path, id)
		require.NoError(t, err)
		require.Equal(t, says, got)
		info, err := os.Stat(presence.StatusPath(path))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		id.PID++
		_, err = presence.ReadStatus(path, id)
		require.ErrorContains(t, err, "is of another host")
	}
	require.NoError(t, p.Leave())
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, p.Leave())
	_, err = presence.ReadStatus(paths[0], pidfile.Identity{PID: 1})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func Example() {
	dir, err := os.MkdirTemp("", "leptir")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, presence.PidFile)
	var p presence.Presence
	if _, err := p.Appear(path); err != nil {
		fmt.Println(err)
		return
	}
	defer p.Leave()
	if err := p.Say(presence.Status{State: presence.Running}); err != nil {
		fmt.Println(err)
		return
	}
	id, err := pidfile.Read(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := presence.ReadStatus(path, id)
	fmt.Println(status.State, err)
	// Output: running <nil>
}
