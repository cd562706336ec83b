package catalog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a host has written down is used as long as the plugin folder is as it was.
func TestSaved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("good", "1", "mailer.send", "mailer.count")
	b.drop("script", []byte("#!/bin/false\n"))
	b.open()
	b.eventually("both are judged", func() bool {
		return b.plugin("script").Status == StatusBroken && b.plugin("good").Status == StatusReady
	})
	state := b.options.StateDir
	types, known, err := Saved(state, b.dir)
	require.NoError(t, err)
	require.False(t, known, "nothing is written down yet: %v", types)

	require.NoError(t, b.Current().Save(state, b.dir))
	types, known, err = Saved(state, b.dir)
	require.NoError(t, err)
	require.True(t, known)
	require.NotEmpty(t, types)
	require.Equal(t, b.Current().Types(), types)
	for name, typ := range types {
		p, ok := b.Current().ForType(name)
		require.True(t, ok)
		require.Equal(t, p.Name, typ.Plugin)
	}
	plugins, at := SavedPlugins(state)
	require.Equal(t, b.Current().Known(), plugins)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Equal(t, []string{"mailer.count", "mailer.send"}, plugins[0].Types)
	require.Equal(t, StatusBroken, plugins[1].Status)
	info, err := os.Stat(filepath.Join(state, savedName))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)

	for what, change := range map[string]func(){
		"a new file":    func() { put(t, filepath.Join(b.dir, "other"), chaos(t, "2")) },
		"another state": func() { state = private(t) },
	} {
		before := state
		change()
		_, known, err = Saved(state, b.dir)
		require.NoError(t, err, what)
		require.False(t, known, what)
		state = before
		_ = os.Remove(filepath.Join(b.dir, "other"))
	}
	put(t, filepath.Join(b.dir, "good"), chaos(t, "1")) // the same bytes, but who knows
	_, known, err = Saved(state, b.dir)
	require.NoError(t, err)
	require.False(t, known)

	for _, text := range []string{"", "{", `{"v":2}`, `[]`} {
		require.NoError(t, os.WriteFile(filepath.Join(state, savedName), []byte(text), 0o600))
		_, known, err = Saved(state, b.dir)
		require.NoError(t, err)
		require.False(t, known, text)
	}
}

// A plugin without a verdict is not written down as one that serves nothing.
func TestSavedWhileProbing(t *testing.T) {
	t.Parallel()
	dir, state := private(t), private(t)
	put(t, filepath.Join(dir, "new"), []byte("#!/bin/false\n"))
	s := newEntries(time.Hour)
	list, _, err := (&folder{path: dir, uid: uint32(os.Geteuid())}).list()
	require.NoError(t, err)
	require.Len(t, list, 1)
	s.byName["new"] = &entry{name: "new", file: list[0]}
	require.NoError(t, s.snapshot(dir, NewSnapshot(nil), time.Now()).Save(state, dir))
	_, known, err := Saved(state, dir)
	require.NoError(t, err)
	require.False(t, known)
}

func TestSavedWithoutPlugins(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{private(t), filepath.Join(private(t), "missing")} {
		state := private(t)
		plugins, at := SavedPlugins(state)
		require.Empty(t, plugins)
		require.Zero(t, at)
		types, known, err := Saved(state, dir)
		require.NoError(t, err)
		require.True(t, known)
		require.Empty(t, types)
	}
	file := filepath.Join(private(t), "file")
	put(t, file, nil)
	_, _, err := Saved(private(t), file)
	require.ErrorContains(t, err, "is not a folder")
}
