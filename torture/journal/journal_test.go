package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/torture/journal"
)

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := journal.Create(dir, "h1", "2")
	require.NoError(t, err)
	for _, l := range []struct{ what, task string }{{journal.Begin, "a"}, {journal.OK, "a"}, {journal.Begin, "b"}} {
		require.NoError(t, w.Write(l.what, l.task, 1))
	}
	lines, err := journal.Read(dir)
	require.NoError(t, err)
	runs, err := journal.Runs(lines)
	require.NoError(t, err)
	require.Len(t, runs, 2)
	require.Equal(t, []any{"a", "h1", "2", os.Getpid(), journal.OK}, []any{runs[0].Task, runs[0].Host, runs[0].Version, runs[0].PID, runs[0].Outcome})
	require.False(t, runs[0].End.Before(runs[0].Begin))
	require.Equal(t, "b", runs[1].Task)
	require.Zero(t, runs[1].End)
	files, err := journal.Of(dir, os.Getpid())
	require.NoError(t, err)
	require.Len(t, files, 1)
}

func TestCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := journal.Create(dir, "h1", "1")
	require.NoError(t, err)
	require.NoError(t, w.Write(journal.Begin, "a", 1))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"what":"ok","ta`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	lines, err := journal.Read(dir)
	require.NoError(t, err)
	require.Len(t, lines, 1, "the end that was cut short did not happen")

	require.NoError(t, os.WriteFile(files[0], []byte("rubbish\n"), 0o600))
	_, err = journal.Read(dir)
	require.ErrorContains(t, err, "line 1")
}

func TestRunsThatCannotBe(t *testing.T) {
	t.Parallel()
	begin := journal.Line{What: journal.Begin, Task: "a", Attempt: 1, Host: "h1", PID: 7}
	end := begin
	end.What = journal.OK
	other := end
	other.Attempt = 2
	for name, lines := range map[string][]journal.Line{
		"an end without its beginning": {end},
		"two ends":                     {begin, end, end},
		"the end of another attempt":   {begin, other},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := journal.Runs(lines)
			require.ErrorContains(t, err, "without its beginning")
		})
	}
}

func TestBlob(t *testing.T) {
	t.Parallel()
	require.Len(t, journal.Blob(1, 1000), 1000)
	require.Equal(t, journal.Blob(1, 1000), journal.Blob(1, 1000))
	require.NotEqual(t, journal.Sum(journal.Blob(1, 1000)), journal.Sum(journal.Blob(2, 1000)))
}
