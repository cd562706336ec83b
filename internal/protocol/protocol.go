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
)
