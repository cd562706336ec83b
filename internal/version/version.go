// Package version knows which version of leptir a binary was built from.
package version

import (
	"runtime/debug"
	"sync"
)

// Version is the version of this build. The Makefile sets it with
// -ldflags "-X github.com/backplane/leptir/internal/version.Version=v1.2.3".
var Version = dev

// dev is the Version of a build that nobody has told its version.
const dev = "dev"

// String returns Version, or, where nobody has set it, what the Go tool has written into
// the binary: the module's version or the commit.
var String = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if Version != dev || !ok {
		return Version
	}
	return fromBuild(info)
})

func fromBuild(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return dev
	}
	return dev + "-" + commit + dirty
}
