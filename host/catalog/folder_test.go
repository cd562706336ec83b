package catalog

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is a plugin, what is not, and what is refused.
func TestFilesOfTheFolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, name := range []string{".hidden", "mailer~", "mailer.tmp", "mailer.part", "mailer.swp"} {
		put(t, filepath.Join(b.dir, name), []byte("#!/bin/sh\n"))
	}
	for _, name := range []string{"README.md", "NOTES.TXT", "leptir.hcl", "schema.json", "mailer.sha256"} {
		require.NoError(t, os.WriteFile(filepath.Join(b.dir, name), nil, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(b.dir, "folder"), 0o755))
	require.NoError(t, os.Symlink(b.dir, filepath.Join(b.dir, "link-to-folder")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(b.dir, "fifo"), 0o700))
	b.open()
	require.Empty(t, b.Current().Plugins)

	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "forgotten"), chaos(t, ""), 0o600))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(b.dir, "dangling")))
	b.drop("bad\x1b[2Jname", chaos(t, ""))
	b.drop("everybody's", chaos(t, ""))
	require.NoError(t, os.Chmod(filepath.Join(b.dir, "everybody's"), 0o757))
	b.drop("group's", chaos(t, ""))
	require.NoError(t, os.Chmod(filepath.Join(b.dir, "group's"), 0o775))
	require.NoError(t, os.Chown(filepath.Join(b.dir, "group's"), -1, someGroup(t)))
	b.rescan()
	path := func(name string) string { return filepath.Join(b.dir, name) }
	for name, want := range map[string]string{
		"forgotten":        `it is not executable; if it is a plugin, run: chmod +x "` + path("forgotten") + `"`,
		"dangling":         `it is a symbolic link that cannot be followed: lstat ` + path("nowhere") + `: no such file or directory`,
		`"bad\x1b[2Jname"`: `its name holds characters that cannot be shown; rename it`,
		"everybody's":      `its file "` + path("everybody's") + `" can be written by everybody, who could make the host run anything; run: chmod go-w "` + path("everybody's") + `"`,
		"group's":          `run: chmod go-w "` + path("group's") + `"`,
	} {
		p := b.plugin(name)
		require.Equal(t, StatusRefused, p.Status, name)
		require.Contains(t, p.Problem, want)
	}
	require.Len(t, b.Current().Plugins, 5)
	require.Zero(t, b.stage.hashed.Load(), "what is refused is not even read")
	b.rescan()
	require.Equal(t, 5, b.logged("plugin has a problem"))

	for _, name := range []string{"forgotten", "everybody's"} {
		b.set(name, "LEPTIR_TEST_TYPES=type."+name[:3])
		require.NoError(t, os.Chmod(path(name), 0o755))
	}
	b.eventually("what was put right is served", func() bool { return b.forType("type.for") != "" && b.forType("type.eve") != "" })
	require.Empty(t, b.plugin("forgotten").Problem)

	// A plugin that is served stays so if its file is refused later.
	require.NoError(t, os.Chmod(path("forgotten"), 0o777))
	b.eventually("it is refused", func() bool { return b.plugin("forgotten").Problem != "" })
	require.Equal(t, StatusReady, b.plugin("forgotten").Status)
	require.NoError(t, os.Chmod(path("forgotten"), 0o755))
	b.eventually("it is not any more", func() bool { return b.plugin("forgotten").Problem == "" })
	require.Equal(t, 1, b.plugin("forgotten").Generation)
}

// someGroup returns a group that this process may give files to and that is not the
// number of its user.
func someGroup(t *testing.T) int {
	t.Helper()
	groups, err := os.Getgroups()
	require.NoError(t, err)
	for _, g := range groups {
		if g != os.Geteuid() {
			return g
		}
	}
	if os.Geteuid() == 0 {
		return 12345
	}
	return os.Getegid()
}

func TestSymbolicLinks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Rescan = 20 * time.Millisecond // nobody watches where links lead
	releases := private(t)
	for _, version := range []string{"1", "2"} {
		require.NoError(t, os.Mkdir(filepath.Join(releases, version), 0o755))
		put(t, filepath.Join(releases, version, "mailer"), chaos(t, version))
	}
	current := filepath.Join(releases, "current")
	require.NoError(t, os.Symlink("1", current))
	require.NoError(t, os.Symlink(filepath.Join(current, "mailer"), filepath.Join(b.dir, "mailer")))
	b.set("mailer", "LEPTIR_TEST_TYPES=mailer.send")
	b.open()
	require.Equal(t, 1, b.plugin("mailer").Generation)
	require.Equal(t, filepath.Join(b.dir, "mailer"), b.plugin("mailer").Path)

	require.NoError(t, os.Symlink("2", current+".new"))
	require.NoError(t, os.Rename(current+".new", current))
	b.eventually("the other release is served", func() bool { return b.plugin("mailer").Generation == 2 })

	require.NoError(t, os.Chmod(filepath.Join(releases, "2"), 0o777))
	b.eventually("its folder is refused", func() bool { return b.plugin("mailer").Problem != "" })
	require.Contains(t, b.plugin("mailer").Problem, `the folder of its file, "`+filepath.Join(releases, "2")+`" can be written by everybody`)
	require.NoError(t, os.Chmod(filepath.Join(releases, "2"), 0o755))
	b.eventually("its folder is accepted", func() bool { return b.plugin("mailer").Problem == "" })
	require.Equal(t, 2, b.plugin("mailer").Generation)
}

func TestDistrust(t *testing.T) {
	t.Parallel()
	const me, other = 1000, 2000
	for _, tt := range []struct {
		name          string
		uid, gid, own uint32
		mode          uint32
		want          string
	}{
		{"mine", me, 100, me, 0o755, ""},
		{"root's", 0, 0, me, 0o755, ""},
		{"another's", other, 100, me, 0o700, `"/p" belongs to user 2000, who is neither root nor the host's user; run: chown 1000 "/p"`},
		{"mine, of root's host", me, me, 0, 0o700, `"/p" belongs to user 1000, who is neither root nor the host's user; run: chown 0 "/p"`},
		{"a group may write", me, 100, me, 0o775, `"/p" can be written by group 100, who could make the host run anything; run: chmod go-w "/p"`},
		{"my private group may write", me, me, me, 0o775, ""},
		{"root's group may write", 0, 0, me, 0o775, `"/p" can be written by group 0, who could make the host run anything; run: chmod go-w "/p"`},
		{"root's group may write, of root's host", 0, 0, 0, 0o775, `"/p" can be written by group 0, who could make the host run anything; run: chmod go-w "/p"`},
		{"all may write", me, me, me, 0o757, `"/p" can be written by everybody, who could make the host run anything; run: chmod go-w "/p"`},
		{"all may write, sticky", 0, 0, me, 0o1777, `"/p" can be written by everybody, who could make the host run anything; run: chmod go-w "/p"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, distrust("/p", &syscall.Stat_t{Uid: tt.uid, Gid: tt.gid, Mode: tt.mode}, tt.own))
		})
	}
}
