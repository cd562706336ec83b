package ctl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a plugin of this machine is known not to want is not pushed.
func TestPushChecks(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.ok("push", "not.served.yet") // nothing is known of plugins here
	s.plugin("plugins/demo")
	for _, c := range []struct {
		want string
		args []string
	}{
		{`no plugin in DIR/plugins serves task type "demo.nop"; did you mean demo.noop? (-force pushes it all the same)`, []string{"demo.nop"}},
		{`no plugin in DIR/plugins serves task type "mailer"; what is served: demo.crash, demo.error, demo.noop, demo.panic, `, []string{"mailer"}},
		{`task type "demo.sleep": parameter "seconds": not a number: "long" (-force pushes it all the same)`, []string{"demo.sleep", "-p", "seconds=long"}},
		{`task type "demo.sleep": parameter "seconds": less than 0: -1 (-force pushes it all the same)`, []string{"demo.sleep", "-p", "seconds=-1"}},
	} {
		r := s.ctl(append([]string{"push"}, c.args...)...)
		require.Equal(t, exitUsage, r.code, r)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, "leptirctl: "+sentence(c.want))
	}
	ready := func() int64 {
		st, err := s.broker("default").Stats(t.Context())
		require.NoError(t, err)
		return st.Ready
	}
	require.EqualValues(t, 1, ready(), "nothing else was pushed")
	s.ok("push", "demo.sleep", "-p", "seconds=1.5")
	s.ok("push", "demo.nop", "-force")
	id := s.ids("demo.undo", "-p", "what=4711", "-p", "more=4711")[0]
	it, err := s.broker("default").Find(t.Context(), id)
	require.NoError(t, err)
	require.JSONEq(t, `{"what":"4711","more":4711}`, string(it.Task.Params), "a text where the plugin wants one")
	s.ok("push", "demo.sleep", "-p", "seconds=long", "-force")
	require.EqualValues(t, 5, ready())
}

// Everything that is wrong with a push is said in one sentence, and nothing is pushed.
func TestPushRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	for name, args := range map[string][]string{
		"an unknown type":        {"no.such.type"},
		"a bad parameter":        {"demo.sleep", "-p", `seconds="1"`},
		"a negative limit":       {"demo.noop", "-time-limit", "-5"},
		"a time in the past":     {"demo.noop", "-at", "2020-01-01T00:00:00Z"},
		"2 MiB of parameters":    {"demo.noop", "-params", "-"},
		"broken JSON":            {"demo.noop", "-params", `{"a":`},
		"an undefined parameter": {"demo.undo"},
	} {
		stdin := `{"a":"` + strings.Repeat("x", 2<<20) + `"}`
		r := s.ctlWith(t.Context(), stdin, append([]string{"push"}, args...)...)
		require.Equal(t, exitUsage, r.code, "%s: %s", name, r.stderr)
		require.Empty(t, r.stdout, name)
		require.Equal(t, 1, strings.Count(r.stderr, "\n"), "%s: %s", name, r.stderr)
		require.True(t, strings.HasPrefix(r.stderr, "leptirctl: "), "%s: %s", name, r.stderr)
		require.Less(t, len(r.stderr), 400, name)
		t.Logf("%s: %s", name, r.stderr)
	}
	st, err := s.broker("default").Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, st)
}
