package logging

import (
	"io"
	"log/slog"
)

// ToWriter returns a sink that writes lines for people, of the level and above, to w,
// which stays the caller's to close.
func ToWriter(w io.Writer, level slog.Level) Sink {
	out := &output{w: w}
	return &sink{newTextHandler(out, level), out}
}
