package catalog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newStage(t *testing.T) *stage {
	t.Helper()
	s, err := openStage(private(t), uint32(os.Geteuid()))
	require.NoError(t, err)
	return s
}

// look returns the file as a scan finds it.
func look(t *testing.T, path string) *found {
	t.Helper()
	d := folder{path: filepath.Dir(path), uid: uint32(os.Geteuid())}
	f, ok := d.look(filepath.Base(path))
	require.True(t, ok)
	require.Empty(t, f.refusal)
	return &f
}

// add stages a file that this program has just written: a fork may still hold it open.
func add(t *testing.T, s *stage, path string) (staged, sum string) {
	t.Helper()
	for {
		staged, sum, err := s.add(look(t, path))
		if !errors.Is(err, errBeingWritten) {
			require.NoError(t, err)
			return staged, sum
		}
	}
}

func TestStageRefusesWhatHasChanged(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	path := filepath.Join(private(t), "mailer")
	put(t, path, []byte("one"))
	before := look(t, path)
	put(t, path, []byte("two"))
	_, _, err := s.add(before)
	require.ErrorIs(t, err, errChanged)
	require.NoError(t, os.Remove(path))
	_, _, err = s.add(before)
	require.ErrorIs(t, err, errChanged)
	// A link put in its place is not followed.
	require.NoError(t, os.Symlink("/bin/sh", path))
	_, _, err = s.add(before)
	require.Error(t, err)

	require.NoError(t, os.Remove(path))
	put(t, path, []byte("three"))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, _, err = s.add(look(t, path))
	require.ErrorIs(t, err, errBeingWritten)
	require.NoError(t, f.Close())
	staged, _ := add(t, s, path)
	content, err := os.ReadFile(staged)
	require.NoError(t, err)
	require.Equal(t, "three", string(content))

	require.NoError(t, os.Truncate(path, maxBinaryBytes+1))
	_, _, err = s.add(look(t, path))
	require.EqualError(t, err, "it is 1024 MiB large, at most 1024 are allowed")
	left, err := filepath.Glob(filepath.Join(s.dir, ".new-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Copies can be started at once, whatever else is being started (golang/go#22315).
func TestCopiesAreNeverBusy(t *testing.T) {
	s := newStage(t)
	stop := make(chan struct{})
	var forks sync.WaitGroup
	for range 4 {
		forks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := exec.Command("/bin/true").Run(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	path := filepath.Join(private(t), "mailer")
	for i := range 100 {
		put(t, path, []byte("#!/bin/sh\n# "+strconv.Itoa(i)+"\n"))
		staged, _ := add(t, s, path)
		require.NoError(t, exec.Command(staged).Run())
	}
	close(stop)
	forks.Wait()
}

func TestSweepAndPrune(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := private(t)
	now := time.Now()
	stage := func(name, content string, age time.Duration) (path, sum string) {
		put(t, filepath.Join(dir, name), []byte(content))
		path, sum = add(t, s, filepath.Join(dir, name))
		require.NoError(t, os.Chtimes(path, now.Add(-age), now.Add(-age)))
		return path, sum
	}
	one, _ := stage("mailer", "one", 4*time.Hour)
	two, _ := stage("mailer", "two", 3*time.Hour)
	three, _ := stage("mailer", "three", 2*time.Hour)
	other, _ := stage("images", "one", 9*time.Hour) // in the same folder as one
	bad, _ := stage("mailer", "bad", time.Hour)
	s.demote(bad)
	young, old := filepath.Join(s.dir, ".new-young"), filepath.Join(s.dir, ".new-old")
	require.NoError(t, os.WriteFile(young, nil, 0o600))
	require.NoError(t, os.WriteFile(old, nil, 0o600))
	require.NoError(t, os.Chtimes(old, now.Add(-2*time.Hour), now.Add(-2*time.Hour)))

	s.sweep(now)
	for path, stays := range map[string]bool{one: false, two: true, three: true, other: true, bad: false, young: true, old: false} {
		if stays {
			require.FileExists(t, path)
		} else {
			require.NoFileExists(t, path)
		}
	}
	require.NoDirExists(t, filepath.Dir(bad))
	var offered []string
	for _, c := range s.earlier("mailer") {
		offered = append(offered, c.path)
	}
	require.Equal(t, []string{three, two}, offered)

	four, _ := stage("mailer", "four", time.Minute)
	five, sum := stage("mailer", "five", 10*time.Hour)
	s.prune("mailer", []string{sum})
	require.NoFileExists(t, two)
	require.FileExists(t, three)
	require.FileExists(t, four)
	require.FileExists(t, five, "it is in use")
	require.FileExists(t, other)

	require.NoError(t, os.Chmod(four, 0o700))
	require.NoError(t, os.WriteFile(four, []byte("tampered"), 0o500))
	require.NoError(t, os.Remove(three))
	require.NoError(t, os.Symlink(five, three))
	s.demote(five)
	require.Empty(t, s.earlier("mailer"), "tampered, a link, or demoted")
}
