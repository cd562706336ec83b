package logging_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/logging"
)

// rotated returns the names of the log file and of those that it has become, with how many
// lines each has.
func rotated(t *testing.T, s *logging.FileSettings) map[string]int {
	t.Helper()
	found := map[string]int{}
	list, err := os.ReadDir(filepath.Dir(string(s.Path)))
	require.NoError(t, err)
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(string(s.Path)), f.Name()))
		require.NoError(t, err)
		found[f.Name()] = strings.Count(string(text), "\n")
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode(), f.Name())
	}
	return found
}

// TestRotation writes lines of a kilobyte each into a file of at most four.
func TestRotation(t *testing.T) {
	t.Parallel()
	for keep, want := range map[int]map[string]int{
		0: {"leptir.log": 2},
		1: {"leptir.log": 2, "leptir.log.1": 3},
		2: {"leptir.log": 2, "leptir.log.1": 3, "leptir.log.2": 3},
		9: {"leptir.log": 2, "leptir.log.1": 3, "leptir.log.2": 3, "leptir.log.3": 3},
	} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			t.Parallel()
			s := fileSettings(t)
			s.MaxSize, s.Keep = 4<<10, keep
			l, sinks := logging.New(open(t, s))
			for i := range 11 {
				l.Info(strings.Repeat("x", 1024), "line", i)
				if i == 0 { // somebody lets others read it: what is moved away is private again
					require.NoError(t, os.Chmod(string(s.Path), 0o644))
				}
			}
			require.Equal(t, want, rotated(t, s))
			require.Contains(t, read(t, s.Path), "line=10")
			require.Zero(t, sinks.WriteErrors())
		})
	}
}

// A file that was there before counts with its size, and a line that is larger than the
// file may be has a file of its own.
func TestRotationOfAnOldFile(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	s.MaxSize, s.Keep = 4<<10, 3
	require.NoError(t, os.MkdirAll(filepath.Dir(string(s.Path)), 0o700))
	require.NoError(t, os.WriteFile(string(s.Path), []byte(strings.Repeat("y", 4000)+"\n"), 0o600))
	l, _ := logging.New(open(t, s))
	l.Info(strings.Repeat("x", 10_000))
	l.Info("short")
	require.Equal(t, map[string]int{"leptir.log": 1, "leptir.log.1": 1, "leptir.log.2": 1}, rotated(t, s))
	require.Contains(t, read(t, s.Path), "short")
	require.Contains(t, read(t, s.Path+".2"), "yyy")
}

// Where somebody else has moved the file away, nothing of theirs is moved again.
func TestRotationBySomebodyElse(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	s.MaxSize, s.Keep = 4<<10, 3
	l, _ := logging.New(open(t, s))
	l.Info("first")
	require.NoError(t, os.Rename(string(s.Path), string(s.Path)+"-20261123"))
	require.NoError(t, os.WriteFile(string(s.Path), []byte("theirs\n"), 0o600))
	for range 4 {
		l.Info(strings.Repeat("x", 1024))
	}
	require.Equal(t, map[string]int{"leptir.log": 2, "leptir.log-20261123": 4}, rotated(t, s))
}

// A file that cannot be rotated goes on to be written to, and says why.
func TestRotationFails(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	s.MaxSize, s.Keep = 4<<10, 1
	l, sinks := logging.New(open(t, s))
	inTheWay := string(s.Path) + ".1"
	require.NoError(t, os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700))
	for range 6 {
		l.Info(strings.Repeat("x", 1024))
	}
	text := read(t, s.Path)
	require.Equal(t, 6, strings.Count(text, "xx\n"))
	require.Equal(t, 1, strings.Count(text, "WARN  the log file cannot be rotated error="))
	require.Zero(t, sinks.WriteErrors())
	require.NoError(t, os.RemoveAll(inTheWay))
	for range 4 {
		l.Info(strings.Repeat("x", 1024))
	}
	require.Len(t, rotated(t, s), 2, "it is tried again later")
}

// Many write while the file is rotated and reopened: no line is lost nor torn.
func TestRotationConcurrent(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	s.MaxSize, s.Keep = 16<<10, 1000
	l, sinks := logging.New(open(t, s))
	const writers, lines = 8, 100
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range lines {
				l.Info(strings.Repeat("x", 200))
			}
		})
	}
	for range 20 {
		require.NoError(t, sinks.Reopen())
	}
	wg.Wait()
	total, files := 0, rotated(t, s)
	for name, n := range files {
		total += n
		text, err := os.ReadFile(filepath.Join(filepath.Dir(string(s.Path)), name))
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			require.Regexp(t, `^\S+ INFO  x{200}\n$`, line)
		}
	}
	require.Equal(t, writers*lines, total)
	require.Greater(t, len(files), 5)
}
