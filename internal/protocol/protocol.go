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

// The mark is MarkBytes long. It begins with 64-bit numbers in the machine's byte order, each
// written atomically, at these offsets.
const (
	// MarkVersion: 1 once the plugin keeps the mark.
	MarkVersion = 0
	// MarkBegun: how many tasks the process has begun, written before a task's first
	// line runs.
	MarkBegun = 8
	// MarkEnded: how many it has ended, written once a task's result is on its way.
	MarkEnded = 16
	// MarkReceived, written by the host: how many results it has.
	MarkReceived = 24

	MarkBytes = 64 << 10
)

// From MarkKept on the mark has two shelves, ShelfBytes each, in which the plugin keeps the
// results that the host may not have yet, so that a crash does not take them along. Of the results
// on one shelf the host has all before results go to it anew. A shelf begins with two 64-bit numbers:
// a serial number, higher than that of the other, and how many bytes of the shelf are in use,
// these two included, which is written atomically once the bytes are. Results follow one another,
// each with a header of KeptHeader bytes: the number of its task, as counted in MarkBegun, in 64
// bits, and its own length in 32.
const (
	MarkKept   = 4096
	ShelfBytes = (MarkBytes - MarkKept) / 2

	ShelfSerial  = 0
	ShelfUsed    = 8
	ShelfResults = 16

	KeptHeader = 12
)
