package sdk

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// What one task may send to the host. Whatever is longer is cut (and says so) or left out
// with a failure that says so; it never keeps a result from being sent.
const (
	// MaxResponseBytes is the most that the response lines of a task may take together,
	// in bytes; a line counts one more than its length.
	MaxResponseBytes = 1 << 20
	// MaxMetaBytes is the most that the additional meta info may take as JSON, in bytes.
	MaxMetaBytes = 1 << 20
	// MaxResultBytes is the most that the value of SetResult may take as JSON, in bytes.
	MaxResultBytes = 1 << 20
	// MaxParamsBytes is the most that the parameters of a pushed task may take as JSON.
	MaxParamsBytes = 1 << 20
	// MaxStates is how many states of a task are kept; the later ones are not, except
	// that GetLastState knows the last.
	MaxStates = 1000
	// MaxLogBytes is the longest log line, and the longest attributes of one, in bytes.
	MaxLogBytes = 64 << 10
	// MaxWaitingLogBytes is how much log may wait for the host, reports to the error
	// reporters included; further lines are dropped and counted until there is room again.
	MaxWaitingLogBytes = 4 << 20
	// MaxFailureBytes is the longest text, and the longest stack, of a failure, in bytes.
	MaxFailureBytes = 64 << 10
	// MaxDumpBytes is the longest dump of all stacks, in bytes.
	MaxDumpBytes = 1 << 20
)

// text returns s fit for a protobuf string field: valid UTF-8 and at most about limit
// bytes long. What is missing is said at its end.
func text(s string, limit int) string {
	if len(s) > limit {
		end := limit
		for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = fmt.Sprintf("%s … (%d bytes left out)", s[:end], len(s)-end)
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
