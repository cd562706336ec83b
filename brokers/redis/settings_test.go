package redis

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testservers/redisserver"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := Defaults()
	require.NoError(t, s.Validate())
	require.Equal(t, "leptir:ztasks", s.Connection.Key)
	require.Equal(t, "tcp", s.Connection.Scheme)
	require.Equal(t, "localhost:6379", s.Connection.String())
	require.Equal(t, 0, s.Connection.Database)
	require.Equal(t, "redis", Kind.Name)
	require.Equal(t, s, Kind.New())
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Connection.Key = "" }, "connection: key must not be empty"},
		{func(s *Settings) { s.Connection.Key = "a}b" }, `connection: key "a}b": braces must be a pair`},
		{func(s *Settings) { s.Connection.Key = "{}a" }, `braces must be a pair`},
		{func(s *Settings) { s.PollInterval = 0 }, "poll_interval must be above 0"},
		{func(s *Settings) { s.Connection.Scheme = "http" }, `connection: scheme is "http"`},
	} {
		s := Defaults()
		c.change(s)
		require.ErrorContains(t, s.Validate(), c.want)
	}
}

// TestKeysShareASlot asks a real server in which slot of a cluster the keys lie.
func TestKeysShareASlot(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t, "--cluster-enabled", "yes")
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr(), Protocol: 2, DisableIdentity: true})
	defer c.Close()
	valid := 0
	for _, key := range []string{DefaultKey, "{tag}:queue", "a{b}c", "a{b", "{", "a{b{c}d", "with space", "ключ", "{}", "{}{a}", "}{", "}", "a}", "{a}}", "x{{y}}", "{a}{b}", strings.Repeat("x", 500)} {
		k, err := keysOf(key)
		if err != nil {
			continue
		}
		valid++
		require.Equal(t, key, k.all[0])
		want := c.ClusterKeySlot(context.Background(), key).Val()
		for _, other := range append(k.all, k.channel) {
			require.Equal(t, want, c.ClusterKeySlot(context.Background(), other).Val(), "%q and %q", key, other)
		}
	}
	require.GreaterOrEqual(t, valid, 12)
}

func TestScores(t *testing.T) {
	t.Parallel()
	require.Equal(t, "", score(time.Time{}))
	require.Equal(t, "1795341600.123456", score(time.UnixMicro(1795341600123456)))
	require.Equal(t, "-1.500000", score(time.UnixMilli(-1500)))
	for _, at := range []time.Time{time.UnixMicro(1795341600123456), time.Unix(0, 0), time.UnixMilli(-1500), time.UnixMicro(4102444800999999), time.UnixMicro(1)} {
		require.True(t, at.Equal(scoreTime(score(at))), "%v", at)
	}
	require.Equal(t, 9999, scoreTime("inf").Year())
	require.Equal(t, 9999, scoreTime("1e300").Year())
	for _, s := range []string{"-inf", "nan", "", "x", "-1e300"} {
		require.True(t, scoreTime(s).IsZero(), "%q", s)
	}
	require.False(t, math.Signbit(float64(scoreTime("0").Unix())))
}

func TestClip(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", clip("short"))
	long := clip("x" + strings.Repeat("ж", maxReason))
	require.Equal(t, "x"+strings.Repeat("ж", maxReason/2-1), long)
}

// FuzzValue: every message comes back as it was.
func FuzzValue(f *testing.F) {
	for _, m := range []string{"", "{}", `,"task":`, "\x00", `{"due":1,"task":{}}`} {
		f.Add("1795341600.123456", m)
	}
	f.Fuzz(func(t *testing.T, due, message string) {
		if strings.Contains(due, ",") {
			t.Skip("no score")
		}
		gotDue, got := splitValue(string(value(due, []byte(message))))
		require.Equal(t, due, gotDue)
		require.Equal(t, message, string(got))
		_, all := splitValue(message) // of anything
		require.LessOrEqual(t, len(all), len(message))
	})
}

// FuzzCursor: no cursor breaks anything, and those of places lead back to them.
func FuzzCursor(f *testing.F) {
	f.Add("1795341600.5", "id")
	f.Add("inf", "a b")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, score, member string) {
		p := place{member, score}
		got, err := parseCursor(p.cursor())
		if err == nil && !strings.Contains(score, " ") {
			require.Equal(t, p, got)
		}
		require.Zero(t, p.compare(p))
	})
}
