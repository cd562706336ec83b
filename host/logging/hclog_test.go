package logging_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/logging"
)

// recorded returns an hclog logger at a level, and what is written on it.
func recorded(level slog.Level) (hclog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return logging.HCLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))), &b
}

func TestHCLog(t *testing.T) {
	t.Parallel()
	l, b := recorded(slog.LevelDebug - 4)
	l.Trace("t")
	l.Debug("d", "a", 1)
	l.Info("i", "b", "two words")
	l.Warn("w")
	l.Error("e", "err", fmt.Errorf("no"))
	l.Log(hclog.Off, "never")
	l.Log(hclog.NoLevel, "n")
	l.With("c", 3).Info("with")
	require.Equal(t, `level=DEBUG-4 msg=t
level=DEBUG msg=d a=1
level=INFO msg=i b="two words"
level=WARN msg=w
level=ERROR msg=e err=no
level=INFO msg=n
level=INFO msg=with c=3
`, b.String())
}

func TestHCLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]hclog.Level{
		slog.LevelDebug - 4: hclog.Trace,
		slog.LevelDebug:     hclog.Debug,
		slog.LevelInfo:      hclog.Info,
		slog.LevelWarn:      hclog.Warn,
		slog.LevelError:     hclog.Error,
		slog.LevelError + 1: hclog.Off,
	} {
		l, _ := recorded(level)
		l.SetLevel(hclog.Trace) // does nothing
		require.Equal(t, want, l.GetLevel())
		require.Equal(t, want <= hclog.Trace, l.IsTrace())
		require.Equal(t, want <= hclog.Debug, l.IsDebug())
		require.Equal(t, want <= hclog.Info, l.IsInfo())
		require.Equal(t, want <= hclog.Warn, l.IsWarn())
		require.Equal(t, want <= hclog.Error, l.IsError())
	}
}

// TestHCLogNamedIsOff is what keeps go-plugin from parsing the stderr of plugins.
func TestHCLogNamedIsOff(t *testing.T) {
	t.Parallel()
	root, b := recorded(slog.LevelDebug - 4)
	child := root.Named("plugin")
	for _, l := range []hclog.Logger{child, root.ResetNamed("plugin"), child.With("a", 1), child.Named("stdio")} {
		require.Equal(t, hclog.Off, l.GetLevel())
		require.False(t, l.IsTrace() || l.IsDebug() || l.IsInfo() || l.IsWarn() || l.IsError())
		l.Error("never")
		l.Log(hclog.Error, "never")
		l.StandardLogger(nil).Print("never")
	}
	require.Empty(t, b.String())
	require.Equal(t, "plugin.stdio", child.Named("stdio").Name())
	require.Equal(t, "stdio", child.ResetNamed("stdio").Name())
	require.NotEqual(t, hclog.Off, root.GetLevel(), "the root goes on")
}

func TestHCLogOddArguments(t *testing.T) {
	t.Parallel()
	var nilError *nilPanics
	for name, test := range map[string]struct {
		args []any
		want string
	}{
		"odd":          {[]any{"a", 1, "b"}, "a=1 EXTRA_VALUE_AT_END=b"},
		"alone":        {[]any{5}, "EXTRA_VALUE_AT_END=5"},
		"other key":    {[]any{5, 6, nil, 7}, "5=6 <nil>=7"},
		"nil":          {[]any{"a", nil}, "a=<nil>"},
		"format":       {[]any{"a", hclog.Fmt("%d-%s", 1, "x")}, "a=1-x"},
		"bad format":   {[]any{"a", hclog.Format{}, "b", hclog.Format{5}, "c", hclog.Fmt("%d")}, `a="" b=[5] c=%!d(MISSING)`},
		"panic format": {[]any{"a", hclog.Fmt("%v", panicky{})}, `a="%!v(PANIC=Error method: no)"`},
		"numbers":      {[]any{"a", hclog.Hex(255), "b", hclog.Octal(8), "c", hclog.Binary(5)}, "a=0xff b=010 c=0b101"},
		"quote":        {[]any{"a", hclog.Quote("x y"), "s", hclog.CapturedStacktrace("st")}, `a="x y" s=st`},
		"panic":        {[]any{"a", panicky{}, "b", nilError}, `a="%!v(PANIC=Error method: no)" b=<nil>`},
		"panic twice":  {[]any{"a", panicsTwice{}, "b", hclog.Fmt("%s", panicsTwice{}), panicsTwice{}, 1}, `a=!PANIC b=!PANIC !PANIC=1`},
		"panic key":    {[]any{panicky{}, 1}, `"%!v(PANIC=Error method: no)"=1`},
		"function":     {[]any{"a", map[string]int{"x": 1}, "b", []string{"y"}}, "a=map[x:1] b=[y]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, b := recorded(slog.LevelInfo)
			require.NotPanics(t, func() { l.Info("m", test.args...) })
			require.Equal(t, "level=INFO msg=m "+test.want+"\n", b.String())
		})
	}
	l, b := recorded(slog.LevelInfo)
	l.With("a", 1, "odd").With("b", 2).Info("m", "c", 3)
	require.Equal(t, "level=INFO msg=m a=1 EXTRA_VALUE_AT_END=odd b=2 c=3\n", b.String())
	require.Equal(t, []any{"a", 1, hclog.MissingKey, "odd"}, l.With("a", 1, "odd").ImpliedArgs())
}

// panicsTwice panics with itself, so that whoever prints the panic panics again.
type panicsTwice struct{}

func (p panicsTwice) Error() string { panic(p) }

type nilPanics struct{ s string }

func (p *nilPanics) Error() string { return p.s }

func TestHCLogStandardLogger(t *testing.T) {
	t.Parallel()
	l, b := recorded(slog.LevelInfo)
	l.StandardLogger(nil).Println("line")
	l.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Error}).Print("forced")
	require.Equal(t, "level=INFO msg=line\nlevel=ERROR msg=forced\n", b.String())
}

func TestHCLogNil(t *testing.T) {
	t.Parallel()
	l := logging.HCLog(nil)
	l.Error("nobody hears", 1)
	require.Equal(t, hclog.Off, l.GetLevel())
}
