package logging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/internal/settings"
)

// fileSettings returns the settings of a new log file with the kind's defaults.
func fileSettings(t *testing.T) *logging.FileSettings {
	t.Helper()
	kind, ok := logging.Standard().Kind("file")
	require.True(t, ok)
	s := kind.New().(*logging.FileSettings)
	s.Path = settings.Path(filepath.Join(t.TempDir(), "folder", "inner", "leptir.log"))
	return s
}

// open opens a sink that the test closes.
func open(t *testing.T, s logging.Settings) logging.Sink {
	t.Helper()
	sink, err := s.Open(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sink.Close()) })
	return sink
}

func read(t *testing.T, path settings.Path) string {
	t.Helper()
	b, err := os.ReadFile(string(path))
	require.NoError(t, err)
	return string(b)
}

// handle hands a record of a known time to the logger's handler.
func handle(l *slog.Logger, level slog.Level, message string, args ...any) {
	at := time.Date(2026, 11, 23, 2, 2, 3, 4_567_890, time.FixedZone("", 3600))
	r := slog.NewRecord(at, level, message, 0)
	r.Add(args...)
	_ = l.Handler().Handle(context.Background(), r) // what a failed sink says is in WriteErrors
}

type panicky struct{}

func (panicky) Error() string { panic("no") }

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue("a value") }

func TestTextLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		level   slog.Level
		message string
		args    []any
		want    string
	}{
		"plain":            {slog.LevelInfo, "host started", nil, "INFO  host started"},
		"attributes":       {slog.LevelWarn, "task failed", []any{"task", "0190-a", "type", "demo.test", "attempt", 2}, "WARN  task failed task=0190-a type=demo.test attempt=2"},
		"quotes inside":    {slog.LevelError, `broker "default": open /x: no`, nil, `ERROR broker "default": open /x: no`},
		"other level":      {slog.LevelInfo + 1, "m", nil, "INFO+1 m"},
		"quoted values":    {slog.LevelInfo, "m", []any{"a", "two words", "b", "", "c", "x=y", "d", `"`}, `INFO  m a="two words" b="" c="x=y" d="\""`},
		"kinds of values":  {slog.LevelInfo, "m", []any{"d", 90 * time.Second, "e", errors.New("an error"), "n", nil, "l", []int{1, 2}, "v", valuer{}}, `INFO  m d=1m30s e="an error" n=<nil> l="[1 2]" v="a value"`},
		"group":            {slog.LevelInfo, "m", []any{slog.Group("g", "a", 1, "b", 2)}, "INFO  m g.a=1 g.b=2"},
		"panic":            {slog.LevelInfo, "m", []any{"e", panicky{}}, `INFO  m e="%!v(PANIC=Error method: no)"`},
		"message newline":  {slog.LevelInfo, "a\n2026-11-23T01:02:03.004Z INFO  forged", nil, `INFO  "a\n2026-11-23T01:02:03.004Z INFO  forged"`},
		"message returns":  {slog.LevelInfo, "a\rb", nil, `INFO  "a\rb"`},
		"message forges":   {slog.LevelInfo, "done task=another", []any{"task", "mine"}, `INFO  "done task=another" task=mine`},
		"message quote":    {slog.LevelInfo, `"`, nil, `INFO  "\""`},
		"message empty":    {slog.LevelInfo, "", []any{"a", 1}, `INFO  "" a=1`},
		"message escape":   {slog.LevelInfo, "\x1b[2Jgone", nil, `INFO  "\x1b[2Jgone"`},
		"message delete":   {slog.LevelInfo, "a\x7fb", nil, `INFO  "a\x7fb"`},
		"message not utf8": {slog.LevelInfo, "a\xff", nil, `INFO  "a\xff"`},
		"message bidi":     {slog.LevelInfo, "a\u202eb", nil, `INFO  "a\u202eb"`},
		"message line sep": {slog.LevelInfo, "a\u2028b", nil, `INFO  "a\u2028b"`},
		"message unicode":  {slog.LevelInfo, "лептир žaba 蝶", nil, "INFO  лептир žaba 蝶"},
		"value newline":    {slog.LevelInfo, "m", []any{"a", "x\ny"}, `INFO  m a="x\ny"`},
		"value delete":     {slog.LevelInfo, "m", []any{"a", "x\x7fy"}, `INFO  m a=x\x7fy`},
		"key newline":      {slog.LevelInfo, "m", []any{"a\nb", 1}, `INFO  m "a\nb"=1`},
		"key with space":   {slog.LevelInfo, "m", []any{"a b=c", 1}, `INFO  m "a b=c"=1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fileSettings(t)
			l, _ := logging.New(open(t, s))
			handle(l, test.level, test.message, test.args...)
			require.Equal(t, "2026-11-23T01:02:03.004Z "+test.want+"\n", read(t, s.Path))
		})
	}
}

// TestTaskLines writes as a host does: a logger with the task's attributes for its lines.
func TestTaskLines(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	l, _ := logging.New(open(t, s))
	handle(l.With("task", "0190-a", "type", "demo.test").WithGroup("data"), slog.LevelInfo, "sent", "to", "a@b")
	require.Equal(t, "2026-11-23T01:02:03.004Z INFO  sent task=0190-a type=demo.test data.to=a@b\n", read(t, s.Path))
}

func TestNoTime(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	l, _ := logging.New(open(t, s))
	require.NoError(t, l.Handler().Handle(context.Background(), slog.NewRecord(time.Time{}, slog.LevelInfo, "time=1 level=2", 0)))
	require.Equal(t, "INFO  \"time=1 level=2\"\n", read(t, s.Path))
}

func TestJSON(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	s.Format = "json"
	l, _ := logging.New(open(t, s))
	handle(l, slog.LevelWarn, "a\nb", "task", "x")
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(read(t, s.Path)), &got))
	require.Equal(t, map[string]any{"time": "2026-11-23T02:02:03.00456789+01:00", "level": "WARN", "msg": "a\nb", "task": "x"}, got)
	require.Equal(t, 1, strings.Count(read(t, s.Path), "\n"))
}

func TestLevels(t *testing.T) {
	t.Parallel()
	want := map[string]string{"debug": "dIWE", "info": "IWE", "warning": "WE", "error": "E"}
	var sinks []logging.Sink
	files := map[string]*logging.FileSettings{}
	for level := range want {
		s := fileSettings(t)
		s.Level = level
		files[level] = s
		sinks = append(sinks, open(t, s))
	}
	l, _ := logging.New(sinks...)
	require.True(t, l.Enabled(context.Background(), slog.LevelDebug))
	l.Debug("d")
	l.Info("I")
	l.Warn("W")
	l.Error("E")
	for level, s := range files {
		var got string
		for line := range strings.Lines(read(t, s.Path)) {
			got += line[len(line)-2 : len(line)-1]
		}
		require.Equal(t, want[level], got, level)
	}
}

func TestNoSinks(t *testing.T) {
	t.Parallel()
	l, sinks := logging.New()
	require.False(t, l.Enabled(context.Background(), slog.LevelError))
	l.Error("nobody hears")
	require.NoError(t, sinks.Reopen())
	require.NoError(t, sinks.Close())
}

func TestSettingsErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	text := logging.Lines{Level: "info", Format: "text"}
	for name, test := range map[string]struct {
		settings logging.Settings
		want     string
	}{
		"no path":   {&logging.FileSettings{Lines: text}, "log file: no path is set"},
		"folder":    {&logging.FileSettings{Path: settings.Path(dir), Lines: text}, "log file: open " + dir + ": is a directory"},
		"no folder": {&logging.FileSettings{Path: settings.Path(file + "/x.log"), Lines: text}, "log file: make the folder of " + file + "/x.log: mkdir " + file + ": not a directory"},
		"fifo":      {&logging.FileSettings{Path: settings.Path(fifo), Lines: text}, "log file: open " + fifo + ": no such device or address"},
		"level":     {&logging.StdoutSettings{Lines: logging.Lines{Level: "loud", Format: "text"}}, `log level "loud" is not one of debug, info, warning, error`},
		"format":    {&logging.StderrSettings{Lines: logging.Lines{Level: "info", Format: "xml"}}, `log format "xml" is not one of text, json`},
		"file form": {&logging.FileSettings{Path: settings.Path(file), Lines: logging.Lines{Level: "info"}}, `log format "" is not one of text, json`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.settings.Open(context.Background())
			require.EqualError(t, err, test.want)
		})
	}
}

func TestFifoWithReader(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(string(s.Path)), 0o700))
	require.NoError(t, syscall.Mkfifo(string(s.Path), 0o600))
	reader, err := os.OpenFile(string(s.Path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer reader.Close()
	_, err = s.Open(context.Background())
	require.EqualError(t, err, "log file: "+string(s.Path)+" is not a file that can be appended to")
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	l, _ := logging.New(open(t, s))
	l.Info("x")
	for path, want := range map[string]os.FileMode{
		string(s.Path):                             0o600,
		filepath.Dir(string(s.Path)):               0o700 | os.ModeDir,
		filepath.Dir(filepath.Dir(string(s.Path))): 0o700 | os.ModeDir,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode(), path)
	}
}

func TestFileAppends(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	for range 2 {
		sink, err := s.Open(context.Background())
		require.NoError(t, err)
		l, sinks := logging.New(sink)
		l.Info("x")
		require.NoError(t, sinks.Close())
	}
	require.Equal(t, 2, strings.Count(read(t, s.Path), "\n"))
}

func TestReopen(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	sink, err := s.Open(context.Background())
	require.NoError(t, err)
	l, sinks := logging.New(sink)
	l.Info("first")
	rotated := s.Path + ".1"
	require.NoError(t, os.Rename(string(s.Path), string(rotated)))
	l.Info("second")
	require.NoError(t, sinks.Reopen())
	l.Info("third")
	require.Contains(t, read(t, rotated), "second")
	require.NotContains(t, read(t, rotated), "third")
	require.Contains(t, read(t, s.Path), "third")

	// Where it cannot be opened anew, lines still go where they went.
	require.NoError(t, os.Rename(string(s.Path), string(rotated)))
	require.NoError(t, os.Mkdir(string(s.Path), 0o700))
	require.EqualError(t, sinks.Reopen(), "log file: open "+string(s.Path)+": is a directory")
	l.Info("fourth")
	require.Contains(t, read(t, rotated), "fourth")
	require.Zero(t, sinks.WriteErrors())
	require.NoError(t, os.Remove(string(s.Path)))

	require.NoError(t, sinks.Close())
	require.NoError(t, sinks.Close())
	require.EqualError(t, sinks.Reopen(), "log file: reopen "+string(s.Path)+": log sink is closed")
	l.Info("fifth")
	require.Equal(t, uint64(1), sinks.WriteErrors())
}

// TestWriteErrors fills a device: its errors are counted, and the other sink gets
// everything.
func TestWriteErrors(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this machine has no /dev/full")
	}
	for _, format := range []string{"text", "json"} {
		full, good := fileSettings(t), fileSettings(t)
		full.Path, full.Format, good.Format = "/dev/full", format, format
		broken, sound := open(t, full), open(t, good)
		l, sinks := logging.New(broken, sound)
		for i := range 3 {
			l.Info("line", "i", i)
		}
		require.Equal(t, uint64(3), broken.WriteErrors())
		require.Zero(t, sound.WriteErrors())
		require.Equal(t, uint64(3), sinks.WriteErrors())
		require.Equal(t, 3, strings.Count(read(t, good.Path), "\n"))
		require.Error(t, l.Handler().Handle(context.Background(), slog.Record{}))
	}
}

// TestConcurrent logs from many goroutines while the file is reopened and handlers are
// derived; every line arrives, whole.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := fileSettings(t)
	l, sinks := logging.New(open(t, s))
	const writers, lines = 8, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			mine := l.With("writer", w)
			for i := range lines {
				mine.Info(strings.Repeat("x", 100), "line", i, "self", logsItself{l})
			}
		})
	}
	for range 20 {
		require.NoError(t, sinks.Reopen())
	}
	wg.Wait()
	text := read(t, s.Path)
	count := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, "from within") {
			continue
		}
		require.Regexp(t, `^\S+ INFO  x{100} writer=\d line=\d+ self=logged\n$`, line)
		count++
	}
	require.Equal(t, writers*lines, count)
	require.Zero(t, sinks.WriteErrors())
}

// logsItself logs while it is being logged: a sink that formatted under its lock would
// wait for itself.
type logsItself struct{ log *slog.Logger }

func (v logsItself) LogValue() slog.Value {
	v.log.Info("from within")
	return slog.StringValue("logged")
}

// TestStandardStreams is not parallel: it replaces the standard outputs.
func TestStandardStreams(t *testing.T) {
	for name, stream := range map[string]**os.File{"stdout": &os.Stdout, "stderr": &os.Stderr} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		old := *stream
		*stream = w
		kind, ok := logging.Standard().Kind(name)
		require.True(t, ok)
		sink, err := kind.New().Open(context.Background())
		*stream = old
		require.NoError(t, err)
		l, sinks := logging.New(sink)
		l.Info("hello")
		l.Debug("not at this level")
		require.NoError(t, sinks.Reopen())
		require.NoError(t, sinks.Close())
		require.NoError(t, sinks.Close())
		_, err = w.WriteString("still open\n")
		require.NoError(t, err)
		l.Info("after the end")
		require.Equal(t, uint64(1), sink.WriteErrors())
		require.NoError(t, w.Close())
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Regexp(t, `^\S+ INFO  hello\nstill open\n$`, string(b))
	}
}

// FuzzTextLine logs anything: it must come out as one line that shows as it is.
func FuzzTextLine(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("a\nb", "time", "level=INFO msg=x")
	f.Add("\" msg=", "", "\x7f\x9b\u2028")
	f.Add("\xff=", "msg", "\"")
	f.Fuzz(func(t *testing.T, message, key, value string) {
		s := fileSettings(t)
		sink, err := s.Open(context.Background())
		require.NoError(t, err)
		l, sinks := logging.New(sink)
		handle(l.With("task", "id"), slog.LevelInfo, message, key, value)
		require.NoError(t, sinks.Close())
		line := read(t, s.Path)
		require.True(t, strings.HasPrefix(line, "2026-11-23T01:02:03.004Z INFO  "), line)
		require.Contains(t, line, " task=id")
		require.Equal(t, len(line)-1, strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", line)
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "leptir")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s := &logging.FileSettings{
		Path:  settings.Path(filepath.Join(dir, "leptir.log")),
		Lines: logging.Lines{Level: "info", Format: "text"},
	}
	sink, err := s.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	logger, sinks := logging.New(sink)
	defer sinks.Close()
	logger.Info("task ended", "task", "0190-a", "type", "demo.test", "result", "two words")

	b, err := os.ReadFile(string(s.Path))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, line, _ := strings.Cut(string(b), " ") // the time is another each run
	fmt.Print(line)
	// Output: INFO  task ended task=0190-a type=demo.test result="two words"
}
