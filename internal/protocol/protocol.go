// Package protocol holds the constants that a host and a plugin must agree on before
// they can talk. The messages themselves are in internal/pluginpb.
package protocol

const (
	// CookieKey and CookieValue tell a plugin that a host has started it; run by hand it
	// prints what it is and ends.
	CookieKey   = "LEPTIR_PLUGIN"
	CookieValue = "8b7a3d0e5f1c4d6a9e2b-leptir-task"

	// Version is the version of the protocol in plugin-sdk/proto.
	Version = 1

	// ServiceName is the name of the one service in go-plugin's plugin set.
	ServiceName = "task"

	// MaxMessageBytes bounds a gRPC message in both directions.
	MaxMessageBytes = 16 << 20

	// EnvProcessID is the environment variable that carries the random name of the
	// process; whatever it starts inherits it, so leftovers can be found by it.
	EnvProcessID = "LEPTIR_PROCESS_ID"

	// EnvHostPID is the environment variable that carries the pid of the host. The
	// plugin answers only connections of that process.
	EnvHostPID = "LEPTIR_HOST_PID"

	// EnvMarkFD is the environment variable that carries the number of a file descriptor
	// open on the process's mark: a page of memory shared with the host, in which the
	// plugin notes what it is doing, so that the host knows it even of a process that
	// has died. A plugin that does not use it is never handed more than one task at a
	// time.
	EnvMarkFD = "LEPTIR_MARK_FD"
)

// The mark is MarkBytes long and holds 64-bit numbers in the machine's byte order, each
// written atomically, at these offsets.
const (
	// MarkVersion: 1 once the plugin keeps the mark.
	MarkVersion = 0
	// MarkBegun: how many tasks the process has begun, written before a task's first
	// line runs.
	MarkBegun = 8
	// MarkEnded: how many it has ended, written once a task's result is on its way.
	MarkEnded = 16

	MarkBytes = 4096
)
