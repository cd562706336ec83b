package version

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFromBuild(t *testing.T) {
	t.Parallel()
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for name, test := range map[string]struct {
		main     string
		settings []debug.BuildSetting
		want     string
	}{
		"go install of a version": {main: "v1.2.3", want: "v1.2.3"},
		"nothing known":           {main: "(devel)", want: "dev"},
		"commit":                  {settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef")}, want: "dev-0123456789ab"},
		"changed since the commit": {
			settings: []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "true")},
			want:     "dev-0123-dirty",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, fromBuild(&debug.BuildInfo{Main: debug.Module{Version: test.main}, Settings: test.settings}))
		})
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, String())
	require.Equal(t, String(), String())
}
