package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
)

// Error is all that is wrong with a configuration file. It is returned by Load and Parse.
type Error struct {
	text  string
	diags hcl.Diagnostics
	cause error
}

// Error returns the whole text: every diagnostic with its place, its line of the file
// and a mark below what it is about, and how many there are.
//
//	leptir.hcl:12:3: error: broker "sqlite" "default" has no attribute "pathh"; did you mean "path"?
//	   12 |   pathh = "x"
//	      |   ^^^^^
//	1 error in leptir.hcl
//
// The values of secret attributes are not in it.
func (e *Error) Error() string { return e.text }

// Diagnostics returns the diagnostics by themselves, in the order of the file.
func (e *Error) Diagnostics() hcl.Diagnostics { return e.diags }

// Unwrap returns the error of the operating system where the file could not be read, and
// nil otherwise.
func (e *Error) Unwrap() error { return e.cause }

// maxWritten is the most diagnostics that an error's text tells in full: far more than
// anybody mends at once, and few enough to write.
const maxWritten = 1000

// fileError is the Error of a file that could not be read at all.
func fileError(filename string, cause error) *Error {
	e := newError(filename, nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: cause.Error()}}, nil)
	e.cause = cause
	return e
}

// newError makes an Error; the text of the masked ranges is not shown.
func newError(filename string, src []byte, diags hcl.Diagnostics, masked []hcl.Range) *Error {
	diags = plain(diags)
	masked = merged(masked)
	var b strings.Builder
	for _, diag := range diags[:min(len(diags), maxWritten)] {
		writeDiagnostic(&b, filename, src, diag, masked)
	}
	if more := len(diags) - maxWritten; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	noun := "errors"
	if len(diags) == 1 {
		noun = "error"
	}
	fmt.Fprintf(&b, "%d %s in %s", len(diags), noun, filename)
	return &Error{text: b.String(), diags: diags}
}

// plain returns the diagnostics in the order of the file, each with its message in the
// summary and without the expression and the values it was made of.
func plain(diags hcl.Diagnostics) hcl.Diagnostics {
	out := make(hcl.Diagnostics, len(diags))
	for i, diag := range diags {
		message := diag.Summary
		if diag.Detail != "" {
			message = lowerFirst(diag.Summary) + ": " + diag.Detail
		}
		out[i] = &hcl.Diagnostic{Severity: hcl.DiagError, Summary: oneLine(message), Subject: diag.Subject}
	}
	slices.SortStableFunc(out, func(a, b *hcl.Diagnostic) int {
		if a.Subject == nil || b.Subject == nil {
			return cmp.Compare(btoi(a.Subject != nil), btoi(b.Subject != nil))
		}
		return cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte)
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// oneLine makes one line of a text, and of control characters something that a terminal
// shows and does not obey.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// writeDiagnostic writes a diagnostic with its line of the file.
func writeDiagnostic(b *strings.Builder, filename string, src []byte, diag *hcl.Diagnostic, masked []hcl.Range) {
	at := diag.Subject
	if at == nil {
		fmt.Fprintf(b, "%s: error: %s\n", filename, diag.Summary)
		return
	}
	fmt.Fprintf(b, "%s:%d:%d: error: %s\n", filename, at.Start.Line, at.Start.Column, diag.Summary)
	line, mark, ok := excerpt(src, *at, masked)
	if !ok {
		return
	}
	fmt.Fprintf(b, "%5d | %s\n      | %s\n", at.Start.Line, line, mark)
}
