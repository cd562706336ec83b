package ctl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// output is stdout, buffered. Its first error stays.
type output struct{ *bufio.Writer }

func newOutput(w io.Writer) *output { return &output{bufio.NewWriterSize(w, 64<<10)} }

// json writes a value as JSON, on one line if compact. Characters that a terminal might
// obey are escaped.
func (o *output) json(v any, compact bool) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if !compact {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := o.Write(escape(b.Bytes()))
	return err
}

// htmlEscapes are what encoding/json writes for HTML's sake: a record, which writes itself,
// has them.
var htmlEscapes = map[string]byte{`\u003c`: '<', `\u003e`: '>', `\u0026`: '&'}

// escape escapes what is not printable in a JSON text, and nothing else that need not be.
// Outside ASCII such characters can only stand in the text's strings.
func escape(text []byte) []byte {
	var b bytes.Buffer
	for len(text) > 0 {
		if text[0] == '\\' && len(text) >= 2 {
			if c, ok := htmlEscapes[string(text[:min(6, len(text))])]; ok {
				b.WriteByte(c)
				text = text[6:]
				continue
			}
			b.Write(text[:2])
			text = text[2:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r == '\n' || r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// table writes rows in columns; the first row is the head. Cells are made harmless.
func (o *output) table(rows [][]string) error {
	w := tabwriter.NewWriter(o, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clip(sentence(cell), maxCell)
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	return w.Flush()
}

const (
	// maxCell is the most characters of a cell of a table.
	maxCell = 100
	// maxRepeated is the most characters of an argument that a message repeats.
	maxRepeated = 60
)

// shorten cuts a text of the command line to what fits a message.
func shorten(s string) string { return clip(s, maxRepeated) }

// clip cuts a text to so many characters.
func clip(s string, most int) string {
	for i := range s {
		if most == 0 {
			return s[:i] + "…"
		}
		most--
	}
	return s
}

// sentence makes one line of a text, without characters that a terminal might obey.
func sentence(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// at writes a time for people.
func at(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
