package logging

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
)

// A line of the text format is for people:
//
//	2026-11-23T01:02:03.004Z INFO  message key=value key="other value"
//
// Whatever could end the line or pass for another part of it is quoted and escaped, so
// that a hostile message or value cannot forge a line or an attribute. slog's own text
// handler does the formatting; rewriteHead makes the head of its lines easier to read.

// rewriteHead turns "time=T level=L msg=M attributes" into "T L M attributes", or, if it is
// to be bare, into "M attributes".
func rewriteHead(line []byte, bare bool) []byte {
	rest := bytes.TrimSuffix(line, []byte("\n"))
	var b bytes.Buffer
	b.Grow(len(line))
	if after, ok := bytes.CutPrefix(rest, []byte("time=")); ok { // absent where the record has no time
		var stamp []byte
		stamp, rest, _ = bytes.Cut(after, []byte(" "))
		if !bare {
			b.Write(stamp)
			b.WriteByte(' ')
		}
	}
	level, rest, _ := bytes.Cut(bytes.TrimPrefix(rest, []byte("level=")), []byte(" "))
	if !bare {
		b.Write(level)
		for range max(1, len("ERROR ")-len(level)) {
			b.WriteByte(' ')
		}
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
