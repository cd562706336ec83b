package logging

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
)

// newTextHandler returns a handler that writes a record as one line for people:
//
//	2026-11-23T01:02:03.004Z INFO  message key=value key="other value"
//
// Whatever could end the line or pass for another part of it is quoted and escaped, so
// that a hostile message or value cannot forge a line or an attribute. slog's own text
// handler does the formatting; textWriter makes the head of its lines easier to read.
func newTextHandler(out *output, level slog.Level) slog.Handler {
	return utcHandler{slog.NewTextHandler(textWriter{out}, &slog.HandlerOptions{Level: level})}
}

// utcHandler turns the time of every record into UTC.
type utcHandler struct{ slog.Handler }

func (h utcHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Time = r.Time.UTC()
	return h.Handler.Handle(ctx, r)
}

func (h utcHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return utcHandler{h.Handler.WithAttrs(attrs)}
}

func (h utcHandler) WithGroup(name string) slog.Handler {
	return utcHandler{h.Handler.WithGroup(name)}
}

// textWriter rewrites the lines of slog's text handler, each of which comes in one call.
type textWriter struct{ out *output }

// Write writes one line.
func (w textWriter) Write(line []byte) (int, error) {
	if _, err := w.out.Write(rewriteHead(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// rewriteHead turns "time=T level=L msg=M attributes" into "T L M attributes".
func rewriteHead(line []byte) []byte {
	rest := bytes.TrimSuffix(line, []byte("\n"))
	var b bytes.Buffer
	b.Grow(len(line))
	if after, ok := bytes.CutPrefix(rest, []byte("time=")); ok { // absent where the record has no time
		var stamp []byte
		stamp, rest, _ = bytes.Cut(after, []byte(" "))
		b.Write(stamp)
		b.WriteByte(' ')
	}
	level, rest, _ := bytes.Cut(bytes.TrimPrefix(rest, []byte("level=")), []byte(" "))
	b.Write(level)
	for range max(1, len("ERROR ")-len(level)) {
		b.WriteByte(' ')
	}
	rest = bytes.TrimPrefix(rest, []byte("msg="))
	var message string
	if quoted, err := strconv.QuotedPrefix(string(rest)); err == nil {
		message, _ = strconv.Unquote(quoted) // cannot fail on what QuotedPrefix returns
		rest = rest[len(quoted):]
	} else {
		end := bytes.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		message, rest = string(rest[:end]), rest[end:]
	}
	if plainMessage(message) {
		b.WriteString(message)
	} else {
		b.WriteString(strconv.Quote(message))
	}
	// The one control character that slog lets through unquoted is DEL.
	b.Write(bytes.ReplaceAll(rest, []byte{0x7f}, []byte(`\x7f`)))
	b.WriteByte('\n')
	return b.Bytes()
}

// plainMessage reports whether a message can stand without quotes: it has nothing that
// moves a cursor or ends a line, and nothing that could be read as an attribute.
func plainMessage(s string) bool {
	if s == "" || s[0] == '"' || strings.ContainsRune(s, '=') {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
