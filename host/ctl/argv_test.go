package ctl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// known returns the flags of the real program.
func known() map[string]bool { return flagsOf((&program{out: newOutput(nil)}).root()) }

func TestNormalize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                             "",
		"push x":                       "push x",
		"push x -number 3":             "push x --number=3",
		"push x -number=3":             "push x --number=3",
		"push x --number 3":            "push x --number=3",
		"push x --number=3":            "push x --number=3",
		"push -number 3 x":             "push --number=3 x",
		"-number 3 push x":             "--number=3 push x",
		"push x -priority -1":          "push x --priority=-1",
		"push x -p a=-1 -p b=c=d":      "push x --p=a=-1 --p=b=c=d",
		"push x -p -a=1":               "push x --p=-a=1",
		"push x -params - -wait":       "push x --params=- --wait",
		"push x -wait=false":           "push x --wait=false",
		"push x -wait y":               "push x --wait y",
		"push x -h":                    "push x --help",
		"push x -id -- y":              "push x --id=-- y",
		"task -- -id -wait":            "task -- -id -wait",
		"task -":                       "task -",
		"push x -priorty 3":            "push x --priorty 3",
		"push x -number":               "push x --number",
		"push x -number=":              "push x --number=",
		"push x ---number 3":           "push x ---number 3",
		"push x -=3":                   "push x --=3",
		"__complete push -number 3 -p": "__complete push --number=3 -p",
	} {
		require.Equal(t, strings.Fields(want), append([]string{}, normalize(strings.Fields(in), known())...), in)
	}
	require.Equal(t, []string{"", "--id="}, normalize([]string{"", "-id", ""}, known()), "empty arguments stay")
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{"push x -number 3", "-p\x00a=1\x00--", "-\x00--\x00-", "--=\x00---\x00-=", "-id\x00--\x00-wait"} {
		f.Add(strings.ReplaceAll(seed, " ", "\x00"))
	}
	flags := known()
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		once := normalize(args, flags)
		require.Equal(t, once, normalize(once, flags), "normal is normal")
		if strings.HasPrefix(args[0], "__complete") {
			return
		}
		// With two dashes for one it is the same.
		twice := append([]string{}, args...)
		for i := 0; i < len(twice) && twice[i] != "--"; i++ {
			arg := twice[i]
			if len(arg) < 2 || arg[0] != '-' {
				continue
			}
			name, _, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
			if arg[1] != '-' {
				twice[i] = "-" + arg
			}
			if flags[name] && !hasValue {
				i++
			}
		}
		require.Equal(t, once, normalize(twice, flags))
	})
}

// FuzzRun calls the whole program, without a configuration, so that nothing is pushed.
func FuzzRun(f *testing.F) {
	for _, seed := range []string{
		"push x -number 3 -p a=1", "push x -params {\"a\":1}", "push x -at 2030-01-02T03:04:05Z", "push x -at 1e9 -delay 1",
		"task \x1b[31m", "dead list -type x -limit 0", "help dead show", "completion bash", "status -json=maybe", "push -p =1", "-version",
		"validate -offline", "push x -time-limit none", "push x -time-limit -1", "push x y=1", "\xff", "-\xff", "push \xff -p \xff=\xff",
	} {
		f.Add(strings.ReplaceAll(seed, " ", "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "config") || strings.Contains(line, "@") {
			return // they name files
		}
		args := append([]string{"-config", "/nonexistent/leptir.hcl"}, strings.Split(line, "\x00")...)
		r := run(t.Context(), "", args...)
		require.Contains(t, []int{0, 1, 2}, r.code)
		if r.code != 0 {
			require.Regexp(t, `\Aleptirctl: [^\n]+\n\z`, r.stderr)
			require.Empty(t, r.stdout)
		}
	})
}
