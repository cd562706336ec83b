// Package version holds what this build of leptir is called.
package version

import "runtime/debug"

// Version is the version of this build; the Makefile sets it by -ldflags.
var Version = ""

// String returns the version, from the build's own information where the Makefile has not
// set it.
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
