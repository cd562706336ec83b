package logging

import "log/slog"

// Lost returns how many lines of a logger that New returned could not be written, 0 of any
// other.
func Lost(logger *slog.Logger) uint64 {
	if f, ok := logger.Handler().(*fanout); ok {
		return f.sinks.WriteErrors()
	}
	return 0
}
