package logging

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pipe returns a console sink and the end of its pipe that nobody reads yet.
func pipe(t *testing.T) (Sink, *os.File, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	sink, err := defaultLines().console(w, "standard output")
	require.NoError(t, err)
	return sink, r, w
}

var droppedLines = regexp.MustCompile(`lines=(\d+)`)

// TestStalledConsole logs to a pipe that nobody reads: who logs does not wait, and when it
// is read again what was dropped is told of, in its place.
func TestStalledConsole(t *testing.T) {
	t.Parallel()
	sink, r, w := pipe(t)
	l, sinks := New(sink)
	const lines = 3 * queueLines
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range lines {
			l.Info("line", "i", i)
		}
		l.Error("still there")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		require.Fail(t, "logging waits for the console")
	}
	dropped := sinks.WriteErrors()
	require.Greater(t, dropped, uint64(1000))

	var closeErr error
	closed := make(chan struct{})
	scanner := bufio.NewScanner(r)
	got, told, sawError := 0, uint64(0), false
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.Contains(line, "log lines were dropped here: the standard output did not take them fast enough"):
			n, err := strconv.ParseUint(droppedLines.FindStringSubmatch(line)[1], 10, 64)
			require.NoError(t, err)
			told += n
			require.Contains(t, line, " WARN  ")
		case strings.Contains(line, "still there"):
			sawError = true
		case strings.Contains(line, "last one"):
		default:
			require.Contains(t, line, " INFO  line i=")
			got++
		}
		if got == queueLines/2 {
			// It flows again: the next line finds room.
			l.Info("last one")
			go func() {
				defer close(closed)
				closeErr = sinks.Close()
				w.Close()
			}()
		}
	}
	<-closed
	require.NoError(t, closeErr)
	require.True(t, sawError, "a line of the level error has room of its own")
	require.Equal(t, uint64(lines), uint64(got)+told)
	require.Equal(t, dropped, told)
}

// The end of a program waits for its lines, however few there are and whoever reads them
// late.
func TestCloseFlushes(t *testing.T) {
	t.Parallel()
	sink, r, w := pipe(t)
	l, sinks := New(sink)
	for range 2000 { // more than the pipe holds
		l.Info(strings.Repeat("x", 100))
	}
	l.Error("the last words")
	closed := make(chan error, 1)
	go func() {
		closed <- sinks.Close()
		w.Close()
	}()
	var last string
	for scanner := bufio.NewScanner(r); scanner.Scan(); {
		last = scanner.Text()
	}
	require.NoError(t, <-closed)
	require.Contains(t, last, "ERROR the last words")
}

// A console that stands still for good keeps no program from ending.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	sink, _, _ := pipe(t)
	l, sinks := New(sink)
	for range 2000 {
		l.Info(strings.Repeat("x", 100))
	}
	begin := time.Now()
	require.ErrorContains(t, sinks.Close(), "log lines are lost: the standard output does not take them")
	require.Less(t, time.Since(begin), 20*time.Second)
	require.NotZero(t, sinks.WriteErrors())
	require.NoError(t, sinks.Close())
}

// A reader that has gone away is a write error, and no more.
func TestConsoleGone(t *testing.T) {
	t.Parallel()
	sink, r, _ := pipe(t)
	l, sinks := New(sink)
	require.NoError(t, r.Close())
	l.Info("nobody hears")
	_ = sinks.Close() // an error if the line had not been tried before
	require.Equal(t, uint64(1), sinks.WriteErrors())
}

func TestReplace(t *testing.T) {
	t.Parallel()
	var a, b, c strings.Builder
	first, kept, next := ToWriter(&a, slog.LevelInfo), ToWriter(&b, slog.LevelInfo), ToWriter(&c, slog.LevelDebug)
	l, sinks := New(first, kept)
	derived := l.With("task", "x").WithGroup("g")
	derived.Info("one", "k", 1)
	require.False(t, derived.Enabled(t.Context(), slog.LevelDebug))
	require.NoError(t, sinks.Replace(kept, next))
	derived.Info("two", "k", 2)
	derived.Debug("three")
	require.Equal(t, 1, strings.Count(a.String(), "\n"))
	require.Equal(t, 2, strings.Count(b.String(), "\n"))
	require.Equal(t, 2, strings.Count(c.String(), "\n"))
	require.Contains(t, c.String(), "two task=x g.k=2")
	require.Error(t, first.Handle(t.Context(), slog.NewRecord(time.Now(), slog.LevelInfo, "closed", 0)))
	require.Equal(t, uint64(1), sinks.WriteErrors()+first.WriteErrors())
	require.NoError(t, sinks.Close())
}

// Sinks are replaced while many log: every line is in one of them.
func TestReplaceWhileLogging(t *testing.T) {
	t.Parallel()
	outputs := []*strings.Builder{{}}
	l, sinks := New(ToWriter(outputs[0], slog.LevelInfo))
	const writers, lines = 4, 500
	left := make(chan struct{}, writers)
	for range writers {
		go func() {
			mine := l.With("a", 1)
			for range lines {
				mine.Info("x")
			}
			left <- struct{}{}
		}()
	}
	for done := 0; done < writers; {
		select {
		case <-left:
			done++
		default:
			out := &strings.Builder{}
			outputs = append(outputs, out)
			require.NoError(t, sinks.Replace(ToWriter(out, slog.LevelInfo)))
		}
	}
	total := 0
	for _, out := range outputs {
		total += strings.Count(out.String(), "\n")
	}
	require.Equal(t, writers*lines, total)
	require.Zero(t, sinks.WriteErrors())
}

// One line that logs while it is formatted must not wait for a replacement that waits for
// it.
func TestReplaceWhileFormatting(t *testing.T) {
	t.Parallel()
	var a, b strings.Builder
	l, sinks := New(ToWriter(&a, slog.LevelInfo))
	begun, replaced := make(chan struct{}), make(chan struct{})
	go func() {
		<-begun
		_ = sinks.Replace(ToWriter(&b, slog.LevelInfo))
		close(replaced)
	}()
	l.Info("outer", "v", loggingValue{func() {
		before := sinks.set.Load()
		close(begun)
		for sinks.set.Load() == before {
			runtime.Gosched()
		}
		l.Info("inner")
	}})
	<-replaced
	require.Equal(t, 2, strings.Count(a.String()+b.String(), "\n"))
}

type loggingValue struct{ f func() }

func (v loggingValue) LogValue() slog.Value {
	v.f()
	return slog.StringValue("v")
}

// BenchmarkFile is the cost of a line with a task's attributes.
func BenchmarkFile(b *testing.B) {
	s := &FileSettings{Path: "/dev/null", Lines: defaultLines()}
	sink, err := s.Open(context.Background())
	require.NoError(b, err)
	l, sinks := New(sink)
	defer sinks.Close()
	for b.Loop() {
		l.Info("test task runs", "task", "0190-a", "type", "demo.test", "attempt", 1, "plugin", "demo", "worker", 123)
	}
}
